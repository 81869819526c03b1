"""Google's own descriptions of its services: what a request may have, and an answer.

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
# By https://developers.google.com/discovery/v1/type-format.
_FORMATS = {
    "google-duration": re.compile(r"\d+(\.\d{1,9})?s"),
    "google-datetime": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)"),
    "byte": re.compile(r"(?:[A-Za-z0-9+/_-]{4})*(?:[A-Za-z0-9+/_-]{2}==|[A-Za-z0-9+/_-]{3}=)?"),
}
_TYPES = {"string": str, "boolean": bool, "object": dict, "array": list}
# Which JSON may have as text, as it may have any number.
_LONG = ("int64", "uint64")


_HOSTS = {
    "bigquery.googleapis.com": "bigquery.v2",
    "cloudfunctions.googleapis.com": "cloudfunctions.v2",
    "cloudresourcemanager.googleapis.com": "cloudresourcemanager.v1",
    "cloudscheduler.googleapis.com": "cloudscheduler.v1",
    "compute.googleapis.com": "compute.v1",
    "eventarc.googleapis.com": "eventarc.v1",
    "logging.googleapis.com": "logging.v2",
    "monitoring.googleapis.com": "monitoring.v3",
    "pubsub.googleapis.com": "pubsub.v1",
    "secretmanager.googleapis.com": "secretmanager.v1",
    "serviceusage.googleapis.com": "serviceusage.v1",
    "sqladmin.googleapis.com": "sqladmin.v1",
    "storage.googleapis.com": "storage.v1",
}


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

    def method(self, verb: str, path: str) -> tuple[str, Mapping[str, str]]:
        """The name of the method that a request is for, and what its path has of parameters. Raises UnknownError."""
        method, at = self._method(verb, path)
        return method.document["id"], at

    def _method(self, verb: str, path: str) -> tuple[Method, Mapping[str, str]]:
        for method in self._methods:
            if method.verb == verb and (found := method.path.fullmatch(path)):
                return method, found.groupdict()
        raise UnknownError(f"no method: {verb} {path}")

    def check(self, verb: str, url: str, body: bytes = b"") -> None:
        """Raise UnknownError for a request that has what the service does not know, or does not take from others."""
        parts = urlsplit(url)
        method, _ = self._method(verb, parts.path)
        self._check_query(method, parts.query)
        given = resource(body) if method.is_upload else body
        if "upload_id" in parts.query:
            return  # a piece of the object itself
        if not given:
            return
        if "request" not in method.document:
            raise UnknownError(f"{method.document['id']} takes no body")
        self.check_document(json.loads(given), method.document["request"], method.document["id"])

    def check_answer(self, verb: str, url: str, document: object) -> None:
        """Raise UnknownError for what the service would not answer to a request."""
        method, _ = self._method(verb, urlsplit(url).path)
        self.check_document(document, method.document["response"], f"the answer of {method.document['id']}", given=True)

    def check_document(self, value: object, schema: Document, where: str, *, given: bool = False) -> None:
        """Raise UnknownError for what does not fit a schema, as {"$ref": "Job"}. What is `given` by the service has
        more than it takes.
        """
        _Fits(self._document["schemas"], given).check(value, schema, where)

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


@dataclass(frozen=True)
class _Fits:
    """Whether documents fit the schemas of a service."""

    schemas: Mapping[str, Document]
    given: bool

    def check(self, value: object, schema: Document, where: str) -> None:
        schema = self.schemas[schema["$ref"]] if "$ref" in schema else schema
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
                self.check(item, schema["items"], f"{where}[{number}]")
        elif isinstance(value, dict):
            for name, item in value.items():
                self._check_member(name, item, schema, f"{where}.{name}")

    def _check_member(self, name: str, item: object, schema: Document, where: str) -> None:
        of = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
        if of is None:
            raise UnknownError(f"{where} is unknown")
        for_answers = of.get("readOnly") or of.get("description", "").startswith(
            ("Output only", "[Output-only]", "[Output Only]")
        )
        if for_answers and not self.given:
            raise UnknownError(f"{where} is for answers only")
        self.check(item, of, where)


def resource(upload: bytes) -> bytes:
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
    elif schema.get("format") in _FORMATS:
        fits = _FORMATS[schema["format"]].fullmatch(value)
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
        f"(?P<{part}>{parameters[part].get('pattern', '^[^/]+$').strip('^$')})" if number % 2 else re.escape(part)
        for number, part in enumerate(written)
    )
    return re.compile("".join(parts))


@cache
def service(name: str) -> Service:
    """The service of that name, read once."""
    return Service(name)


def asked(url: str) -> Service:
    """The service that an address is of. Raises UnknownError."""
    host = urlsplit(url).netloc
    if host not in _HOSTS:
        raise UnknownError(f"no service: {host}")
    return service(_HOSTS[host])
