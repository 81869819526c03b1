"""Rows that are committed after their hour was exported: found by later calls, once."""

from time import monotonic
from types import SimpleNamespace

import psycopg
import pytest

from shared.hourly import export, run
from shared.rows.log_table import LogTable
from tests.kit.logs import named


@pytest.mark.parametrize("delete", [False, True], ids=["kept", "deleted"])
def test_a_transaction_that_outlasts_the_export_of_its_hour_is_found_by_a_later_call(log, delete):
    with psycopg.connect(log.here.dsn) as api:
        (late,) = log.add(10, connection=api)
        (early,) = log.add(10)
        assert log.done(11, delete_from_source=delete) == {10: "exported"}
        assert log.bigquery() == {10: [early]}
    assert log.source() == ([late] if delete else [late, early])
    assert log.done(12, delete_from_source=delete) == {11: "empty", 10: "late rows exported"}
    assert log.done(13, delete_from_source=delete)[10] == "done already"
    assert log.bigquery() == {10: [late, early]}
    assert log.source() == ([] if delete else [late, early])
    assert log.state(10) == ("deleted" if delete else "done")
    assert log.parquet(10)["id"].to_pylist() == [early, late]
    assert log.errors == []


def test_each_batch_has_parts_and_a_receipt_of_its_own(log):
    log.add(10, 2)
    log.done(11)
    log.add(10, 3)
    answer = log.call(12)
    (hour,) = [hour for hour in answer["hours"] if hour["hour"].endswith("T10")]
    assert (hour["rows"], hour["new_rows"]) == (5, 3)
    first, second = log.entry(10)["batches"]
    counted = {"rows": 3, "key_sum": "12", "key_xor": str(3 ^ 4 ^ 5)}
    assert second["receipt"] == {"postgresql": counted, "parquet": counted, "bigquery": counted}
    names = {
        part[kind]["name"]
        for batch in (first, second)
        for part in batch["export"]["parts"]
        for kind in part
        if kind != "rows"
    }
    assert names == {log.folder + name for name in log.objects("date=")}


def test_after_an_outage_late_rows_are_looked_for_where_nobody_has_looked_since(log):
    log.change(late_hours=1)
    assert log.done(11) == {10: "empty"}
    keys = log.add(10, 2)
    assert log.done(15)[10] == "exported"
    assert log.bigquery() == {10: keys}


def test_beyond_the_window_and_without_recovery_nobody_looks_unless_the_hour_is_asked_for(log):
    log.change(late_hours=1)
    log.done(12)
    late = log.add(10)
    assert 10 not in log.done(13)
    assert 10 not in log.done(12, recover_missed=False)
    assert log.bigquery() == {}
    assert log.done(13, **named(10), recover_missed=False) == {10: "exported"}
    assert log.bigquery() == {10: late}


def test_very_many_late_rows_travel_in_several_batches(log, monkeypatch):
    monkeypatch.setattr(export, "LATE_LIMIT", 2)
    log.add(10)
    log.done(11)
    log.add(10, 3)
    assert log.done(12)[10] == "late rows exported"
    assert log.bigquery() == {10: [1, 2, 3, 4]}
    assert [batch["export"]["content"]["rows"] for batch in log.entry(10)["batches"]] == [1, 2, 1]


def test_keys_of_any_sign_and_size_are_told_apart_in_any_number_of_parts_and_passes(log, monkeypatch):
    monkeypatch.setattr(export, "TWO_FROM", 2)
    monkeypatch.setattr(export, "KEYS_AT_ONCE", 2)
    early, late = [-(2**63), -7, 0, 2**63 - 1], [-(2**63) + 1, -8, 5, 2**63 - 2]
    times = ["2026-03-10 10:00:00", "2026-03-10 10:29:59.999999", "2026-03-10 10:30:00", "2026-03-10 10:59:59.999999"]
    for keys, now in ((early, 11), (late, 12)):
        for key, time in zip(keys, times, strict=True):
            log.add(10, id=key, date=time)
        log.done(now)
    assert log.bigquery() == {10: sorted(early + late)}
    assert len(log.parts(10)) == len(log.parts(10, "keys")) == 4
    assert log.done(13)[10] == "done already"


def test_a_half_without_rows_is_no_part(log, monkeypatch):
    monkeypatch.setattr(export, "TWO_FROM", 2)
    keys = log.add(10, 3, date="2026-03-10 10:45:00")
    log.done(11)
    assert (len(log.parts(10)), log.bigquery()) == (1, {10: keys})


def test_an_hour_whose_keys_are_gone_is_taken_up_once_they_are_restored(log):
    log.add(10)
    log.done(11)
    (name,) = log.parts(10, "keys")
    content = log.blob(name).download_as_bytes()
    log.blob(name).delete()
    log.add(10)
    assert "is gone. Restore it" in log.failures(12)[10]
    log.blob(name).upload_from_string(content)
    assert log.done(12, **named(10)) == {10: "late rows exported"}
    assert log.bigquery() == {10: [1, 2]}


def test_after_an_outage_the_hours_before_it_are_looked_at(log):
    log.change(late_hours=2)
    log.done(11)
    (key,) = log.add(10)
    assert log.done(24)[10] == "exported"
    assert log.bigquery() == {10: [key]}


def test_after_an_outage_the_first_call_looks_where_nobody_has_since(log):
    """Hour 10 was exported at five past; a transaction of its last minute committed when nobody called any more."""
    log.change(max_hours=2, late_hours=2)
    first = log.add(10)
    log.done(11)
    late = log.add(10)
    answer = log.call(20)
    assert (answer["remaining"], answer["hours"][0]["status"]) == (7, "late rows exported")
    assert log.bigquery() == {10: first + late}


def test_looks_at_late_hours_leave_no_time_for_hours_that_would_be_cut_off(log, monkeypatch):
    log.change(late_hours=2, function_timeout=100)
    log.done(12)
    clock = [monotonic()]
    count = LogTable.content

    def slow(source, rows):
        clock[0] += 70
        return count(source, rows)

    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(LogTable, "content", slow)
    answer, status = log.ask(15)
    assert (status, answer["remaining"], log.state(12)) == (200, 3, None)


def test_after_each_outage_the_hours_before_it_are_looked_at(log):
    """Hour 13 was exported by hand in the middle of one."""
    log.change(late_hours=1, max_hours=1)
    log.done(11)
    first = log.add(13)
    log.done(14, recover_missed=False)
    late = log.add(13)
    log.call(20)
    assert log.bigquery() == {13: first + late}
