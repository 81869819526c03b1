"""The JSON schema of the report: `python -m shared.operate.status.schema > docs/status.schema.json`."""

from __future__ import annotations

import sys

import msgspec

from shared.operate.status.report import Report


def to_json() -> bytes:
    """JSON Schema 2020-12 (https://json-schema.org/draft/2020-12)."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "The status of recosync"}
    return msgspec.json.format(msgspec.json.encode(head | msgspec.json.schema(Report)), indent=1) + b"\n"


if __name__ == "__main__":
    sys.stdout.buffer.write(to_json())
