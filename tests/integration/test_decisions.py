"""What is held, what an operator decides about it, and the way back to an older snapshot."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from shared.daily import hold, refresh
from shared.db.locks import Lock
from shared.db.postgres import connect
from shared.errors import BadRequestError, BusyError, DataError, TargetError
from shared.ledger import snapshots
from shared.names import ADOPTED, SnapshotId
from shared.operate import decisions
from shared.target import tables
from tests.kit.background import Background, wait_for
from tests.kit.sessions import held, one, users
from tests.kit.snapshots import TABLE, bookings, day, publish, upload
from tests.kit.uploads import Upload, arrive

MANY = [f"u{n}" for n in range(3_000)]
FEW = ["ana", "bob"]


@pytest.fixture
def full(services):
    publish(services, 1, MANY)


def waiting(database) -> int:
    """How many sessions wait for an advisory lock."""
    query = "SELECT count(*) FROM pg_locks JOIN pg_database ON database = pg_database.oid"
    return one(database, f"{query} WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()")


def numbers(database) -> list[int]:
    """The publications, the first one first."""
    return [number for (number,) in database.execute("SELECT publication FROM recosync.publication ORDER BY 1")]


def arrives(services, number, *parts):
    return arrive(services, upload(services, number, *parts).manifest())


@pytest.mark.usefixtures("full")
def test_a_snapshot_that_lost_most_rows_is_held_and_readers_keep_the_old(services, database, caplog):
    assert arrives(services, 2, FEW) == ["held"]
    assert len(users(database)) == 3_000
    (reasons,) = database.execute("SELECT reasons FROM recosync.hold").fetchone()
    assert reasons == ["2 rows, 99.9% fewer than the 3,000 published; the limit is 30.0%"]
    assert f"recosync approve {TABLE} {day(2)}" in caplog.text


@pytest.mark.usefixtures("full")
def test_a_hold_is_alerted_once_however_often_events_come(services, caplog):
    manifest = upload(services, 2, FEW).manifest()
    assert arrive(services, manifest, manifest) == ["held", "held"]
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1


@pytest.mark.usefixtures("full")
def test_an_approved_snapshot_is_published_and_no_event_changes_that(services, database):
    manifest = upload(services, 2, FEW).manifest()
    arrive(services, manifest)
    published = decisions.approve(services, TABLE, None, "ana")
    assert (published.snapshot, published.publication, published.previous) == (day(2), numbers(database)[1], day(1))
    assert users(database) == FEW
    assert arrive(services, manifest) == ["repeated"]
    assert database.execute("SELECT decision, decided_by FROM recosync.hold").fetchall() == [("approved", "ana")]
    assert one(database, "SELECT cause FROM recosync.publication ORDER BY publication DESC LIMIT 1") == "approval"


@pytest.mark.usefixtures("full")
def test_a_rejected_snapshot_is_dropped_for_good(services, database):
    manifest = upload(services, 2, FEW).manifest()
    arrive(services, manifest)
    assert decisions.reject(services, TABLE, day(2), "ana") == day(2)
    assert arrive(services, manifest) == ["rejected"]
    assert (
        one(database, "SELECT count(*) FROM recosync.part WHERE snapshot_id = %s AND dropped_at IS NULL", str(day(2)))
        == 0
    )
    assert (
        one(database, "SELECT count(*) FROM pg_class WHERE relname LIKE 'part!_%%' ESCAPE '!' AND relkind = 'r'") == 1
    )
    assert len(users(database)) == 3_000


@pytest.mark.usefixtures("full")
def test_the_next_snapshot_is_judged_by_itself(services, database):
    arrives(services, 2, FEW)
    assert arrives(services, 3, MANY[:2_500]) == ["published"]
    assert len(users(database)) == 2_500
    with pytest.raises(BadRequestError, match=r"published as .*, which is newer"):
        decisions.approve(services, TABLE, day(2), "ana")


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("decide", [decisions.approve, decisions.reject])
def test_what_is_not_held_needs_no_decision(services, decide):
    with pytest.raises(BadRequestError, match="is not held"):
        decide(services, TABLE, None, "ana")
    with pytest.raises(BadRequestError, match="is no table of the catalog"):
        decide(services, "missing", None, "ana")
    arrives(services, 2, FEW)
    decisions.reject(services, TABLE, None, "ana")
    with pytest.raises(BadRequestError, match="was rejected already"):
        decide(services, TABLE, day(2), "bob")


def test_a_rollback_puts_the_previous_snapshot_back_and_stays(services, database):
    publish(services, 1, ["ana"])
    publish(services, 2, ["bob"])
    back = decisions.rollback(services, TABLE, None, "ana")
    assert (back.snapshot, back.publication, back.previous) == (day(1), numbers(database)[2], day(2))
    assert back.seconds > 0
    assert users(database) == ["ana"]
    assert arrives(services, 3, ["cleo"]) == ["pinned"]
    assert users(database) == ["ana"]


def test_the_event_of_what_was_rolled_back_from_does_not_bring_it_back(services, database):
    publish(services, 1, ["ana"])
    manifest = upload(services, 2, ["bob"]).manifest()
    arrive(services, manifest)
    decisions.rollback(services, TABLE, None, "ana")
    assert decisions.unpin(services, TABLE, "ana")
    assert arrive(services, manifest) == ["repeated"]
    assert users(database) == ["ana"]


def test_after_unpin_the_next_event_publishes(services, database):
    publish(services, 1, ["ana"])
    publish(services, 2, ["bob"])
    decisions.rollback(services, TABLE, None, "ana")
    manifest = upload(services, 3, ["cleo"]).manifest()
    assert arrive(services, manifest) == ["pinned"]
    assert decisions.unpin(services, TABLE, "ana")
    assert not decisions.unpin(services, TABLE, "ana")
    assert arrive(services, manifest) == ["published"]
    assert users(database) == ["cleo"]


def test_a_second_rollback_does_not_go_back_to_what_was_bad(services, database):
    publish(services, 1, ["good"])
    publish(services, 2, ["bad"])
    decisions.rollback(services, TABLE, None, "ana")
    decisions.unpin(services, TABLE, "ana")
    publish(services, 3, ["bad again"])
    assert decisions.rollback(services, TABLE, None, "ana").snapshot == day(1)
    assert users(database) == ["good"]


@pytest.mark.usefixtures("full")
def test_what_an_operator_put_before_readers_is_not_held_any_more(services, database):
    arrives(services, 2, FEW)
    decisions.rollback(services, TABLE, day(2), "ana")
    assert users(database) == FEW
    with pytest.raises(BadRequestError, match="is not held"):
        decisions.reject(services, TABLE, None, "ana")
    assert users(database) == FEW


@pytest.mark.usefixtures("full")
def test_nothing_is_rejected_while_a_publish_is_under_way(here, services, database):
    arrives(services, 2, FEW)
    with held(here.dsn, Lock.publication(TABLE)), pytest.raises(BusyError):
        decisions.reject(services, TABLE, None, "ana")
    assert decisions.reject(services, TABLE, None, "ana") == day(2)


@pytest.mark.usefixtures("full")
def test_an_approval_that_waits_behind_a_newer_publish_is_refused(here, services, database):
    arrives(services, 2, FEW)
    with held(here.dsn, Lock.publication(TABLE)) as release:
        newer = Background(lambda: arrives(services, 3, MANY[:2_900]))
        wait_for(lambda: waiting(database) == 1)
        approval = Background(lambda: decisions.approve(services, TABLE, day(2), "ana"))
        wait_for(lambda: waiting(database) == 2)
        release(Lock.publication(TABLE))
        assert newer.result() == ["published"]
        with pytest.raises(BadRequestError, match="which is newer"):
            approval.result()
    assert len(users(database)) == 2_900
    assert one(database, "SELECT decision FROM recosync.hold") is None


def meanwhile(monkeypatch, act):
    """Have the next judgement of a snapshot frozen, once it is made, while something else is done."""
    judge = hold.reasons

    def frozen(*facts):
        monkeypatch.setattr(hold, "reasons", judge)
        found = judge(*facts)
        act()
        return found

    monkeypatch.setattr(hold, "reasons", frozen)


@pytest.mark.usefixtures("full")
def test_what_readers_see_since_it_was_judged_is_not_held_and_no_reject_drops_it(services, database, monkeypatch):
    manifest = upload(services, 2, FEW).manifest()
    meanwhile(monkeypatch, lambda: decisions.rollback(services, TABLE, day(2), "ana"))
    with pytest.raises(BusyError, match="was published meanwhile"):
        arrive(services, manifest)
    assert one(database, "SELECT count(*) FROM recosync.hold") == 0
    with pytest.raises(BadRequestError, match="is not held"):
        decisions.reject(services, TABLE, day(2), "bob")
    assert users(database) == FEW
    assert arrive(services, manifest) == ["repeated"]


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("named", [True, False], ids=["named", "the newest"])
@pytest.mark.parametrize("decide", [decisions.approve, decisions.reject])
def test_a_hold_of_what_readers_see_is_nothing_to_decide(services, database, decide, named):
    database.execute("INSERT INTO recosync.hold VALUES (%s, %s, '{late}')", [TABLE, str(day(1))])
    with pytest.raises(BadRequestError, match="it waits for no decision" if named else "is not held"):
        decide(services, TABLE, day(1) if named else None, "ana")
    assert len(users(database)) == 3_000
    assert one(database, "SELECT decision FROM recosync.hold") is None


@pytest.mark.usefixtures("full")
def test_a_snapshot_is_judged_against_what_readers_see_when_it_is_published(services, database, monkeypatch):
    manifest = upload(services, 3, MANY[:2_500]).manifest()
    more = [*MANY, *(f"more {n}" for n in range(1_200))]
    meanwhile(monkeypatch, lambda: publish(services, 2, more))
    with pytest.raises(BusyError, match="judged anew"):
        arrive(services, manifest)
    assert arrive(services, manifest) == ["held"]
    assert len(users(database)) == 4_200


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("decision", ["undecided", "rejected"])
def test_what_others_held_since_it_was_judged_is_not_published(services, database, monkeypatch, decision):
    manifest = upload(services, 2, MANY[:2_900]).manifest()

    def others():
        database.execute("INSERT INTO recosync.hold VALUES (%s, %s, '{strict}')", [TABLE, str(day(2))])
        if decision == "rejected":
            decisions.reject(services, TABLE, day(2), "ana")

    meanwhile(monkeypatch, others)
    assert arrive(services, manifest) == ["held" if decision == "undecided" else "rejected"]
    assert len(users(database)) == 3_000


def test_a_rollback_whose_message_is_owed_is_done_and_the_next_event_sends_it(services, database, caplog):
    publish(services, 1, ["ana"])
    publish(services, 2, ["bob"])
    lost = replace(services, settings=replace(services.settings, topic="missing"))
    assert decisions.rollback(lost, TABLE, None, "ana").snapshot == day(1)
    assert "its message is owed" in caplog.text
    assert one(database, "SELECT count(*) FROM recosync.publication WHERE announced_at IS NULL") == 1
    assert arrives(services, 3, ["cleo"]) == ["pinned"]
    assert one(database, "SELECT count(*) FROM recosync.publication WHERE announced_at IS NULL") == 0


def test_a_first_snapshot_over_a_full_table_is_compared_with_its_rows(services, database):
    database.execute(f"CREATE TABLE {TABLE} (user_id varchar, item_id varchar)".encode())
    database.execute(f"INSERT INTO {TABLE} SELECT 'old', 'item' FROM generate_series(1, 3000)".encode())
    assert arrives(services, 1, FEW) == ["held"]
    assert len(users(database)) == 3_000


def test_a_snapshot_of_the_future_is_refused(services, database):
    future = Upload(services, TABLE, SnapshotId(datetime.now(UTC) + timedelta(days=2)))
    future.part(bookings(services, ["ana"]))
    with pytest.raises(DataError, match="snapshot id in the future"):
        arrive(services, future.manifest())


def test_a_rollback_goes_further_back_and_forward_again(services, database):
    for number, user in enumerate(["ana", "bob", "cleo"], 1):
        publish(services, number, [user])
    decisions.rollback(services, TABLE, None, "ana")
    assert users(database) == ["bob"]
    with pytest.raises(BadRequestError, match=f"is back at {day(2)} already. To go further, name a snapshot"):
        decisions.rollback(services, TABLE, None, "ana")
    assert users(database) == ["bob"]
    decisions.rollback(services, TABLE, day(1), "ana")
    assert users(database) == ["ana"]
    assert decisions.rollback(services, TABLE, day(3), "ana").publication == numbers(database)[5]
    assert users(database) == ["cleo"]


def test_the_rows_of_before_the_first_publish_can_be_gone_back_to(services, database):
    database.execute(f"CREATE TABLE {TABLE} (user_id varchar, item_id varchar)".encode())
    database.execute(f"INSERT INTO {TABLE} VALUES ('old', 'item')".encode())
    publish(services, 1, ["ana"])
    assert decisions.rollback(services, TABLE, None, "ana").snapshot == ADOPTED
    assert users(database) == ["old"]


def test_the_views_follow_a_rollback(services, database):
    view = "non_recommendable_items_mv"
    for number, user in enumerate(["ana", "bob"], 1):
        publish(services, number, [user])
        refresh.refresh(services, TABLE, number)
    back = decisions.rollback(services, TABLE, None, "ana")
    assert refresh.refresh(services, TABLE, back.publication) == "refreshed"
    assert users(database, view) == ["ana"]


def test_a_rollback_announces_itself(here, services, database):
    publish(services, 1, ["ana"])
    publish(services, 2, ["bob"])
    decisions.rollback(services, TABLE, None, "ana")
    assert one(database, "SELECT count(*) FROM recosync.publication WHERE announced_at IS NULL") == 0


def test_there_is_no_way_back_to_what_is_not_there(services, database):
    with pytest.raises(BadRequestError, match="was never published"):
        decisions.rollback(services, TABLE, None, "ana")
    publish(services, 1, ["ana"])
    with pytest.raises(BadRequestError, match="has no snapshot before"):
        decisions.rollback(services, TABLE, None, "ana")
    with pytest.raises(BadRequestError, match="has no snapshot 20260106"):
        decisions.rollback(services, TABLE, day(5), "ana")
    assert users(database) == ["ana"]


def test_a_snapshot_whose_tables_are_gone_is_refused_and_nothing_changes(services, database):
    publish(services, 1, ["ana"])
    publish(services, 2, ["bob"])
    with connect(services.settings, "test") as connection, connection.transaction():
        for part in snapshots.named_parts(connection, TABLE, day(1)):
            tables.drop_child(connection, part.id)
    with pytest.raises(TargetError, match="is not staged here, or not any more"):
        decisions.rollback(services, TABLE, None, "ana")
    assert users(database) == ["bob"]
    assert one(database, "SELECT count(*) FROM recosync.pin") == 0


def test_no_publication_stands_without_a_receipt(services, database):
    publish(services, 1, ["ana"])
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="publication_has_receipt"):
        database.execute("DELETE FROM recosync.receipt")
