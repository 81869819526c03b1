"""What housekeeping may drop of a table."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from shared.ledger.holds import Hold
from shared.ledger.publications import Publication
from shared.ledger.standing import SnapshotStanding
from shared.names import ADOPTED, ObjectVersion, SnapshotId
from shared.upkeep.housekeeping import StagedPart, due

NOW = datetime(2026, 3, 10, tzinfo=UTC)
BEFORE = NOW - timedelta(days=3)
OLD, YOUNG = NOW - timedelta(days=30), NOW - timedelta(days=1)


def day(number):
    return SnapshotId(datetime(2026, 2, number, tzinfo=UTC))


def part(snapshot, publication=None, *, staged=OLD, attached=False, pinned=False, hold=None):
    name = f"{snapshot}-{staged}"
    stands = SnapshotStanding(
        "a_table",
        snapshot,
        was_published=publication is not None,
        hold=hold and Hold(("few rows",), None if hold == "undecided" else hold),
        pinned=snapshot if pinned else None,
    )
    return StagedPart(1, "a_table", snapshot, ObjectVersion("b", name, 1), staged, attached, publication, stands)


def dropped(*parts, known=True):
    last = max((part for part in parts if part.publication), key=lambda part: part.publication, default=None)
    published = Publication(last.publication, last.snapshot) if last else None
    seen = [replace(part, stands=replace(part.stands, published=published)) for part in parts]
    return due(seen, BEFORE, known=known)


def test_what_readers_see_and_the_two_snapshots_before_it_stay():
    parts = [part(day(number), number) for number in range(1, 6)]
    assert dropped(*parts) == {day(1), day(2)}


def test_the_rows_that_were_there_before_any_publish_count_as_one_of_the_two():
    assert dropped(part(ADOPTED), part(day(1), 1), part(day(2), 2)) == set()
    assert dropped(part(ADOPTED), part(day(1), 1), part(day(2), 2), part(day(3), 3)) == {ADOPTED}


def test_a_snapshot_of_which_nothing_stands_any_more_is_none_to_go_back_to():
    assert dropped(part(day(1), 1), part(day(2), 2), part(day(5), 5)) == set()


def test_after_a_rollback_there_is_a_way_further_back_and_one_forward():
    parts = [part(day(1), 1), part(day(2), 2), part(day(3), 6, pinned=True), part(day(4), 4), part(day(5), 5)]
    assert dropped(*parts) == set()
    assert dropped(part(day(1), 1), *[part(day(n), n) for n in (2, 3)], part(day(4), 7), part(day(5), 5)) == {day(1)}


def test_what_is_pinned_or_attached_stays_whatever_the_ledger_says():
    assert dropped(part(day(1), 1, pinned=True), part(day(2), attached=True), *newer()) == set()


def newer():
    return [part(day(number), number) for number in (11, 12, 13)]


def test_the_young_stay():
    assert dropped(part(day(1), 1, staged=YOUNG), part(day(20), staged=YOUNG), *newer()) == set()


def test_a_snapshot_is_as_young_as_its_youngest_part():
    assert dropped(part(day(20)), part(day(20), staged=YOUNG), *newer()) == set()


def test_what_never_completed_is_dropped_once_it_is_old():
    assert dropped(part(day(20)), part(day(9)), *newer()) == {day(20), day(9)}


def test_what_was_rejected_is_dropped_at_once():
    assert dropped(part(day(20), staged=YOUNG, hold="rejected"), *newer()) == {day(20)}


def test_what_waits_for_a_human_stays_until_readers_have_a_newer_one():
    assert dropped(part(day(20), hold="undecided"), part(day(12), hold="undecided"), part(day(1), 1)) == set()
    assert dropped(part(day(2), hold="undecided"), *newer()) == {day(2)}


def test_what_was_approved_is_a_snapshot_like_others():
    assert dropped(part(day(2), 2, hold="approved"), *newer()) == {day(2)}


def test_a_table_that_left_the_catalog_keeps_what_readers_see_and_nothing_else():
    parts = [part(ADOPTED), part(day(1), 1), part(day(2), 2, attached=True), part(day(3), hold="undecided")]
    assert dropped(*parts, known=False) == {ADOPTED, day(1), day(3)}
    assert dropped(part(day(1), 1, staged=YOUNG), part(day(2), 2, attached=True), known=False) == set()
