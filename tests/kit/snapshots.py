"""Snapshots of one table, told apart by their day: uploaded, or published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from shared.names import SnapshotId
from shared.services import Services
from tests.kit.uploads import Upload, arrive, rows

#: The table that tests use when any will do: two text columns.
TABLE = "non_recommendable_items_data"


def day(number: int) -> SnapshotId:
    return SnapshotId(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number))


def upload(services: Services, number: int, *parts: Sequence[str], table: str = TABLE) -> Upload:
    """The snapshot of a day, with the given users in its parts."""
    snapshot = Upload(services, table, day(number))
    for users in parts:
        snapshot.part(bookings(services, users))
    return snapshot


def bookings(services: Services, users: Sequence[str]) -> object:
    return rows(TABLE, services, {"user_id": list(users), "item_id": ["item"] * len(users)})


def publish(services: Services, number: int, *parts: Sequence[str]) -> None:
    """Publish the snapshot of a day with the given users."""
    assert arrive(services, upload(services, number, *parts).manifest()) == ["published"]


def publish_rows(services: Services, number: int, table: str, values: Mapping[str, object]) -> None:
    """Publish the snapshot of a day that is one part with these columns."""
    snapshot = Upload(services, table, day(number))
    snapshot.part(rows(table, services, values))
    assert arrive(services, snapshot.manifest()) == ["published"]
