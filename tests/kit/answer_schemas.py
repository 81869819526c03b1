"""The JSON Schemas of what HTTP functions answer, from the types of the answers: `python -m tests.kit.answer_schemas`
writes those in docs/schemas.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, Literal, TypeAliasType, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

import jsonschema

from shared.catalog import ROOT
from shared.daily.export import ExportAnswer
from shared.hourly.answer import HourlyAnswer
from shared.operate.doctor import Examined
from shared.upkeep.reconcile import Finished

FOLDER = ROOT / "docs" / "schemas"


class Housekeeping(TypedDict):
    """How many things the call dropped that nobody needs any more. A null is a kind that failed."""

    builds: int | None
    stand_ins: int | None
    parts: int | None
    temporary_tables: int | None
    ledger_rows: int | None


class Exported(ExportAnswer):
    """Each table that was asked for, once. Its status is 500 if repeating the call can mend a table that failed; else
    200, or 422 if a table failed and the call is strict.
    """

    housekeeping: Housekeeping | None


class Hours(HourlyAnswer):
    """What became of the hours. Its status is 500 if repeating the call can mend an hour that failed; else 200, or 422
    if an hour failed and the call is strict.
    """

    reconciled: list[Finished] | None


class Fault(TypedDict):
    """Why a call failed."""

    error: str
    retryable: bool


class FailedForGood(TypedDict):
    """The call failed as a whole, and repeating it does not help: 200, or 422 if it is strict."""

    failed: list[Fault]


class NotDone(TypedDict):
    """The call makes no sense (400, 405), or failed as a whole and can succeed when it is repeated (500)."""

    error: str


#: The types of each function's answers: a call has one of them.
ANSWERS: Mapping[str, tuple[type, ...]] = {
    "bq_export": (Exported, FailedForGood, NotDone),
    "hourly_export": (Hours, FailedForGood, NotDone),
    "doctor": (Examined, NotDone),
}
TITLES = {"doctor": "An answer of bq_export or hourly_export to a call for the doctor"}


def schema(name: str) -> dict[str, Any]:
    """JSON Schema 2020-12 (https://json-schema.org/draft/2020-12)."""
    definitions: dict[str, Any] = {}
    answers = [_of(answer, definitions) for answer in ANSWERS[name]]
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {**head, "title": TITLES.get(name, f"An answer of {name}"), "anyOf": answers, "$defs": definitions}


def _of(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a type. msgspec, which writes that of the status, takes no union of objects without a tag."""
    hint = hint.__value__ if isinstance(hint, TypeAliasType) else hint
    arguments = get_args(hint)
    if is_typeddict(hint):
        if hint.__name__ not in definitions:
            definitions[hint.__name__] = {}  # its place, before those of its fields
            fields = {field: _of(kind, definitions) for field, kind in get_type_hints(hint).items()}
            told = {"description": inspect.cleandoc(hint.__doc__ or "")}
            definitions[hint.__name__] = {**told, "type": "object", "properties": fields, "required": list(fields)}
        return {"$ref": f"#/$defs/{hint.__name__}"}
    if isinstance(hint, UnionType):
        return {"anyOf": [_of(option, definitions) for option in arguments]}
    match get_origin(hint) or hint:
        case kind if kind is Literal:
            return {"enum": list(arguments)}
        case kind if kind is list:
            return {"type": "array", "items": _of(arguments[0], definitions)}
        case kind if kind is dict:
            return {"type": "object", "additionalProperties": _of(arguments[1], definitions)}
        case kind if issubclass(kind, StrEnum):
            return {"enum": [value.value for value in kind]}
        case kind:
            return {"type": _NAMES[kind]}


_NAMES = {str: "string", bool: "boolean", int: "integer", NoneType: "null"}


def text(name: str) -> str:
    return json.dumps(schema(name), indent=1) + "\n"


def checked(name: str, answer: Any) -> Any:
    """The answer, or the report of `status`, which is as its schema in the docs says, with no field beside. Raises
    ValidationError.
    """
    folder = FOLDER.parent if name == "status" else FOLDER
    documented = json.loads((folder / f"{name}.schema.json").read_text())
    for definition in documented["$defs"].values():
        # Readers of a schema are to live with new fields; the documents are not to lack one.
        if definition.get("type") == "object":
            definition["additionalProperties"] = False
    jsonschema.Draft202012Validator(documented).validate(answer)
    return answer


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in ANSWERS:
        (FOLDER / f"{each}.schema.json").write_text(text(each))
