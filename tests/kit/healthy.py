"""A table and its view as they stand when all is well: what an operator sees of them, and what readers do."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from local.cloud import Deployment
from shared.daily import extract
from shared.operate.status import collect
from shared.services import HourlyServices
from tests.kit.commands import Ran, recosync
from tests.kit.sessions import one
from tests.kit.snapshots import TABLE

VIEW = "non_recommendable_items_mv"


def source(here: Deployment, rows: int, more: str = "") -> None:
    """The source of TABLE, with so many users: a part for each thousand."""
    here.bigquery_client.query(
        "CREATE OR REPLACE TABLE ml_reco_local.user_booked_item AS"
        f" SELECT CAST(n AS STRING) AS user_id, 'item' AS item_id{more} FROM UNNEST(GENERATE_ARRAY(1, {rows})) AS n"
    ).result()


def run(*command: object) -> Ran:
    """A command that must not fail."""
    ran = recosync(*command)
    assert ran.code == 0, ran.err
    return ran


def bring(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two snapshots of TABLE: readers see the second, of 1,500 rows in two parts, in the table and in its view.

    An export finds at once that the source has not changed since, as it does the next morning.
    """
    monkeypatch.setattr(extract, "CLOCKS_DIFFER", timedelta(0))
    for rows, options in ((1_400, ["--date", "20260101"]), (1_500, [])):
        source(here, rows)
        run("export", TABLE, *options)
        run("import", TABLE)
        run("materialize", VIEW)
    assert differences() == []
    # A snapshot's id and a source's time of change are of whole seconds: what comes now is of another one.
    time.sleep(1)


def differences(*names: str) -> list[str]:
    """What `recosync verify` says is wrong."""
    ran = recosync("verify", *(names or [TABLE]), "--json")
    told = [line for table in ran.json["tables"] for line in table["differences"]]
    assert ran.code == (5 if told else 0), ran.err
    return told


def page(now: datetime | None = None) -> tuple[str, Any, Any]:
    """The first line of the status page, and what it says of TABLE, or its problems, and of VIEW."""
    report = collect.gather(HourlyServices.from_environment(), now or datetime.now(UTC))
    if report.tables is None or report.views is None:
        return report.summary, report.problems, None
    (table,) = (table for table in report.tables if table.name == TABLE)
    (view,) = (view for view in report.views if view.name == VIEW)
    return report.summary, table, view


def counts(database: psycopg.Connection, *names: str) -> list[int]:
    """How many rows readers see of each."""
    return [one(database, f"SELECT count(*) FROM {name}") for name in names]


def back(database: psycopg.Connection, rows: int = 1_500) -> None:
    """All is well again, and readers see so many rows."""
    assert differences() == []
    told, table, view = page()
    assert (table.trouble, view.gone, "in trouble" in told, "gone" in told) == ((), None, False, False)
    assert counts(database, TABLE, VIEW) == [rows, rows]
