"""The JSON schemas of the messages: `python -m shared.operate.message_schemas docs/schemas` writes them there."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from shared.messages import HourDoneMessage, Published, RefreshedMessage

#: Each file's schema, of the version that its messages have in their `ce-type`.
SCHEMAS: Mapping[str, type[Struct]] = {
    "published.v1.json": Published,
    "refreshed.v1.json": RefreshedMessage,
    "hour_done.v1.json": HourDoneMessage,
}


def to_json(of: type[Struct]) -> bytes:
    """JSON Schema 2020-12 (https://json-schema.org/draft/2020-12) of a message: its attributes, and its body."""
    schema = msgspec.json.schema(of)
    for definition in schema["$defs"].values():
        _complete(definition)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return msgspec.json.format(msgspec.json.encode(head | schema), indent=1) + b"\n"


def _complete(definition: dict[str, Any]) -> None:
    """Docstrings are indented until Python 3.13, and not from there on. What has a default is sent all the same."""
    if "description" in definition:
        definition["description"] = inspect.cleandoc(definition["description"])
    for name, of in definition["properties"].items():
        if of.pop("default", None) is not None:
            definition["required"].append(name)


if __name__ == "__main__":
    for file, of in SCHEMAS.items():
        (Path(sys.argv[1]) / file).write_bytes(to_json(of))
