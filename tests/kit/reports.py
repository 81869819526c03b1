"""Reports that tests of the status page begin with: one where all is well, as full as it gets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from shared.operate.status.causes import Fact, grouped
from shared.operate.status.report import (
    DayStatus,
    Failure,
    Failures,
    Held,
    HourState,
    HourStatus,
    LogStatus,
    Outcome,
    Published,
    Receipt,
    Report,
    Run,
    Stage,
    StageName,
    TableStatus,
    ViewSource,
    ViewStatus,
)

NOW = datetime(2026, 11, 23, 9, 12, tzinfo=UTC)
SNAPSHOT = "20261123T050000Z"


def run(at: datetime = NOW, seconds: float = 60) -> Run:
    stages = tuple(
        Stage(name, at + timedelta(seconds=n * seconds), at + timedelta(seconds=(n + 1) * seconds))
        for n, name in enumerate(StageName)
    )
    return Run(at, Outcome.PUBLISHED, SNAPSHOT, None, stages)


def table(name: str = "enriched_user", **changes: object) -> TableStatus:
    receipt = Receipt(NOW, 3_000_000, 3_000_000, 3_000_000, 8, 0)
    published = Published(SNAPSHOT, 7, 3_000_000, NOW, "event", NOW, NOW, receipt)
    runs = tuple(run(NOW - timedelta(days=n)) for n in range(7))
    values: dict[str, object] = {
        "source": "{SCORES_DATASET}.users",
        "fresh": True,
        "held": (),
        "drift": None,
        "pin": None,
        "trouble": (),
        "runs": runs,
    }
    return TableStatus(**{"name": name, "published": published, **values, **changes})  # type: ignore[arg-type]


def held(name: str = "enriched_user", reason: str = "3 rows, 99.9% fewer") -> Held:
    return Held(
        SNAPSHOT,
        3,
        NOW - timedelta(hours=2),
        (reason,),
        f"recosync approve {name} {SNAPSHOT}",
        f"recosync reject {name} {SNAPSHOT}",
    )


def log(name: str = "past_offer_context", state: HourState = HourState.DONE) -> LogStatus:
    days = []
    for age in range(30):
        day = NOW.date() - timedelta(days=age)
        hours = tuple(
            HourStatus(f"{day:%Y%m%d}T{n:02d}", state, 41_000 + n, 0, 1, NOW, failure="x" * 200 if n == 3 else None)
            for n in range(24)
        )
        days.append(DayStatus(day, hours))
    return LogStatus(name, "20261001T00", tuple(days), None)


def failure(message: str = "m" * 400, **changes: object) -> Failure:
    values = {"at": NOW, "kind": "DataError", "table": "enriched_user", "snapshot": SNAPSHOT, "subject": "part"}
    return Failure(**values | {"message": message} | changes)  # type: ignore[arg-type]


def failures(*newest: Failure, total: int | None = None) -> Failures:
    """These failures, and what they come down to."""
    facts = (Fact(f.at, f.kind, f.table or f.subject, f.message, f.over, (f.subject, f.snapshot or "")) for f in newest)
    names = {failure.table or "" for failure in newest}
    return Failures(len(newest) if total is None else total, newest, grouped(facts, names))


def report(**changes: object) -> Report:
    """Four tables with seven runs, five views, a log of thirty days, and no failure."""
    names = ("enriched_user", "recommendable_offers_raw", "non_recommendable_items_data", "iris_france")
    values: dict[str, object] = {
        "made_at": NOW,
        "environment": "prod",
        "summary": "All 4 tables fresh",
        "attention": False,
        "problems": (),
        "tables": tuple(table(name) for name in names),
        "views": tuple(
            ViewStatus(f"{name}_mv", (ViewSource(name, SNAPSHOT, NOW, 3.2, True),), (), ())
            for name in (*names, "item_ids")
        ),
        "failures": Failures(0, ()),
        "logs": (log(),),
    }
    return Report(**{**values, **changes})  # type: ignore[arg-type]
