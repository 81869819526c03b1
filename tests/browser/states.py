"""A report of each state that the page may be looked at in, by name."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta

from msgspec.structs import replace

from shared import catalog
from shared.daily.templates import outlook
from shared.names import Hour
from shared.operate.status.causes import Fact, grouped
from shared.operate.status.report import (
    Drift,
    HourState,
    HourStatus,
    LogStatus,
    Outcome,
    Pin,
    Problem,
    Report,
    Run,
    Stage,
    StageName,
    TableStatus,
    ViewSource,
    ViewStatus,
)
from shared.operate.status.summary import summarized
from tests.kit.reports import NOW, SNAPSHOT, failure, failures, held, log, report, run, table

NAMES = ("enriched_user", "recommendable_offers_raw", "non_recommendable_items_data", "iris_france")

OFFERS = "recommendable_offers_raw"

#: What one migration of the API, a source and a row make us say.
REQUIRED = (
    "public.{table}: its column tenant_id, which the catalog does not have, is NOT NULL and has no default. "
    "ALTER TABLE … ALTER tenant_id DROP NOT NULL, or SET DEFAULT"
)
DRIFT = (
    "passculture-data-prod.ml_reco.recommendable_offers_raw: column venue_id is STRING, integer takes INT64; "
    "column booking_number_last_28_days is missing, integer takes INT64; column item_embedding is FLOAT64, "
    "varchar takes STRING or JSON. Mend the source, or change the catalog"
)
HOUR = (
    "past_offer_context, hour 20261123T04: the row with id 88410233 has offer_stock_price = NaN, and NUMERIC has no "
    "NaN (https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#numeric_types); "
    "4 more columns of this row, and 1,204 more rows of this hour, have values that their type in BigQuery can't take: "
    "user_deposit_remaining_credit, offer_item_score, offer_extra_data, context_extra_data. "
    'Correct the rows, or say excess_scale = "round" in catalog.toml and deploy; then ask for the hour again'
)


def arrived(outcome: Outcome, at: int = 0) -> Run:
    """A snapshot that came, was staged, and was not published."""
    began = NOW - timedelta(hours=4, days=at)
    export, stage = began + timedelta(seconds=64), began + timedelta(seconds=107)
    stages = (
        Stage(StageName.EXPORT, began, export),
        Stage(StageName.STAGE, export, stage),
        Stage(StageName.PUBLISH, None, None),
        Stage(StageName.REFRESH, None, None),
    )
    return Run(began, outcome, f"{began:%Y%m%dT%H%M%SZ}", None, stages)


def other(name: str = OFFERS, of: Report | None = None, **changes: object) -> Report:
    """The report where one table stands otherwise."""
    base = of or report()
    assert base.tables is not None
    return replace(base, tables=tuple(table(name, **changes) if it.name == name else it for it in base.tables))


def hours(**states: HourState) -> LogStatus:
    """The log where some hours, named like h20261123T04, stand otherwise."""
    base = log()
    days = (replace(day, hours=tuple(_hour(it, states) for it in day.hours)) for day in base.days)
    return replace(base, days=tuple(days))


def _hour(hour: HourStatus, states: dict[str, HourState]) -> HourStatus:
    at = Hour.parse(hour.hour)
    rows = random.Random(hour.hour).randint(2_000, 41_000)  # noqa: S311 - a demonstration
    if at.end > NOW:
        return HourStatus(hour.hour, HourState.TO_COME)
    state = states.get(f"h{hour.hour}", HourState.DONE)
    unread = state in (HourState.GAP, HourState.DUE, HourState.FAILED, HourState.DAMAGED, HourState.NOT_OWNED)
    if unread:
        return HourStatus(hour.hour, state)
    return replace(hour, state=state, rows=rows, failure=None, verified_at=at.end + timedelta(minutes=5))


def failed_hours(message: str, *names: str) -> LogStatus:
    base = hours(**{f"h{name}": HourState.FAILED for name in names})
    facts = [Fact(NOW - timedelta(minutes=n * 60 + 7), "Hour", name, message) for n, name in enumerate(names)]
    last = Hour.parse(max(names)).plus(1)
    again = f"recosync backfill {base.name} --from {min(names)} --until {last}"
    return replace(base, causes=tuple(replace(cause, repeat=again) for cause in grouped(facts, ())))


def views(*, overdue: bool) -> tuple[ViewStatus, ...]:
    """Each table's view, one of which is not of what is published."""
    lagging = ViewSource(OFFERS, "20261122T050000Z", NOW - timedelta(days=1), 58.2, False)
    late = (OFFERS,) if overdue else ()
    fresh = tuple(ViewStatus(f"{name}_mv", (ViewSource(name, SNAPSHOT, NOW, 3.2, True),), (), ()) for name in NAMES)
    return (*fresh, ViewStatus("item_ids_mv", (lagging,), (), late), ViewStatus("new_mv", (), (OFFERS,), late))


def outdated() -> tuple[ViewStatus, ...]:
    """Each table's view, one of which is of what its template was before."""
    first, *others = report().views or ()
    said = outlook(catalog.load().views[first.name], refused=False)
    return (replace(first, outdated=said), *others)


def _failed() -> Report:
    said = REQUIRED.format(table=OFFERS)
    late = Run(NOW - timedelta(hours=4), Outcome.RETRIED, None, "BigQuery: the job did not end in time", ())
    runs = (late, replace(arrived(Outcome.FAILED), message=said), *(run(NOW - timedelta(days=n)) for n in range(1, 6)))
    return replace(
        other(trouble=(f"snapshot {SNAPSHOT} failed: {said}",), runs=runs),
        failures=failures(failure(said, table=OFFERS, kind="TargetError")),
    )


def _mistake() -> Report:
    """One mistake, and what it makes fail until somebody mends it."""
    found = [
        failure(REQUIRED.format(table=name), table=name, kind="TargetError", at=NOW - timedelta(hours=n, minutes=7))
        for n in range(3)
        for name in NAMES[: 4 if n else 3]
    ]
    said = {name: REQUIRED.format(table=name) for name in NAMES}
    tables = tuple(table(name, trouble=(f"snapshot {SNAPSHOT} failed: {said[name]}",)) for name in NAMES[:3])
    return report(tables=(*tables, table(NAMES[3])), failures=failures(*found))


def _mended() -> Report:
    assert _mistake().failures is not None
    return report(failures=failures(*(replace(it, over=True) for it in _mistake().failures.newest)))


def _late() -> Report:
    today = f"{NOW:%Y%m%d}"
    return report(logs=(hours(**{f"h{today}T07": HourState.GAP, f"h{today}T08": HourState.DUE}),))


def _stopped() -> Report:
    """Nothing of a log has moved since yesterday."""
    last, *before = [f"h{Hour(NOW - timedelta(hours=n))}" for n in range(1, 17)]
    return report(logs=(hours(**{last: HourState.DUE}, **dict.fromkeys(before, HourState.GAP)),))


def _empty() -> Report:
    tables = tuple(table(name, published=None, fresh=False, runs=()) for name in NAMES)
    unbuilt = tuple(ViewStatus(f"{name}_mv", (), (name,), ()) for name in NAMES)
    other = {f"h{hour.hour}": HourState.NOT_OWNED for hour in log().hours}
    return report(tables=tables, views=unbuilt, logs=(replace(hours(**other), start="20261123T09"),))


def _unreachable() -> Report:
    said = "PostgreSQL did not answer: connection to server at 10.24.0.3, port 5432 failed: Connection timed out"
    return report(tables=None, views=None, failures=None, problems=(Problem("ledger", said),), logs=(hours(),))


def _many() -> Report:
    tables = [table(f"similar_items_by_{n:02d}_and_category") for n in range(40)]
    tables[3] = table(tables[3].name, fresh=False, held=(held(tables[3].name),))
    tables[17] = table(tables[17].name, trouble=(REQUIRED.format(table=tables[17].name),))
    found = [failure(REQUIRED.format(table=it.name), table=it.name, kind="TargetError") for it in tables]
    read = tuple(ViewStatus(f"{it.name}_mv", (ViewSource(it.name, SNAPSHOT, NOW, 3.2, True),), (), ()) for it in tables)
    return report(tables=tuple(tables), views=read, failures=failures(*found))


def _unbroken() -> Report:
    name, path = "x" * 63, "gs://" + "b" * 222 + "/" + "p" * 400
    tables: tuple[TableStatus, ...] = (
        table(
            name,
            held=(held(name, "r" * 300),),
            drift=Drift(NOW, "d" * 500),
            pin=Pin(SNAPSHOT, NOW, "o" * 120, f"recosync rollback {name} --unpin"),
            trouble=(f"{path}: {'t' * 500}. {'m' * 200}",),
        ),
    )
    broken = replace(failed_hours(f"{path}: {'f' * 900}", f"{NOW:%Y%m%d}T03"), name=name)
    return report(
        environment="e" * 63,
        tables=tables,
        views=(ViewStatus(name, (ViewSource(name, SNAPSHOT, NOW, 3.2, False),), (name,), (name,)),),
        failures=failures(failure(f"{path}: {'f' * 900}", table=name, kind="K" * 63)),
        logs=(broken,),
        problems=(Problem("hours", f"{path}: {'h' * 500}", name),),
    )


def _pin() -> Pin:
    return Pin("20261122T050000Z", NOW - timedelta(hours=20), "ana@example.org", f"recosync rollback {OFFERS} --unpin")


#: What makes each report.
STATES: dict[str, Callable[[], Report]] = {
    "fresh": lambda: report(logs=(hours(),)),
    "under-way": lambda: other(runs=(arrived(Outcome.UNDER_WAY), *table().runs[1:])),
    "pinned": lambda: other(pin=_pin(), runs=(arrived(Outcome.PINNED), arrived(Outcome.PINNED, 1), *table().runs[2:])),
    "unpinned": lambda: other(runs=(arrived(Outcome.WAITING), arrived(Outcome.PASSED_OVER, 1), *table().runs[2:])),
    "held": lambda: other(fresh=False, held=(held(OFFERS),), runs=(arrived(Outcome.HELD), *table().runs[1:])),
    "drifted": lambda: other(
        drift=Drift(NOW - timedelta(hours=4), DRIFT),
        runs=(Run(NOW - timedelta(hours=4), Outcome.SOURCE_CHANGED, None, DRIFT, ()), *table().runs[1:]),
    ),
    "failed": _failed,
    "mistake": _mistake,
    "mended": _mended,
    "view-behind": lambda: report(views=views(overdue=False)),
    "view-overdue": lambda: report(views=views(overdue=True)),
    "view-outdated": lambda: report(views=outdated()),
    "hour-late": _late,
    "hour-failed": lambda: report(logs=(failed_hours(HOUR, "20261123T04"),)),
    "hours-failed": lambda: report(logs=(failed_hours(HOUR, *(f"202611{22 - n // 9}T{n:02d}" for n in range(11))),)),
    "log-stopped": _stopped,
    "empty": _empty,
    "unreachable": _unreachable,
    "many-tables": _many,
    "unbroken": _unbroken,
}


def of(name: str) -> Report:
    """The report of a state, with its first line."""
    return summarized(STATES[name]())
