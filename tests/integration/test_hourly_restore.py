"""Hours are loaded into BigQuery again from their objects, exactly once, whatever was lost."""

import pytest

from shared.errors import RetryableError
from shared.gcp.bigquery import BigQuery
from shared.hourly.store import Store
from tests.kit.commands import recosync
from tests.kit.logs import named

NAME = "raw_local.past_offer_context"


def restore(log, *options, code=0, hour=10):
    ran = recosync("restore", log.name, "--date", "20260310", "--hour", hour, "--json", *options)
    assert ran.code == code, ran.err
    return ran.json


def status(answer):
    return [(hour["hour"][-2:], hour["status"], hour["rows"], hour["before"]) for hour in answer["hours"]]


@pytest.fixture(autouse=True)
def start(monkeypatch):
    monkeypatch.setenv("HOURLY_START", "20260310T10")


@pytest.fixture
def deleted(log):
    """Hour 10 in two batches, verified, and gone from PostgreSQL: the objects are the only copy but BigQuery's."""
    first = log.add(10, 30)
    log.done(11)
    log.keys = first + log.add(10, 5)
    log.done(12, delete_from_source=True)
    log.call(12, **named(10), delete_from_source=True)
    assert (log.state(10), log.source()) == ("deleted", [])
    log.before = log.rows()
    return log


def test_rows_that_were_deleted_in_bigquery_come_back_from_the_objects(deleted):
    deleted.erase_in_bigquery(10)
    assert status(restore(deleted)) == [("10", "restored", 35, 0)]
    assert (deleted.rows(), deleted.state(10)) == (deleted.before, "deleted")
    assert status(restore(deleted)) == [("10", "stands already", 35, 35)]
    assert deleted.rows() == deleted.before


def test_an_hour_that_is_there_in_part_is_replaced_only_where_that_was_asked_for(deleted):
    (some, *_) = deleted.keys
    deleted.here.bigquery_client.query(f"DELETE FROM {NAME} WHERE id = {some}").result()
    everything = deleted.everything()
    (failed,) = restore(deleted, code=1)["failed"]
    assert "BigQuery holds 34 rows of it, 35 were exported" in failed["error"]
    assert "recosync restore past_offer_context --date 20260310 --hour 10 --replace" in failed["error"]
    assert deleted.everything() == everything
    assert status(restore(deleted, "--replace")) == [("10", "restored", 35, 34)]
    assert deleted.rows() == deleted.before


def test_rows_that_only_bigquery_has_are_not_replaced(deleted):
    deleted.load_by_hand(10, 4711)
    everything = deleted.everything()
    (failed,) = restore(deleted, "--replace", code=1)["failed"]
    assert "1 row of BigQuery's nobody else has" in failed["error"]
    assert "recosync accept past_offer_context --date 20260310 --hour 10" in failed["error"]
    assert deleted.everything() == everything


def test_an_hour_that_was_loaded_twice_is_replaced(deleted):
    for key in deleted.keys:
        deleted.load_by_hand(10, key)
    assert status(restore(deleted, "--replace")) == [("10", "restored", 35, 70)]
    assert deleted.rows() == deleted.before


CUTS = [
    *(("record", Store, "advance", times) for times in range(5)),
    ("deletion", BigQuery, "query", 0),
    ("load", BigQuery, "load", 0),
    *(("wait", BigQuery, "wait", times) for times in range(2)),
]


@pytest.mark.matrix
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: f"{cut[0]} {cut[3]}")
def test_a_restore_that_was_killed_is_repeated_and_loads_each_row_once(deleted, monkeypatch, cut, after):
    (some, *_) = deleted.keys
    deleted.here.bigquery_client.query(f"DELETE FROM {NAME} WHERE id = {some}").result()
    _, where, name, times = cut
    step, calls = getattr(where, name), iter(range(100))

    def killed(*given):
        if next(calls) != times:
            return step(*given)
        if after:
            step(*given)
        raise RetryableError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(where, name, killed)
        restore(deleted, "--replace", code=3)
    restore(deleted, "--replace")
    assert (deleted.rows(), deleted.state(10)) == (deleted.before, "deleted")


def test_what_a_killed_restore_began_the_hourly_function_ends(deleted, monkeypatch):
    deleted.erase_in_bigquery(10)
    with monkeypatch.context() as patch:
        patch.setattr(BigQuery, "load", lambda *_: (_ for _ in ()).throw(RetryableError("killed")))
        restore(deleted, code=3)
    assert deleted.state(10) == "exported"
    deleted.call(13, delete_from_source=True)
    assert (deleted.rows(), deleted.state(10)) == (deleted.before, "deleted")


def test_a_worker_that_froze_before_its_deletion_deletes_nothing_of_what_its_successor_loaded(deleted, monkeypatch):
    (some, *_) = deleted.keys
    deleted.here.bigquery_client.query(f"DELETE FROM {NAME} WHERE id = {some}").result()
    late = []
    query = BigQuery.query

    def frozen(*given):
        late.append(given)
        raise RetryableError("frozen")

    with monkeypatch.context() as patch:
        patch.setattr(BigQuery, "query", frozen)
        restore(deleted, "--replace", code=3)
    restore(deleted, "--replace")
    (given,) = late
    assert query(*given) is False
    assert deleted.rows() == deleted.before


@pytest.fixture
def forgotten(deleted, monkeypatch):
    """BigQuery forgets its jobs after half a year; and the manifest is lost."""
    monkeypatch.setattr(BigQuery, "job", forgetting(deleted))
    deleted.manifest().delete()
    return deleted


def forgetting(log):
    job, attempts = BigQuery.job, {name.split("-")[2] for name in log.parts(10)}
    return lambda *given: None if any(attempt in str(given[1]) for attempt in attempts) else job(*given)


def test_an_hour_of_which_only_the_objects_are_left_is_told_and_comes_back(forgotten):
    forgotten.erase_in_bigquery(10)
    assert "recosync restore past_offer_context --date 20260310 --hour 10" in forgotten.failures(13)[10]
    assert status(restore(forgotten)) == [("10", "restored", 35, 0)]
    assert (forgotten.rows(), forgotten.state(10)) == (forgotten.before, "deleted")


def test_a_manifest_is_written_again_from_the_objects_alone(forgotten):
    assert "recosync restore past_offer_context --date 20260310 --hour 10" in forgotten.failures(13)[10]
    assert status(restore(forgotten)) == [("10", "stands already", 35, 35)]
    assert (forgotten.rows(), forgotten.state(10)) == (forgotten.before, "deleted")
    forgotten.call(14)
    assert forgotten.state(10) == "deleted"


def test_a_dead_attempt_is_no_part_of_the_hour(forgotten):
    for kind in ("part", "keys"):
        (first, *_) = forgotten.parts(10, kind)
        whole = forgotten.blob(f"date=20260310/hour=10/{kind}-1-0badcafe-0.parquet")
        whole.upload_from_string(forgotten.blob(first).download_as_bytes())
    forgotten.erase_in_bigquery(10)
    assert status(restore(forgotten)) == [("10", "restored", 35, 0)]
    assert forgotten.rows() == forgotten.before


def lose(log, kind, number=0):
    name = log.parts(10, kind)[number]
    blob = log.blob(name)
    content = blob.download_as_bytes()
    blob.delete()
    return name, content


def test_lost_keys_are_read_from_their_part(deleted):
    lose(deleted, "keys")
    deleted.erase_in_bigquery(10)
    assert status(restore(deleted)) == [("10", "restored", 35, 0)]
    assert (deleted.rows(), deleted.state(10)) == (deleted.before, "deleted")


def test_a_lost_part_is_named_and_the_hour_comes_back_with_it(deleted):
    name, content = lose(deleted, "part")
    deleted.erase_in_bigquery(10)
    everything = deleted.everything()
    (failed,) = restore(deleted, code=1)["failed"]
    assert f"{name}: is gone, and PostgreSQL has 0 of the hour's 35 rows" in failed["error"]
    assert deleted.everything() == everything
    deleted.blob(name).upload_from_string(content)
    assert status(restore(deleted)) == [("10", "restored", 35, 0)]
    assert deleted.rows() == deleted.before


def test_an_hour_whose_part_is_lost_is_exported_anew_where_postgresql_has_it(log):
    log.add(10, 30)
    log.done(11)
    before = log.rows()
    lose(log, "part")
    log.erase_in_bigquery(10)
    assert status(restore(log)) == [("10", "exported anew", 30, 0)]
    assert (log.rows(), log.state(10), len(log.parts(10))) == (before, "done", 1)


def test_rows_that_come_late_to_a_restored_hour_are_exported_once(log):
    log.add(10, 30)
    log.done(11)
    log.erase_in_bigquery(10)
    restore(log)
    late = log.add(10, 2)
    assert log.done(12)[10] == "late rows exported"
    assert log.bigquery()[10] == log.source()
    assert set(late) < set(log.source())


def test_a_deletion_that_was_asked_for_goes_on_after_the_hour_is_restored(log):
    log.add(10, 30)
    log.done(11)
    log.erase_in_bigquery(10)
    (failure,) = log.failures(12, **named(10), delete_from_source=True).values()
    assert "recosync restore past_offer_context --date 20260310 --hour 10" in failure
    assert status(restore(log)) == [("10", "restored", 30, 0)]
    assert (log.state(10), log.source(), len(log.bigquery()[10])) == ("deleted", [], 30)


def test_a_whole_day_comes_back_though_its_table_was_dropped(log):
    for hour in (10, 11, 13):
        log.add(hour, 3)
    log.done(14)
    before = log.rows()
    log.here.bigquery_client.delete_table(NAME)
    ran = recosync("restore", log.name, "--date", "20260310", "--json")
    assert ran.code == 0, ran.err
    told = {hour["hour"][-2:]: hour["status"] for hour in ran.json["hours"]}
    assert {hour: told[hour] for hour in ("10", "12")} == {"10": "restored", "12": "nothing to restore"}
    assert log.rows() == before


def test_an_hour_whose_export_was_killed_is_seen_through(log, monkeypatch):
    keys = log.add(10, 3)
    with monkeypatch.context() as patch:
        patch.setattr("shared.hourly.export._check", lambda *_: (_ for _ in ()).throw(RetryableError("killed")))
        log.ask(11)
    assert log.state(10) == "exporting"
    assert status(restore(log)) == [("10", "exported anew", 3, 0)]
    assert (log.bigquery(), log.state(10)) == ({10: keys}, "done")


@pytest.mark.matrix
@pytest.mark.parametrize("times", range(5))
def test_an_hour_that_is_exported_anew_may_be_killed_as_well(log, monkeypatch, times):
    keys = log.add(10, 30)
    log.done(11)
    lose(log, "part")
    log.here.bigquery_client.query(f"DELETE FROM {NAME} WHERE id = {keys[0]}").result()
    advance, calls = Store.advance, iter(range(100))

    def killed(*given):
        if next(calls) == times:
            raise RetryableError("killed")
        return advance(*given)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "advance", killed)
        restore(log, "--replace", code=3)
    restore(log, "--replace")
    assert (log.bigquery(), log.state(10), len(log.parts(10))) == ({10: keys}, "done", 1)


def test_rows_that_came_back_to_postgresql_after_their_deletion_are_deleted_again(log):
    log.add(10, 30)
    log.done(11)
    log.database.execute("CREATE TEMP TABLE kept AS SELECT * FROM past_offer_context")
    log.call(12, **named(10), delete_from_source=True)
    log.database.execute("INSERT INTO past_offer_context SELECT * FROM kept")
    assert status(restore(log)) == [("10", "stands already", 30, 30)]
    # Their versions are others than those that were exported: nobody knows what became of the rows.
    assert (log.state(10), len(log.source())) == ("deleted", 30)
    assert log.entry(10)["deletion"]["kept"]["rows"] == 30
