"""Google's own descriptions of its services: what a request may have.

A service refuses or ignores the rest; here all of it is refused, by its name
(https://developers.google.com/discovery/v1/reference/apis).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl, urlsplit

type Document = Mapping[str, Any]

# What every method takes of an upload (https://cloud.google.com/storage/docs/performing-resumable-uploads).
_OF_UPLOADS = {"uploadType", "upload_id", "name"}
# What Google's own client sends to each job's address, and the service has always taken.
_OF_CLIENTS = {"bigquery.jobs.get?projection"}
_TYPES = {"string": str, "boolean": bool, "object": dict, "array": list}
# Which JSON may have as text, as it may have any number.
_LONG = ("int64", "uint64")


class UnknownError(Exception):
    """The service has no such method or field, or ignores it."""


@dataclass(frozen=True)
class Method:
    """One way to ask a service. `document` is its description."""

    verb: str
    path: re.Pattern[str]
    document: Document
    is_upload: bool = False


class Service:
    """A service by the name of its description, as `bigquery.v2`."""

    def __init__(self, name: str) -> None:
        folder = files("googleapiclient") / "discovery_cache" / "documents"
        self._document: Document = json.loads((folder / f"{name}.json").read_text())
        self._methods = list(_methods(self._document, self._document["servicePath"]))

    def check(self, verb: str, url: str, body: bytes = b"") -> None:
        """Raise UnknownError for a request that has what the service does not know, or does not take from others."""
        parts = urlsplit(url)
        method = next((m for m in self._methods if m.verb == verb and m.path.fullmatch(parts.path)), None)
        if method is None:
            raise UnknownError(f"no method: {verb} {parts.path}")
        self._check_query(method, parts.query)
        resource = _resource(body) if method.is_upload else body
        if "upload_id" in parts.query:
            return  # a piece of the object itself
        if not resource:
            return
        if "request" not in method.document:
            raise UnknownError(f"{method.document['id']} takes no body")
        self._check(json.loads(resource), method.document["request"], method.document["id"])

    def _check_query(self, method: Method, query: str) -> None:
        known = {**self._document["parameters"], **method.document.get("parameters", {})}
        for name, value in parse_qsl(query, keep_blank_values=True):
            schema = known.get(name)
            where = f"{method.document['id']}?{name}"
            if (method.is_upload and name in _OF_UPLOADS) or where in _OF_CLIENTS:
                continue
            if schema is None or schema.get("location") != "query":
                raise UnknownError(f"{where} is unknown")
            _check_text(value, schema, where)

    def _check(self, value: object, schema: Document, where: str) -> None:
        """A value of a resource."""
        schema = self._schema(schema)
        type_ = schema.get("type", "any")
        if type_ == "any" or value is None:
            return
        if schema.get("format") in _LONG or type_ in ("integer", "number"):
            value = value if isinstance(value, bool) else str(value)
            type_ = "string"
        if not isinstance(value, _TYPES[type_]):
            raise UnknownError(f"{where} should be of type {type_}")
        if isinstance(value, str):
            _check_text(value, schema, where)
        elif isinstance(value, list):
            for number, item in enumerate(value):
                self._check(item, schema["items"], f"{where}[{number}]")
        elif isinstance(value, dict):
            for name, item in value.items():
                self._check_member(name, item, schema, f"{where}.{name}")

    def _check_member(self, name: str, item: object, schema: Document, where: str) -> None:
        of = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
        if of is None:
            raise UnknownError(f"{where} is unknown")
        if of.get("readOnly") or of.get("description", "").startswith(
            ("Output only", "[Output-only]", "[Output Only]")
        ):
            raise UnknownError(f"{where} is for answers only")
        self._check(item, of, where)

    def _schema(self, schema: Document) -> Document:
        found: Document = self._document["schemas"][schema["$ref"]] if "$ref" in schema else schema
        return found


def _resource(upload: bytes) -> bytes:
    """What an upload says of its object: all that begins a resumable one, the first part of one in parts."""
    if not upload.startswith(b"--"):
        return upload if upload.startswith(b"{") else b""
    boundary, _, parts = upload.partition(b"\r\n")
    first, *_ = parts.split(boundary)
    return first.partition(b"\r\n\r\n")[2]


def _check_text(value: str, schema: Document, where: str) -> None:
    """A value in an address, or one that JSON has as text."""
    if schema.get("type") in ("integer", "number") or schema.get("format") in _LONG:
        fits = re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value)
    elif schema.get("type") == "boolean":
        fits = re.fullmatch("true|false", value.lower())
    else:
        fits = re.search(schema.get("pattern", ""), value)
    if not fits or value not in schema.get("enum", [value]):
        raise UnknownError(f"{where} can't be {value!r}")


def _methods(document: Document, prefix: str) -> Iterator[Method]:
    for method in document.get("methods", {}).values():
        parameters, path = method.get("parameters", {}), f"/{prefix}{method['path']}"
        yield Method(method["httpMethod"], _pattern(path, parameters), method)
        if method.get("supportsMediaDownload"):
            yield Method(method["httpMethod"], _pattern(f"/download{path}", parameters), method)
        for upload in method.get("mediaUpload", {}).get("protocols", {}).values():
            for verb in ("POST", "PUT", "DELETE"):  # begun, gone on with and cancelled
                yield Method(verb, _pattern(upload["path"], parameters), method, is_upload=True)
    for resource in document.get("resources", {}).values():
        yield from _methods(resource, prefix)


def _pattern(path: str, parameters: Document) -> re.Pattern[str]:
    """A path of which `{name}` and `{+name}` stand for what the parameter of that name can be."""
    written = re.split(r"\{\+?(\w+)\}", path)
    parts = (
        parameters[part].get("pattern", "^[^/]+$").strip("^$") if number % 2 else re.escape(part)
        for number, part in enumerate(written)
    )
    return re.compile("".join(parts))


@cache
def service(name: str) -> Service:
    """The service of that name, read once."""
    return Service(name)
