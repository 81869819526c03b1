"""SQL statements kept in files under sql/, as blocks that each start with `-- name: <name>`."""

import re
from functools import cache
from typing import LiteralString

from shared.catalog import ROOT

_HEADER = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@cache
def load(file: str) -> dict[str, LiteralString]:
    """The statements of `sql/<file>.sql`, by name."""
    # The files are deployed with the code and no input reaches them: they are as trusted as a literal.
    text: LiteralString = (ROOT / "sql" / f"{file}.sql").read_text()
    _, *blocks = _HEADER.split(text)
    return dict(zip(blocks[::2], (block.strip() for block in blocks[1::2]), strict=True))
