"""What the status page says of an hour, from what its manifest says."""

from datetime import date, timedelta

import pytest

from shared.hourly.manifest import (
    NOTHING,
    Batch,
    BatchReceipt,
    Content,
    DamagedError,
    DayManifest,
    Deletion,
    Export,
    Exporting,
    Failure,
    HourRecord,
)
from shared.names import Hour
from shared.operate.status.hours import Owned, causes_of, day_status, undeleted_of
from shared.operate.status.report import HourState
from tests.kit.reports import NOW

DAY = date(2026, 11, 23)
START = Hour.of_day(DAY, 2)


def batch(rows, number=1):
    content = Content(rows, "1", "1")
    export = Export(number, "a", (), content, NOTHING, {}, NOW)
    return Batch(export, "job", BatchReceipt(content, content, content), NOW, NOW + timedelta(minutes=number))


def hour(number, record, now=NOW):
    """What is said of an hour whose record is this."""
    hours = {} if record is None else {f"{number:02d}": record}
    return day_status(DAY, DayManifest("t", "20261123", str(START), hours), Owned(START), now).hours[number]


@pytest.mark.parametrize(
    ("record", "state"),
    [
        (HourRecord(), HourState.EMPTY),
        (HourRecord((batch(5),)), HourState.DONE),
        (HourRecord((batch(5), batch(1, 2))), HourState.LATE),
        (HourRecord((batch(5),), work=Exporting(2, "a", NOW)), HourState.IN_PROGRESS),
        (HourRecord((batch(5),), deletion=Deletion(NOW)), HourState.IN_PROGRESS),
        (HourRecord((batch(5), batch(1, 2)), deletion=Deletion(NOW, 2, 6)), HourState.DELETED),
        (HourRecord((batch(5),), failure=Failure(NOW, "NaN")), HourState.FAILED),
        (None, HourState.GAP),
    ],
)
def test_each_state_has_its_name(record, state):
    assert hour(4, record).state is state


def test_rows_that_no_call_deletes_are_told_with_the_command():
    waiting = HourRecord((batch(5),), deletion=Deletion(NOW))
    manifests = [DayManifest("t", "20261123", str(START), {"04": waiting, "06": waiting, "05": HourRecord()}), None]
    assert undeleted_of("t", manifests, NOW + timedelta(hours=2)) is None
    told = undeleted_of("t", manifests, NOW + timedelta(hours=3))
    assert told.hours == ("20261123T04", "20261123T06")
    assert told.delete == "recosync hourly --table-name t --date 20261123 --hour 4 --delete-from-source"


def test_late_rows_are_counted_and_what_was_deleted_and_kept():
    told = hour(4, HourRecord((batch(5), batch(2, 2)), deletion=Deletion(NOW, 2, 6, Content(1, "1", "1"))))
    assert (told.rows, told.late_rows, told.batches, told.deleted_rows, told.kept_rows) == (7, 2, 2, 6, 1)
    assert told.verified_at == NOW + timedelta(minutes=2)


def test_a_failure_says_why():
    assert hour(4, HourRecord(failure=Failure(NOW, "NaN"))).failure == "NaN"


def test_only_an_hour_that_is_owned_and_ended_long_enough_ago_is_a_gap():
    states = [hour(number, None).state for number in (1, 2, 7, 8, 9, 23)]
    assert states == ["not owned", "gap", "gap", "due", "to come", "to come"]
    assert hour(8, None, NOW + timedelta(hours=1)).state is HourState.GAP


def test_an_hour_is_due_until_the_call_of_its_log_had_its_turn():
    def state(minute, after):
        now = Hour.of_day(DAY, 8).end + timedelta(minutes=after)
        return day_status(DAY, None, Owned(START, minute), now).hours[8].state

    assert [state(5, after) for after in (59, 60)] == ["due", "gap"]
    assert [state(59, after) for after in (60, 113, 114)] == ["due", "due", "gap"]


def test_without_a_manifest_every_ended_hour_is_a_gap():
    day = day_status(DAY - timedelta(days=1), None, Owned(Hour.of_day(DAY - timedelta(days=1), 20)), NOW)
    assert day.count(HourState.GAP) == 4
    assert day.count(HourState.NOT_OWNED) == 20


def test_the_hours_of_a_damaged_manifest_are_damaged_not_gaps():
    day = day_status(DAY, DamagedError("was cut off", where="gs://b/m.json"), Owned(START), NOW)
    assert day.damaged == "gs://b/m.json: was cut off"
    assert [h.state for h in day.hours[:3]] == ["not owned", "not owned", "damaged"]
    assert (day.count(HourState.DAMAGED), day.count(HourState.TO_COME)) == (7, 15)


def test_hours_that_failed_for_one_reason_are_one_cause_with_the_command_that_asks_again():
    def manifest(day, *numbers):
        said = "past_offer_context, the row with id {}: NaN is no NUMERIC. Correct it"
        records = {f"{n:02d}": HourRecord(failure=Failure(NOW, said.format(n * 7))) for n in numbers}
        return DayManifest("past_offer_context", day, str(START), {**records, "20": HourRecord()})

    days = [manifest("20261123", 4, 5), None, DamagedError("was cut off", where="m.json"), manifest("20261120", 23)]
    (cause,) = causes_of("past_offer_context", days)
    assert (cause.count, set(cause.subjects)) == (3, {"20261123T04", "20261123T05", "20261120T23"})
    assert cause.repeat == "recosync backfill past_offer_context --from 20261120T23 --until 20261123T06"
    assert causes_of("past_offer_context", [manifest("20261123")]) == ()
