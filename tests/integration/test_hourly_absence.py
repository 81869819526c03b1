"""What is not there proves nothing: an hour is empty, deleted or done only when all who may have its rows say so."""

import pytest
from google.cloud.bigquery import Table

from shared.errors import RetryableError, TargetError
from shared.gcp.bigquery import BigQuery
from shared.hourly import export, hours
from shared.hourly.manifest import DayManifest, HourRecord
from shared.hourly.objects import BatchObjects
from shared.names import Hour
from shared.operate import verify
from tests.kit.logs import at, named

NAME = "raw_local.past_offer_context"
NOWHERE_ELSE = "in objects that no batch accounts for, and nowhere else"


def make_anew(log):
    """The raw table as Terraform would make it after somebody dropped it."""
    made = log.here.bigquery_client.get_table(NAME)
    log.here.bigquery_client.delete_table(NAME)
    table = Table(f"{log.here.project}.{NAME}", made.schema)
    table.time_partitioning, table.clustering_fields = made.time_partitioning, made.clustering_fields
    log.here.bigquery_client.create_table(table)


def execute(log, statement):
    log.here.bigquery_client.query(statement).result()


LOSSES = {
    "truncated": lambda log: log.erase_in_bigquery(10),
    "made anew": make_anew,
    "restored to before some": lambda log: execute(log, f"DELETE FROM {NAME} WHERE id = 2"),
    "changed": lambda log: execute(log, f"UPDATE {NAME} SET id = 77 WHERE id = 2"),
    "given a row more": lambda log: log.load_by_hand(10, 77),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_what_bigquery_has_lost_since_is_not_deleted_from_the_source(log, loss):
    keys = log.add(10, 3)
    log.done(11)
    loss(log)
    (failure,) = log.failures(12, **named(10), delete_from_source=True).values()
    assert "3 were verified: nothing more is deleted" in failure
    assert (log.source(), log.state(10), log.entry(10)["failure"]["error"]) == (keys, "failed", failure)
    # To ask without the deletion mends nothing of that.
    assert log.failures(12, **named(10))[10] == failure
    assert log.entry(10)["failure"]["error"] == failure
    log.erase_in_bigquery(10)
    for key in keys:
        log.load_by_hand(10, key)
    log.call(12, **named(10), delete_from_source=True)
    assert (log.source(), log.state(10)) == ([], "deleted")


def test_a_deletion_that_was_cut_short_looks_again_before_it_goes_on(log, monkeypatch):
    keys = log.add(10)
    with monkeypatch.context() as cut:
        cut_short(cut, "purge")
        assert log.ask(11, delete_from_source=True)[1] == 500
    log.erase_in_bigquery(10)
    (failure,) = log.failures(11, delete_from_source=True).values()
    assert "BigQuery holds 0 rows of it" in failure
    assert log.source() == keys


@pytest.fixture
def vanished(log, monkeypatch):
    """Hour 10, of which only the objects are left: BigQuery forgets its jobs after half a year."""
    log.keys = log.add(10, 2_000)
    log.done(11)
    log.database.execute("DELETE FROM past_offer_context")
    log.erase_in_bigquery(10)
    log.manifest().delete()
    log.left = log.objects("date=")
    job, attempt = BigQuery.job, log.parts(10)[0].split("-")[2]
    monkeypatch.setattr(BigQuery, "job", lambda *given: None if attempt in str(given[1]) else job(*given))
    return log


def test_an_hour_that_an_older_manifest_knows_nothing_of_is_not_empty(vanished):
    """As one that was restored from before the hour."""
    older = DayManifest.new(vanished.name, at(10).date(), Hour(at(10)))
    vanished.manifest().upload_from_string(older.to_json())
    assert "that no batch accounts for: the first is" in vanished.failures(12)[10]
    assert (vanished.state(10), vanished.objects("date=")) == ("failed", vanished.left)


def test_verify_tells_of_parts_that_no_batch_accounts_for(vanished):
    empty = DayManifest.new(vanished.name, at(10).date(), Hour(at(10))).with_record(Hour(at(10)), HourRecord())
    vanished.manifest().upload_from_string(empty.to_json())
    (day,) = verify.days(vanished.services, vanished.table, at(10).date(), at(10).date(), lambda: None)
    assert [told for told in day.differences if "that no batch accounts for" in told and told.startswith("20260310T10")]


def cut_short(monkeypatch, step):
    """A call that is killed before that step."""

    def killed(*_):
        raise RetryableError("killed")

    monkeypatch.setattr(hours, step, killed)


def test_rows_that_left_the_source_while_their_export_was_under_way_are_not_forgotten(log, monkeypatch):
    log.add(10, 3)
    with monkeypatch.context() as patch:
        patch.setattr("shared.hourly.export._check", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr(BatchObjects, "remove", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            log.ask(11)
    assert log.state(10) == "exporting"
    log.database.execute("DELETE FROM past_offer_context")
    assert f"3 rows {NOWHERE_ELSE}" in log.failures(11)[10]
    assert len(log.parts(10)) == 1


def test_rows_that_left_the_source_before_anything_was_written_are_told(log, monkeypatch):
    log.add(10, 3)
    with monkeypatch.context() as patch:
        patch.setattr("shared.hourly.export._write", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            log.ask(11)
    log.database.execute("DELETE FROM past_offer_context")
    assert log.done(11)[10] == "empty"
    assert log.errors == ["rows with which an export of the hour began have left the source"]


def test_objects_that_are_gone_are_written_again_only_if_the_source_has_their_rows(log, monkeypatch):
    log.add(10, 3)
    with monkeypatch.context() as patch:
        cut_short(patch, "load")
        assert log.ask(11)[1] == 500
    assert log.state(10) == "exported"
    for name in log.objects("date="):
        log.blob(name).delete()
    log.database.execute("DELETE FROM past_offer_context WHERE id = 2")
    assert "PostgreSQL has 2 of their 3 rows" in log.failures(11)[10]
    log.add(10, id=2)
    assert log.done(11, **named(10)) == {10: "exported"}
    assert log.bigquery() == {10: [1, 2, 3]}


def test_what_a_dead_attempt_left_is_no_loss_while_the_source_has_it(log):
    keys = log.add(10, 3)
    log.done(11)
    bucket = log.here.storage_client.bucket(log.here.hourly_bucket)
    for name in (*log.parts(10), *log.parts(10, "keys")):
        kind, index = name.split("/")[-1].split("-")[0], name.split("-")[-1]
        bucket.copy_blob(log.blob(name), bucket, f"{log.folder}date=20260310/hour=10/{kind}-2-deadbeef-{index}")
    log.manifest().delete()
    log.database.execute("DELETE FROM past_offer_context WHERE id = 1")
    assert log.done(12)[10] == "done already"
    assert (log.bigquery(), len(log.parts(10))) == ({10: keys}, 1)


def killed_in(monkeypatch, step, ask):
    """A call that is killed in that step of an export, and removes nothing."""

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(export, step, killed)
        patch.setattr(BatchObjects, "remove", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            ask()


def test_what_only_a_dead_attempt_has_is_not_removed_when_its_successor_is_done(log, monkeypatch):
    log.add(10, 3)
    killed_in(monkeypatch, "_check", lambda: log.ask(11))
    log.database.execute("DELETE FROM past_offer_context WHERE id = 2")
    assert f"1 row {NOWHERE_ELSE}" in log.failures(11)[10]
    assert len(log.parts(10)) == 2
    log.add(10, id=2)
    assert log.done(11, **named(10))[10] == "exported"
    assert (log.bigquery(), log.source()) == ({10: [1, 2, 3]}, [1, 2, 3])


def test_a_late_batch_whose_objects_are_gone_is_missed_though_the_hour_has_other_rows(log, monkeypatch):
    log.add(10, 3)
    log.done(11)
    batch = log.objects("date=")
    log.add(10, 2)
    with monkeypatch.context() as patch:
        cut_short(patch, "load")
        assert log.ask(12)[1] == 500
    for name in log.objects("date=") - batch:
        log.blob(name).delete()
    log.database.execute("DELETE FROM past_offer_context WHERE id > 3")
    assert "PostgreSQL has 0 of their 2 rows" in log.failures(12)[10]
    assert log.state(10) == "failed"


def stray(log, hour, of):
    """A part that no batch accounts for in an hour's folder: the rows of another hour."""
    bucket = log.here.storage_client.bucket(log.here.hourly_bucket)
    name = log.parts(of)[0]
    bucket.copy_blob(log.blob(name), bucket, f"{log.folder}date=20260310/hour={hour}/part-1-deadbeef-0.parquet")


def test_an_hour_is_not_done_by_a_row_more_while_others_lie_in_the_bucket_alone(vanished):
    vanished.failures(12)
    (key,) = vanished.add(10)
    assert f"2,000 rows {NOWHERE_ELSE}" in vanished.failures(12, **named(10), delete_from_source=True)[10]
    assert (vanished.state(10), vanished.source(), vanished.objects("date=")) == ("failed", [key], vanished.left)


def test_an_hour_that_was_empty_does_not_get_late_rows_over_what_lies_there(log):
    log.add(11, 5)
    log.done(12)
    stray(log, 10, of=11)
    log.database.execute("DELETE FROM past_offer_context")
    log.add(10)
    assert f"5 rows {NOWHERE_ELSE}" in log.failures(13, **named(10))[10]


def test_a_log_whose_rows_are_in_child_tables_too_is_refused(log):
    """Rows of one key would be one."""
    log.database.execute("CREATE TABLE theirs () INHERITS (past_offer_context)")
    with pytest.raises(TargetError, match="has child tables, for whose rows its key does not hold"):
        log.ask(11)
    log.database.execute("DROP TABLE theirs")
