"""Where a snapshot stands: the first of its facts that counts, whatever else is true of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product

import pytest

from shared.daily.publish import EventOutcome, refused
from shared.ledger.holds import Hold
from shared.ledger.publications import Publication
from shared.ledger.standing import SnapshotStanding, SnapshotState
from shared.names import SnapshotId


def day(number):
    return SnapshotId(datetime(2026, 2, number, tzinfo=UTC))


STANDS = SnapshotStanding("a_table", day(2))
OLDER, SAME, NEWER = (Publication(number, day(number)) for number in (1, 2, 3))
HELD, APPROVED, REJECTED = (Hold(("few rows",), decision) for decision in (None, "approved", "rejected"))


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ({}, SnapshotState.OPEN),
        ({"published": OLDER}, SnapshotState.OPEN),
        ({"published": SAME}, SnapshotState.PUBLISHED),
        ({"published": NEWER}, SnapshotState.PASSED_OVER),
        ({"published": NEWER, "was_published": True}, SnapshotState.PASSED_OVER),
        ({"published": OLDER, "was_published": True, "pinned": day(1)}, SnapshotState.LEFT),
        ({"published": OLDER, "hold": HELD, "pinned": day(1), "failed": True}, SnapshotState.HELD),
        ({"published": OLDER, "hold": APPROVED}, SnapshotState.OPEN),
        ({"published": NEWER, "hold": REJECTED}, SnapshotState.REJECTED),
        ({"published": NEWER, "hold": HELD}, SnapshotState.PASSED_OVER),
        ({"published": OLDER, "pinned": day(1), "failed": True}, SnapshotState.PINNED),
        ({"published": OLDER, "failed": True}, SnapshotState.FAILED),
    ],
)
def test_where_a_snapshot_stands(facts, state):
    assert replace(STANDS, **facts).state is state


def test_an_event_never_publishes_what_readers_have_seen_or_a_human_stopped():
    """Of all facts together: only a newer snapshot that readers never saw, and nobody held or pinned away."""
    for published, was, hold, pinned, failed in product(
        (None, OLDER, SAME, NEWER), (False, True), (None, HELD, APPROVED, REJECTED), (None, day(1)), (False, True)
    ):
        stands = replace(STANDS, published=published, was_published=was, hold=hold, pinned=pinned, failed=failed)
        goes = published in (None, OLDER) and not was and hold in (None, APPROVED) and pinned is None
        assert (refused(stands) is None) == goes, stands
        if published == SAME:
            assert refused(stands) is EventOutcome.REPEATED
