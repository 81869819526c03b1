"""The circuit breaker: in what is a snapshot so unlike the published one that a human should look first?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.catalog import Limits, Table
from shared.rows.profile import Profile
from shared.words import quantity

#: A change by fewer rows is never too much: a share means little in a small table.
FEW_ROWS = 1_000

#: What floating point may be off by.
_NOTHING = 1e-9


@dataclass(frozen=True)
class Facts:
    """What the breaker knows of a snapshot. `duplicate_keys` are rows whose key an earlier row has; None is unknown.

    `source_modified` is when the source was last changed before `exported`, the instant that was read.
    """

    profile: Profile
    duplicate_keys: int | None
    source_modified: datetime | None
    exported: datetime | None


def reasons(table: Table, new: Facts, published: Facts | None) -> list[str]:
    """Why the snapshot should be held; empty when nothing speaks against it.

    With nothing published, there is nothing to compare the snapshot with: then only its key and its age are judged.
    """
    found = [*_keys(table, new, published), *_nulls(table, new, published), *_age(table.limits, new, published)]
    return [*_rows(table.limits, new, published), *found] if published else found


def _rows(limits: Limits, new: Facts, published: Facts) -> Iterator[str]:
    before, now = published.profile.rows, new.profile.rows
    if abs(now - before) < FEW_ROWS or not before:
        return
    change = (now - before) / before
    rows = quantity(now, "row")
    if -change > limits.shrink + _NOTHING:
        yield f"{rows}, {-change:.1%} fewer than the {before:,} published; the limit is {limits.shrink:.1%}"
    if change > limits.growth + _NOTHING:
        yield f"{rows}, {change:.1%} more than the {before:,} published; the limit is {limits.growth:.1%}"


def _nulls(table: Table, new: Facts, published: Facts | None) -> Iterator[str]:
    for column, limit in table.limits.null_share.items():
        now, before = new.profile.null_share(column), 0.0
        if published is not None:
            known = published.profile.null_share(column)
            if known is None:
                continue  # nobody counted them
            before = known
        elif column not in table.key:
            continue
        if now is not None and now > before + limit + _NOTHING:
            compared = f", {before:.2%} in what is published; the limit is {limit:.2%} more" if published else ""
            yield f"{now:.2%} of {column} are NULL{compared}"


def _keys(table: Table, new: Facts, published: Facts | None) -> Iterator[str]:
    limit = table.limits.duplicate_keys
    before = published.duplicate_keys if published else 0
    if new.duplicate_keys is not None and before is not None and new.duplicate_keys > before + limit:
        compared = f", {before:,} in what is published" if published else ""
        more = new.duplicate_keys
        yield f"{quantity(more, 'row')} with the key ({', '.join(table.key)}) of another{compared}"


def _age(limits: Limits, new: Facts, published: Facts | None) -> Iterator[str]:
    modified, before = new.source_modified, published.source_modified if published else None
    if modified is None or modified == before:
        return  # not known, or what readers have is as old
    aged = stale(limits, modified, new.exported) if new.exported else None
    if aged:
        yield aged
    if before is not None and modified < before:
        yield f"its source was last changed at {_minute(modified)}, that of what is published at {_minute(before)}"


def stale(limits: Limits, modified: datetime, exported: datetime) -> str | None:
    """What to say of a source that was changed too long before it was exported, or looked at; None when it was not."""
    if limits.source_age is None or exported - modified <= timedelta(hours=limits.source_age):
        return None
    return f"its source was last changed at {_minute(modified)}; the limit is {limits.source_age} h before the export"


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
