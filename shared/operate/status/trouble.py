"""What a human should look at in a table, besides what is held and how old it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.ledger.standing import UNACCOUNTED, bring
from shared.names import ADOPTED, SnapshotId
from shared.operate.status.ledger_rows import CallRow, FailedRow, PublishedRow
from shared.operate.status.report import Published

#: How far clocks may be apart.
CLOCKS = timedelta(minutes=5)


@dataclass(frozen=True)
class Trouble:
    """What to look at, and the failure that it comes from, if it is one that can be acknowledged."""

    text: str
    failure: CallRow | FailedRow | None = None

    @property
    def waits(self) -> bool:
        return self.failure is None or self.failure.acknowledged is None


def of_time(published: Published | None, now: datetime) -> Trouble | None:
    """Why the age of what readers see can't be told."""
    if published is None:
        return None
    at = instant(published.snapshot)
    if at is not None and at > now + CLOCKS:
        return Trouble(
            f"the id of its snapshot, {published.snapshot}, lies in the future: events publish nothing older"
        )
    if published.fresh_at is not None and published.fresh_at > now + CLOCKS:
        return Trouble(f"the export of its snapshot, {published.snapshot}, began in the future, says the manifest")
    return None


def of_ledger(table: str) -> Trouble:
    """What readers have of a table of which the ledger knows nothing."""
    fill = f"recosync export {table} --force"
    return Trouble(f"it {UNACCOUNTED}: {fill}")


def of_parts(row: PublishedRow | None) -> Trouble | None:
    """Why readers lack rows of what they should see."""
    if row is None or not row.lost_parts:
        return None
    lost = "a part of it was" if row.lost_parts == 1 else f"{row.lost_parts} parts of it were"
    return Trouble(
        f"readers lack rows of {row.snapshot}: {lost} dropped or detached by hand. To bring them back:"
        f" {bring(row.name, SnapshotId.parse(row.snapshot))}"
    )


def of_age(last: CallRow | None, published: Published | None) -> Trouble | None:
    """Why readers are not fresh though the last call found the source unchanged: the source is past its age limit."""
    if last is None or published is None or last.outcome != "confirmed unchanged":
        return None
    # What an operator published since then is for the next call to judge.
    judged = last.snapshot == published.snapshot and last.started_at >= published.published_at
    return Trouble(last.message) if judged and last.message is not None else None


def of_export(last: CallRow | None) -> Trouble | None:
    if last is None or last.outcome != "failed":
        return None
    return Trouble(f"its export failed: {last.message or 'no reason was recorded'}", last)


def of_import(failed: FailedRow | None) -> Trouble | None:
    return Trouble(f"snapshot {failed.snapshot} failed: {failed.message}", failed) if failed else None


def of_refresh(failed: Mapping[str, FailedRow], published: Published | None, behind: Sequence[str]) -> Trouble | None:
    """Why views do not hold what is published. A failure from before the publish counts for nothing: the publish mended
    it.
    """
    failure = failed.get(published.snapshot) if published else None
    if failure is None or published is None or not behind or failure.at < published.published_at:
        return None
    told = f"the refresh of publication {published.publication} failed: {failure.message}"
    return Trouble(f"{told}. Once that is mended: recosync materialize {' '.join(behind)}", failure)


def instant(snapshot: str) -> datetime | None:
    """When a snapshot was asked for; None for the rows that a table held before its first publish."""
    at = SnapshotId.parse(snapshot)
    return None if at == ADOPTED else at.at
