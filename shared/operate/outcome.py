"""What became of a snapshot for readers of its table and of the table's views."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from shared.catalog import Table
from shared.daily.context import TableRun
from shared.db.postgres import connect, translated
from shared.ledger import migrations, standing, view_builds
from shared.ledger.standing import SnapshotStanding, SnapshotState
from shared.names import SnapshotId
from shared.services import Services
from shared.target import views


@dataclass(frozen=True)
class SnapshotOutcome:
    """What came of a snapshot. `what` is published, held, rejected, pinned, older, under way, waiting, which nobody is
    at, or without views, which wait for another table; `reasons` say why it is held.

    `new` says whether it was this import that published it; `publication` and `published` are what readers see now, and
    `behind` the views that do not hold that yet.
    """

    table: str
    snapshot: SnapshotId
    what: str
    new: bool = False
    publication: int | None = None
    published: SnapshotId | None = None
    reasons: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()


def look(services: Services, table: Table, snapshot: SnapshotId) -> SnapshotOutcome:
    """What became of the snapshot, by the ledger; `under way` when nothing stops it."""
    with connect(services.settings, "import") as connection, translated(f"looking at {table.name} {snapshot}"):
        return of(TableRun(services, connection, table), snapshot)


def of(run: TableRun, snapshot: SnapshotId) -> SnapshotOutcome:
    """What `look` tells, over a connection that is open."""
    if not migrations.exists(run.connection):
        return SnapshotOutcome(run.table.name, snapshot, "under way")
    stands = standing.of(run.connection, run.table.name, snapshot)
    published, what = stands.published, _what(stands)
    return SnapshotOutcome(
        table=run.table.name,
        snapshot=snapshot,
        what=what,
        publication=published.number if published else None,
        published=published.snapshot if published else None,
        reasons=stands.hold.reasons if stands.hold and what in ("held", "rejected") else (),
        behind=tuple(_behind(run, published.number)) if published else (),
    )


def _what(stands: SnapshotStanding) -> str:
    match stands.state:
        case SnapshotState.PUBLISHED:
            return "published"
        case SnapshotState.REJECTED:
            return "rejected"
        # Who asks wants to know what to do: a hold or a pin is an answer of an old snapshot, too.
        case _ if stands.undecided is not None:
            return "held"
        case _ if stands.pinned not in (None, stands.snapshot):
            return "pinned"
        case SnapshotState.PASSED_OVER:
            return "older"
        case _:
            return "under way"


def _behind(run: TableRun, publication: int) -> Iterator[str]:
    """The views that do not hold the table as of that publication or a later one, or are not there."""
    for view in run.views:
        held = view_builds.of_view(run.connection, view.name).get(run.table.name)
        if held is None or held.publication < publication or not views.exists(run.connection, run.relation(view)):
            yield view.name
