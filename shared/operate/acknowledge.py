"""An operator says that failures were dealt with: they wait for nobody any more, and stay in the record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import psycopg

from shared import log
from shared.catalog import Catalog
from shared.db import queries
from shared.db.postgres import connect, translated
from shared.errors import MAX_REMEDY, BadRequestError, shown
from shared.operate.status import ledger_rows, tables
from shared.operate.status.ledger_rows import CallRow, FailedRow, FailingRow, LedgerRows
from shared.operate.status.report import Acknowledgement
from shared.services import Services


@dataclass(frozen=True)
class Told:
    """One failure as the ledger has it: the row `key` of recosync.`where`.

    `id` is what the status calls it, or its cause; `name` the table, view or log that it is of.
    """

    where: Literal["failure", "export_run", "failing"]
    key: int | FailingRow
    id: str
    name: str | None
    message: str
    at: datetime
    acknowledged: Acknowledgement | None


@dataclass(frozen=True)
class Acknowledged:
    """What came of a call: the failures that it acknowledged, or else who had done so `before`."""

    failures: tuple[Told, ...]
    before: Acknowledgement | None = None


def waiting(services: Services) -> tuple[Told, ...]:
    """What there is to acknowledge, in the order of the status."""
    return tuple(told for told in _read(services) if told.acknowledged is None)


def acknowledge(services: Services, what: str, reason: str, by: str) -> Acknowledged:
    """Acknowledge the failures with this id, or of this table, view or log, that there are now. What fails later is
    news.

    Raises BadRequestError when no failure has the id or the name, and when the reason has no word.
    """
    if not any(character.isalnum() for character in reason):
        raise BadRequestError("--reason should say what was done about it")
    found = _read(services)
    chosen = [told for told in found if what in (told.id, told.name)]
    if not chosen:
        raise BadRequestError(_nothing(what, found), where=what)
    new = tuple(told for told in chosen if told.acknowledged is None)
    if not new:
        return Acknowledged((), max((told.acknowledged for told in chosen if told.acknowledged), key=lambda it: it.at))
    with connect(services.settings, "operator") as connection, translated(f"acknowledging {what}"):
        kept = tuple(_keep(connection, new, shown(reason, MAX_REMEDY), by))
    log.info("failures acknowledged", what=what, by=by, failures=len(kept))
    return Acknowledged(kept)


def _read(services: Services) -> list[Told]:
    """Failures that are not over, those first that functions told last."""
    now = datetime.now(UTC)
    rows = ledger_rows.read(services.settings, services.catalog, now)
    return [*_failing(rows, now), *_failed(services.catalog, rows, now)]


def _failing(rows: LedgerRows, now: datetime) -> Iterator[Told]:
    for row, each in zip(rows.failing, tables.failing(rows, now), strict=True):
        yield Told("failing", row, each.id, each.name, each.message, each.last_at, each.acknowledged)


def _failed(catalog: Catalog, rows: LedgerRows, now: datetime) -> Iterator[Told]:
    """What failed for good, and what a table is in trouble for: that may lie further back, and has the table's id."""
    known: set[tuple[str, int]] = set()
    for row, each in zip(rows.failures, tables.permanent(catalog, rows), strict=True):
        if not each.over:
            where: Literal["failure", "export_run"] = "export_run" if row.is_export else "failure"
            known.add((where, row.id))
            yield Told(where, row.id, each.id, each.table, each.message, each.at, each.acknowledged)
    for name, troubles in tables.troubles(catalog, rows, now).items():
        for trouble in troubles:
            match trouble.failure:
                case CallRow() as call if ("export_run", call.id) not in known:
                    yield Told("export_run", call.id, name, name, trouble.text, call.finished_at, call.acknowledged)
                case FailedRow() as failed if ("failure", failed.id) not in known:
                    yield Told("failure", failed.id, name, name, trouble.text, failed.at, failed.acknowledged)


def _keep(connection: psycopg.Connection, new: Sequence[Told], why: str, by: str) -> list[Told]:
    """Note all of it, in one transaction; what was noted, which is not what a function has told again meanwhile."""
    said = {"why": why, "by": by}
    with connection.transaction():
        for where in ("failure", "export_run"):
            ids = [told.key for told in new if told.where == where]
            if ids:
                connection.execute(queries.load("acknowledge")[where], {**said, "ids": ids})
        again = [told for told in new if isinstance(told.key, FailingRow) and not _still(connection, told.key, said)]
    return [told for told in new if told not in again]


def _still(connection: psycopg.Connection, row: FailingRow, said: dict[str, str]) -> bool:
    """Note it of what a function told last; False when it has told something since."""
    values = {**said, "function": row.function, "name": row.name, "last_at": row.last_at}
    return connection.execute(queries.load("acknowledge")["failing"], values).rowcount > 0


def _nothing(what: str, found: Sequence[Told]) -> str:
    ids = list(dict.fromkeys(told.id for told in found if told.acknowledged is None))
    return f"names no failure that waits: {', '.join(ids) if ids else 'there is none'}"
