"""The JSON schema of the report: `python -m shared.operate.status.schema > docs/status.schema.json`."""

from __future__ import annotations

import inspect
import sys

import msgspec

from shared.operate.status.report import Report


def to_json() -> bytes:
    """JSON Schema 2020-12 (https://json-schema.org/draft/2020-12)."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "The status of recosync"}
    schema = msgspec.json.schema(Report)
    for definition in schema["$defs"].values():
        # Docstrings are indented until Python 3.13, and not from there on.
        if "description" in definition:
            definition["description"] = inspect.cleandoc(definition["description"])
    return msgspec.json.format(msgspec.json.encode(head | schema), indent=1) + b"\n"


if __name__ == "__main__":
    sys.stdout.buffer.write(to_json())
