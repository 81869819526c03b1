"""functions/requirements.txt is what uv.lock says, each package with its hashes."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.terraform.workspace import ROOT

TEXT = (ROOT / "functions" / "requirements.txt").read_text()
EXPORT = "uv export --frozen --no-default-groups --no-emit-project --no-annotate --no-header"


def test_it_is_in_step_with_the_lock():
    command = [str(Path(sys.executable).with_name("uv")), "--quiet", *shlex.split(EXPORT)[1:]]
    exported = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    head = [line for line in TEXT.splitlines() if line.startswith("#")]
    assert "\n".join([*head, exported]) == TEXT, f"it lags behind uv.lock; make it by: {head[-1].lstrip('# ')}"


def test_its_header_says_how_it_is_made():
    assert EXPORT in TEXT.splitlines()[1]


def test_every_package_is_pinned_and_has_hashes():
    """pip installs none without, once one has them."""
    right = re.compile(r"[a-z0-9.-]+==\S+ (; [^\\\n]+ )?\\\n    --hash=sha256:")
    blocks = re.split(r"^(?=\w)", re.sub(r"^#.*\n", "", TEXT, flags=re.MULTILINE), flags=re.MULTILINE)[1:]
    assert [block for block in blocks if not right.match(block)] == []
    assert {block.split("==")[0] for block in blocks} >= {"functions-framework", "duckdb", "psycopg-binary"}
