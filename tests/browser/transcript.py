"""The transcript of `recosync status` in docs/runbook.md: a morning in trouble, at a fixed instant, 80 columns wide."""

from __future__ import annotations

import random
import re
import sys
from datetime import timedelta
from functools import partial

import psycopg
import pytest

from local import ROOT
from local.cloud import Cloud, Deployment
from local.prerequisites import MissingError
from shared.names import SnapshotId
from shared.operate import status
from tests.browser import month
from tests.kit.commands import recosync

DOCUMENT = ROOT / "docs" / "runbook.md"

#: The block that begins so is the transcript.
COMMAND = "$ COLUMNS=80 NO_COLOR=1 recosync status\n"
BLOCK = re.compile(rf"(?<=^```text\n){re.escape(COMMAND)}.*?(?=^```)", re.DOTALL | re.MULTILINE)

TABLE, VIEW = "non_recommendable_items_data", "non_recommendable_items_mv"


def transcript(here: Deployment) -> str:
    """What the command says, in a deployment of its own."""
    month.fill(here)
    with psycopg.connect(here.dsn, autocommit=True) as database:
        _part(database)
        _view(database)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(status, "gather", partial(status.gather, now=month.NOW))
        for name, value in month.environment(here).items():
            patched.setenv(name, value)
        ran = recosync("status", columns=80)
    return f"{COMMAND}{ran.out}{ran.err}".rstrip() + "\n"


def documented() -> str:
    """What the runbook has."""
    found = BLOCK.search(DOCUMENT.read_text())
    return found[0] if found else ""


def _part(database: psycopg.Connection) -> None:
    """The newest snapshot of a table has a part that its footer contradicts."""
    table, at = "enriched_user", month.NOW - timedelta(hours=1, minutes=12, seconds=38)
    month.snapshot(database, table, at, 3_205_008, random.Random(table), None)  # noqa: S311 - a demonstration
    name = str(SnapshotId(at))
    part = f"gs://recosync-prod-exports/recommendation/{table}/{name}/1/part-000000000003.parquet#1795885202"
    _fail(database, table, name, part, f"{part}: its footer counts 400,514 rows, the manifest 400,515. Export it again")


def _view(database: psycopg.Connection) -> None:
    """A refresh failed for good, so that a view holds what was published the day before."""
    row = database.execute(
        "DELETE FROM recosync.view_build WHERE view_name = %s"
        " AND publication = (SELECT max(publication) FROM recosync.publication WHERE table_name = %s)"
        " RETURNING publication",
        [VIEW, TABLE],
    ).fetchone()
    (publication,) = row or (0,)
    snapshot = str(SnapshotId(month.NOW.replace(hour=5, minute=0, second=2)))
    what = f"{VIEW}: other objects depend on it: view public.offers_of_today."
    what += " Drop them, or make them read the tables instead"
    _fail(database, TABLE, snapshot, f"publication {publication}", what)


def _fail(database: psycopg.Connection, table: str, snapshot: str, subject: str, message: str) -> None:
    database.execute(
        "INSERT INTO recosync.failure (at, kind, table_name, snapshot_id, subject, message)"
        " VALUES (%s, 'TargetError', %s, %s, %s, %s)",
        [month.NOW - timedelta(hours=1, minutes=9), table, snapshot, subject, message],
    )


def main() -> int:
    try:
        with Cloud() as cloud, cloud.deploy("transcript", functions={}) as here:
            told = transcript(here)
    except MissingError as missing:
        sys.stderr.write(f"{missing}\n")
        return 1
    DOCUMENT.write_text(BLOCK.sub(lambda _: told, DOCUMENT.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
