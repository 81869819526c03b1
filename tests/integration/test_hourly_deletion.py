"""What leaves PostgreSQL after its export: exactly the rows that were verified in BigQuery, and only when asked."""

import psycopg

from shared.hourly import export, purge
from shared.names import Hour
from tests.kit.logs import at, named


def told(answer, hour):
    (entry,) = [entry for entry in answer["hours"] if entry["hour"].endswith(f"T{hour}")]
    return {name: entry[name] for name in ("state", "rows", "deleted", "kept")}


def test_an_hour_goes_and_the_hours_around_it_stay(log):
    before, gone, after = log.add(9, 2), log.add(10, 3), log.add(11, 2)
    assert told(log.call(11, delete_from_source=True), 10) == {"state": "deleted", "rows": 3, "deleted": 3, "kept": 0}
    assert log.source() == before + after
    assert log.bigquery() == {10: gone}
    assert log.entry(10)["deletion"] | {"asked_at": ""} == {
        "asked_at": "",
        "batches": 1,
        "rows": 3,
        "kept": {"rows": 0, "key_sum": "0", "key_xor": "0"},
    }


def test_gaps_go_too_and_hours_that_were_done_before_stay(log):
    kept = log.add(10)
    log.done(11)
    log.add(11)
    assert log.done(13, delete_from_source=True) == {11: "exported", 12: "empty", 10: "done already"}
    assert (log.source(), log.state(10)) == (kept, "done")


def test_a_done_hour_may_be_deleted_later_and_a_repeated_call_deletes_nothing_more(log):
    log.add(10, 2)
    log.done(11)
    answer = log.call(12, **named(10), delete_from_source=True)
    assert told(answer, 10) == {"state": "deleted", "rows": 2, "deleted": 2, "kept": 0}
    assert log.source() == []
    # Somebody brings a row back: it is exported already, and it is another version of it.
    log.add(10, id=1)
    answer = log.call(12, **named(10), delete_from_source=True)
    assert told(answer, 10) == {"state": "deleted", "rows": 2, "deleted": 2, "kept": 0}
    assert (log.source(), log.bigquery()) == ([1], {10: [1, 2]})


def test_rows_that_were_changed_after_their_export_stay_and_are_not_exported_again(log):
    log.add(10, 6, offer_order=1)
    log.done(11)
    for key, change in enumerate(
        ["offer_order = 7", "context = NULL", "user_id = user_id", "date = date + interval '1 second'"], 2
    ):
        log.database.execute(f"UPDATE past_offer_context SET {change} WHERE id = {key}".encode())
    answer = log.call(12, **named(10), delete_from_source=True)
    assert told(answer, 10) == {"state": "deleted", "rows": 6, "deleted": 2, "kept": 4}
    assert log.errors == ["4 rows changed after the export: kept, and BigQuery holds what was exported"]
    assert log.done(12, delete_from_source=True)[10] == "done already"
    assert (log.source(), log.bigquery(), len(log.errors)) == ([2, 3, 4, 5], {10: [1, 2, 3, 4, 5, 6]}, 1)
    assert {row["offer_order"] for row in log.rows()} == {1}


def test_what_was_kept_is_no_difference_to_the_audit(log):
    log.change(start=Hour(at(22)))
    log.add(22, 2)
    log.done(23)
    log.database.execute("UPDATE past_offer_context SET offer_order = 1 WHERE id = 2")
    log.call(23, **named(22), delete_from_source=True)
    log.errors.clear()
    assert (log.call(25)["audit"], log.errors, log.source()) == ([], [], [2])


def test_a_late_row_survives_and_leaves_with_its_own_batch(log):
    with psycopg.connect(log.here.dsn) as api:
        late = log.add(10, connection=api)
        log.add(10, 2)
        log.done(11, delete_from_source=True)
    assert log.source() == late
    log.done(12)
    assert (log.source(), log.bigquery()) == (late, {10: [1, 2, 3]})
    answer = log.call(12, delete_from_source=True)
    assert (log.source(), log.state(10)) == ([], "deleted")
    assert told(answer, 10) == {"state": "deleted", "rows": 3, "deleted": 3, "kept": 0}


def test_many_rows_go_in_many_transactions_and_none_beside_them(log, monkeypatch):
    monkeypatch.setattr(export, "TWO_FROM", 2)
    monkeypatch.setattr(purge, "DELETE_ROWS", 2)
    for minute in (10, 50):
        log.add(10, 5, date=f"2026-03-10 10:{minute}:00")
    stays = log.add(9) + log.add(11)
    log.done(11, delete_from_source=True)
    assert log.source() == stays


def test_without_the_right_to_delete_rows_stay_until_it_is_granted(log):
    keys = log.add(10)
    log.database.execute("REVOKE DELETE ON past_offer_context FROM recosync")
    answer, status = log.ask(11, delete_from_source=True)
    assert (status, [failure["retryable"] for failure in answer["failed"]]) == (500, [True])
    assert "and DELETE, to delete what left" in answer["failed"][0]["error"]
    assert (log.state(10), log.source(), log.bigquery()) == ("deleting", keys, {10: keys})
    log.database.execute("GRANT DELETE ON past_offer_context TO recosync")
    log.done(12, delete_from_source=True)
    assert (log.state(10), log.source()) == ("deleted", [])


def test_an_hour_whose_keys_are_gone_fails_for_good_and_holds_up_no_other(log):
    keys = log.add(10)
    log.done(11)
    for name in log.parts(10, "keys"):
        log.blob(name).delete()
    failed = log.failures(12, **named(10), delete_from_source=True)
    assert "is gone" in failed[10]
    assert (log.state(10), log.source()) == ("failed", keys)
    log.add(11)
    assert log.call(12, delete_from_source=True)["hours"][0]["hour"] == "20260310T11"
    assert (log.source(), log.bigquery()) == (keys, {10: keys, 11: [2]})
