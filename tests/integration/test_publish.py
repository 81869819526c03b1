"""Publish: readers see all of a snapshot or all of the one before, in whatever order its events come."""

import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations

import psycopg
import pytest

from shared.daily import swap_table as swapping
from shared.db.locks import Lock
from shared.errors import BusyError, ConfigurationError, DataError, IncompleteError, RetryableError, TargetError
from shared.gcp import pubsub
from shared.services import Services
from shared.upkeep import housekeeping
from tests.kit.background import Background, wait_for
from tests.kit.messages import Message, judged
from tests.kit.sessions import held, one, users
from tests.kit.snapshots import TABLE, bookings, day, publish, upload
from tests.kit.uploads import arrive


def publications(database):
    """The snapshots by the order of their publication, counted from 1."""
    counted = "row_number() OVER (ORDER BY publication)"
    return database.execute(f"SELECT {counted}, snapshot_id FROM recosync.publication ORDER BY 1").fetchall()


@pytest.fixture
def empty_table(database):
    database.execute(f"CREATE TABLE {TABLE} (user_id varchar, item_id varchar)")


@pytest.fixture
def filled_table(database, empty_table):
    """A table as it was before this suite: with rows of its own."""
    database.execute(f"INSERT INTO {TABLE} VALUES ('old-1', 'x'), ('old-2', 'x')")


@pytest.mark.usefixtures("empty_table")
@pytest.mark.matrix
@pytest.mark.parametrize("copies", [1, 2], ids=["once", "doubled"])
@pytest.mark.parametrize("order", list(permutations(("a", "b", "manifest"))), ids="-".join)
def test_the_last_event_of_a_snapshot_publishes_it_in_any_order(here, services, database, order, copies):
    snapshot = upload(services, 1)
    parts = {"a": snapshot.part(bookings(services, ["ann"])), "b": snapshot.part(bookings(services, ["bob"]))}
    events = {**parts, "manifest": snapshot.manifest()}
    # A part that is still to come is one that another worker is at: a lost one is made up for by the manifest's event.
    with held(here.dsn, *map(Lock.part, parts.values())) as let_go:
        for name in order:
            assert users(database) == []
            if name in parts:
                let_go(Lock.part(parts.pop(name)))
            for copy in range(copies):
                if name == "manifest" and parts:
                    with pytest.raises(IncompleteError):
                        arrive(services, events[name])
                else:
                    outcome = "staged" if name != order[-1] else "repeated" if copy else "published"
                    assert arrive(services, events[name]) == [outcome]
    assert users(database) == ["ann", "bob"]
    assert publications(database) == [(1, str(day(1)))]


def test_the_manifests_event_stages_parts_whose_own_events_are_lost(services, database):
    publish(services, 1, ["ann"], ["bob"])
    assert users(database) == ["ann", "bob"]


def test_a_part_that_the_manifest_does_not_name_does_not_count(services, database):
    snapshot = upload(services, 1, ["ann"])
    stray = snapshot.part(bookings(services, ["from a failed attempt"]), attempt=2)
    snapshot.parts.pop()
    assert arrive(services, stray, snapshot.manifest(), stray) == ["staged", "published", "repeated"]
    assert users(database) == ["ann"]


def test_a_part_with_another_number_of_rows_than_its_manifest_says_is_never_published(services, database):
    publish(services, 1, ["ann"])
    snapshot = upload(services, 2, ["bob", "cleo"])
    snapshot.parts = [replace(part, rows=3) for part in snapshot.parts]
    with pytest.raises(DataError, match="the manifest counts 3 rows, PostgreSQL 2"):
        arrive(services, snapshot.manifest())
    assert users(database) == ["ann"]
    assert publications(database) == [(1, str(day(1)))]
    assert one(database, "SELECT snapshot_id FROM recosync.failure") == str(day(2))


def test_events_never_go_back_to_an_older_snapshot(services, database):
    older = upload(services, 1, ["ann"])
    part, manifest = older.part(bookings(services, ["bob"])), older.manifest()
    publish(services, 2, ["cleo"])
    assert arrive(services, part, manifest) == ["stale", "stale"]
    assert users(database) == ["cleo"]


def test_an_older_snapshot_that_is_staged_when_a_newer_one_is_published_stays_unpublished(here, services, database):
    older = upload(services, 1)
    part = older.part(bookings(services, ["ann"]))
    with held(here.dsn, Lock.part(part)), pytest.raises(IncompleteError):
        arrive(services, older.manifest())
    publish(services, 2, ["bob"])
    assert arrive(services, part) == ["stale"]
    assert users(database) == ["bob"]


def test_each_publish_replaces_the_rows_and_takes_the_next_number(services, database):
    for number in (1, 2, 3):
        publish(services, number, [f"a{number}"], [f"b{number}"])
        assert users(database) == [f"a{number}", f"b{number}"]
    assert publications(database) == [(n, str(day(n))) for n in (1, 2, 3)]


def test_grants_and_dependent_views_survive_and_see_the_new_rows(here, services, database):
    publish(services, 1, ["ann"])
    database.execute(f"GRANT SELECT (user_id), UPDATE ON {TABLE} TO api WITH GRANT OPTION")
    database.execute(f"CREATE VIEW public.by_user AS SELECT user_id FROM {TABLE}")
    database.execute(f"CREATE MATERIALIZED VIEW public.by_user_kept AS SELECT user_id FROM {TABLE}")
    rights = f"SELECT relacl::text FROM pg_class WHERE oid = '{TABLE}'::regclass"
    before = one(database, rights)
    publish(services, 2, ["bob"])
    assert one(database, rights) == before
    database.execute("REFRESH MATERIALIZED VIEW public.by_user_kept")
    with psycopg.connect(here.cloud.postgres.dsn(here.name, "api")) as api:
        assert [users(api, relation) for relation in (TABLE, "by_user", "by_user_kept")] == [["bob"]] * 3


@pytest.mark.usefixtures("filled_table")
def test_a_filled_table_is_adopted_and_its_own_rows_can_be_brought_back(services, database):
    publish(services, 1, ["new"])
    assert users(database) == ["new"]
    (adopted, new) = database.execute("SELECT id, rows FROM recosync.part ORDER BY snapshot_id").fetchall()
    assert [adopted[1], new[1]] == [2, 1]
    with database.transaction():
        database.execute(f"ALTER TABLE recosync.part_{new[0]} NO INHERIT {TABLE}")
        database.execute(f"ALTER TABLE recosync.part_{adopted[0]} INHERIT {TABLE}")
    assert users(database) == ["old-1", "old-2"]


@pytest.mark.parametrize(
    ("since", "constraint", "told"),
    [
        (150_000, "CONSTRAINT mine CHECK (user_id <> 'old-1') NOT VALID", "constraint mine,"),
        (180_000, "CONSTRAINT mine NOT NULL item_id NOT VALID", "constraint NOT NULL of item_id,"),
    ],
)
def test_rows_that_break_a_constraint_which_nobody_validated_are_told_before_they_are_adopted(
    services, database, since, constraint, told
):
    if database.info.server_version < since:
        pytest.skip(f"PostgreSQL before {since // 10_000} has no such constraint")
    database.execute(f"CREATE TABLE {TABLE} (user_id varchar, item_id varchar)")
    database.execute(f"INSERT INTO {TABLE} VALUES ('old-1', NULL)")
    database.execute(f"ALTER TABLE {TABLE} ADD {constraint}")
    with pytest.raises(TargetError, match=f"{TABLE}: rows that stand in it break its own {told}.*drop the constraint"):
        publish(services, 1, ["new"])
    assert users(database) == ["old-1"]
    database.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT mine")
    publish(services, 2, ["new"])
    assert users(database) == ["new"]


@pytest.mark.usefixtures("filled_table")
def test_readers_of_a_table_that_is_adopted_never_see_it_empty_or_mixed(here, services, database):
    seen = []
    with reading(here, lambda api: seen.append(tuple(users(api)))):
        wait_for(lambda: len(seen) > 20)
        publish(services, 1, ["new"])
        wait_for(lambda: seen[-1] == ("new",))
    assert set(seen) == {("old-1", "old-2"), ("new",)}


@pytest.mark.usefixtures("filled_table")
def test_rows_written_into_an_adopted_table_afterwards_are_neither_hidden_nor_lost(services, database):
    publish(services, 1, ["new"])
    database.execute(f"INSERT INTO {TABLE} VALUES ('stray', 'x')")
    with pytest.raises(DataError, match="holds rows of its own again"):
        publish(services, 2, ["newer"])
    assert users(database) == ["new", "stray"]


@pytest.mark.usefixtures("filled_table")
def test_nor_are_they_once_the_adopted_rows_were_dropped(services, database):
    for number in range(1, 5):
        publish(services, number, ["new"])
    housekeeping.run(services, datetime.now(UTC) + timedelta(days=30))
    assert one(database, "SELECT count(*) FROM recosync.part WHERE bucket = '' AND dropped_at IS NULL") == 0
    database.execute(f"INSERT INTO {TABLE} VALUES ('stray', 'x')")
    with pytest.raises(DataError, match="holds rows of its own again"):
        publish(services, 5, ["newer"])
    assert users(database) == ["new", "stray"]


@pytest.mark.usefixtures("empty_table")
def test_nor_are_they_where_there_was_nothing_to_adopt(services, database):
    publish(services, 1, ["new"])
    database.execute(f"INSERT INTO {TABLE} VALUES ('stray', 'x')")
    with pytest.raises(DataError, match="holds rows of its own again"):
        publish(services, 2, ["newer"])
    assert users(database) == ["new", "stray"]


def test_a_row_written_just_before_the_swap_is_adopted_by_the_retry(services, database, monkeypatch):
    locks_out = swapping._lock_out_readers

    def write_first(run, statements):
        monkeypatch.setattr(swapping, "_lock_out_readers", locks_out)
        database.execute(f"INSERT INTO {TABLE} VALUES ('late', 'x')")
        return locks_out(run, statements)

    monkeypatch.setattr(swapping, "_lock_out_readers", write_first)
    manifest = upload(services, 1, ["new"]).manifest()
    with pytest.raises(BusyError, match="the next try adopts them"):
        arrive(services, manifest)
    assert users(database) == ["late"]
    assert arrive(services, manifest) == ["published"]
    assert users(database) == ["new"]
    assert database.execute("SELECT rows FROM recosync.part WHERE bucket = ''").fetchall() == [(1,)]


COLUMNS = "user_id varchar, item_id varchar"
UNFIT = {
    "a foreign key": (
        "ALTER TABLE {0} ADD UNIQUE (user_id); CREATE TABLE likes (u varchar REFERENCES {0} (user_id))",
        "likes",
    ),
    "a child of another's": ("CREATE TABLE strange () INHERITS ({0})", "public.strange"),
    "another type": ("ALTER TABLE {0} ALTER item_id TYPE text", "item_id is text"),
    "one more column": ("ALTER TABLE {0} ADD extra integer", "extra is integer"),
    "partitions": ("DROP TABLE {0}; CREATE TABLE {0} ({1}) PARTITION BY LIST (user_id)", "no ordinary table"),
    "a view": (
        "DROP TABLE {0}; CREATE VIEW public.{0} AS SELECT ''::varchar AS user_id, ''::varchar AS item_id WHERE false",
        "no ordinary table",
    ),
}


@pytest.mark.usefixtures("empty_table")
@pytest.mark.parametrize(("change", "named"), UNFIT.values(), ids=UNFIT)
def test_a_table_that_can_not_take_children_is_refused_by_name_and_left_alone(services, database, change, named):
    database.execute(change.format(TABLE, COLUMNS))
    with pytest.raises(TargetError, match=rf"{TABLE}.*{named}"):
        publish(services, 1, ["ann"])
    assert one(database, f"SELECT count(*) FROM {TABLE}") == 0
    assert publications(database) == []
    assert named in one(database, "SELECT message FROM recosync.failure")


@pytest.mark.parametrize("rights", ["SELECT", "ALL"])
def test_a_table_that_the_loader_does_not_own_is_refused_until_it_does(here, services, database, rights):
    with psycopg.connect(here.cloud.postgres.dsn(here.name, "postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE TABLE {TABLE} (user_id varchar, item_id varchar)")
        admin.execute(f"GRANT {rights} ON {TABLE} TO recosync")
        manifest = upload(services, 1, ["ann"]).manifest()
        with pytest.raises(ConfigurationError, match=TABLE):
            arrive(services, manifest)
        assert users(database) == []
        admin.execute(f"ALTER TABLE {TABLE} OWNER TO recosync")
    assert arrive(services, manifest) == ["published"]


@contextmanager
def reading(here, read, readers=1, pause=0.0):
    """Threads in which `read` is called with a connection as the API, again and again."""
    stop = []

    def loop():
        with psycopg.connect(here.cloud.postgres.dsn(here.name, "api"), autocommit=True) as api:
            # As the API's own limit would, this makes an error of a stall.
            api.execute("SET statement_timeout = '5s'")
            while not stop:
                read(api)
                time.sleep(pause)

    threads = [Background(loop) for _ in range(readers)]
    try:
        yield
    finally:
        stop.append(True)
        for thread in threads:
            thread.result()


def test_a_publish_gets_through_beside_readers_that_leave_hardly_a_gap(here, services, database):
    publish(services, 1, ["ann"])
    seen = []
    with reading(here, lambda api: seen.append(users(api)), readers=4):
        wait_for(lambda: len(seen) > 100)
        for number in range(2, 12):
            publish(services, number, ["bob"])
    assert len(publications(database)) == 11


@pytest.mark.usefixtures("empty_table")
def test_a_publish_gives_way_to_a_reader_that_stays_and_stalls_no_others(here, services, database, monkeypatch):
    monkeypatch.setattr(swapping, "READERS_PATIENCE", 1)
    monkeypatch.setattr(swapping, "TRIES_WITHOUT_QUEUE", 5)
    manifest = upload(services, 1, ["ann"]).manifest()
    seen = []
    with psycopg.connect(here.dsn) as long, reading(here, lambda api: seen.append(users(api))):
        assert users(long) == []
        with pytest.raises(BusyError, match="readers"):
            arrive(services, manifest)
    assert len(seen) > 50
    assert arrive(services, manifest) == ["published"]


@pytest.mark.usefixtures("empty_table")
def test_a_publish_waits_for_a_view_build_out_of_the_readers_way(here, services, database, monkeypatch):
    manifest = upload(services, 1, ["ann"]).manifest()
    seen = []
    with (
        held(here.dsn, Lock.publication(TABLE), shared=True) as let_go,
        reading(here, lambda api: seen.append(users(api))),
    ):
        publisher = Background(lambda: arrive(services, manifest))
        wait_for(lambda: one(database, "SELECT true FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
        assert one(database, f"SELECT count(*) FROM pg_locks WHERE relation = '{TABLE}'::regclass AND NOT granted") == 0
        wait_for(lambda: len(seen) > 50)
        let_go(Lock.publication(TABLE))
        assert publisher.result() == ["published"]


@pytest.mark.usefixtures("empty_table")
def test_a_publish_does_not_wait_for_view_builds_for_ever(here, services, database, monkeypatch):
    monkeypatch.setattr(swapping, "BUILDS_PATIENCE", 1)
    manifest = upload(services, 1, ["ann"]).manifest()
    with held(here.dsn, Lock.publication(TABLE), shared=True), pytest.raises(BusyError, match=TABLE):
        arrive(services, manifest)
    assert arrive(services, manifest) == ["published"]


def test_a_snapshot_without_rows_is_refused(services, database):
    publish(services, 1, ["ann"])
    with pytest.raises(DataError, match="allow_empty"):
        publish(services, 2, [])
    assert users(database) == ["ann"]


@pytest.mark.parametrize("parts", [[], [[]]], ids=["no part", "an empty part"])
def test_a_snapshot_without_rows_is_published_where_the_catalog_allows_it(services, database, parts):
    table = replace(services.catalog.tables[TABLE], allow_empty=True)
    lenient = replace(services, catalog=replace(services.catalog, tables={TABLE: table}))
    publish(lenient, 1, ["ann"])
    publish(lenient, 2, *parts)
    assert users(database) == []


@pytest.fixture
def messages(here, database):
    """Takes the completion messages that have come, with their publications counted from 1."""
    subscriber, name = here.cloud.subscriber, f"projects/{here.project}/subscriptions/test"
    subscriber.create_subscription(request={"name": name, "topic": here.topic})

    def take():
        request = {"subscription": name, "max_messages": 10, "return_immediately": True}
        received = subscriber.pull(request=request).received_messages
        if received:
            subscriber.acknowledge(request={"subscription": name, "ack_ids": [m.ack_id for m in received]})
        query = "SELECT publication::text FROM recosync.publication ORDER BY publication"
        known = [number for (number,) in database.execute(query)] if received else []
        told = [judged(Message(dict(m.message.attributes), None, "")).attributes for m in received]
        assert not any(m.message.data for m in received)
        return [
            {
                "table": each["table"],
                "snapshot_id": each["snapshot_id"],
                "publication": known.index(each["publication"]) + 1,
            }
            for each in told
        ]

    yield take
    subscriber.delete_subscription(subscription=name)


def announcement(number):
    return {"table": TABLE, "snapshot_id": str(day(number)), "publication": number}


@pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated")
def test_a_publish_is_announced_once_with_an_empty_message(services, messages):
    manifest = upload(services, 1, ["ann"]).manifest()
    arrive(services, manifest, manifest)
    assert messages() == [announcement(1)]
    arrive(services, manifest)
    assert messages() == []


@pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated")
def test_an_announcement_that_pubsub_did_not_take_is_sent_by_the_redelivery(services, database, messages, monkeypatch):
    manifest = upload(services, 1, ["ann"]).manifest()
    with monkeypatch.context() as down:
        down.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:9")
        down.setattr(pubsub, "PUBLISH_TIMEOUT", 0.5)
        with pytest.raises(RetryableError):
            arrive(Services.from_environment(), manifest)
    assert users(database) == ["ann"]
    assert messages() == []
    assert arrive(services, manifest, manifest) == ["repeated", "repeated"]
    assert messages() == [announcement(1)]
    assert messages() == []


@pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated")
def test_an_announcement_to_a_topic_that_is_missing_waits_until_it_is_there(services, database, messages):
    manifest = upload(services, 1, ["ann"]).manifest()
    misled = replace(services, settings=replace(services.settings, topic="missing"))
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="publishing to missing"):
            arrive(misled, manifest)
    assert users(database) == ["ann"]
    assert arrive(services, manifest, manifest) == ["repeated", "repeated"]
    assert messages() == [announcement(1)]


@pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated")
def test_an_announcement_that_is_owed_goes_out_with_the_next_publish(services, messages, monkeypatch):
    with monkeypatch.context() as down:
        down.setattr(services.publisher, "publish", fail)
        with pytest.raises(RetryableError):
            publish(services, 1, ["ann"])
    publish(services, 2, ["bob"])
    assert messages() == [announcement(1), announcement(2)]


def fail(*_):
    raise RetryableError("Pub/Sub is down")


STATISTICS = f"SELECT count(*) > 0 FROM pg_stats WHERE tablename = '{TABLE}' AND inherited"


@pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated")
def test_no_refresh_waits_for_the_statistics_of_the_table(services, database, messages, monkeypatch):
    """But for the first, whose views would be planned without any."""
    told, analyze = [], swapping.analyze

    def then(run):
        told.append(messages())
        analyze(run)

    monkeypatch.setattr(swapping, "analyze", then)
    publish(services, 1, ["ann"])
    assert (told, messages()) == ([[]], [announcement(1)])
    assert one(database, STATISTICS)
    publish(services, 2, ["bob"])
    assert told == [[], [announcement(2)]]


def test_statistics_are_renewed_though_pubsub_took_no_message(services, database, monkeypatch):
    analyzed = "SELECT last_analyze FROM pg_stat_user_tables WHERE relid = %s::regclass"
    publish(services, 1, ["ann"])
    before = database.execute(analyzed, [TABLE]).fetchone()
    with monkeypatch.context() as down:
        down.setattr(services.publisher, "publish", fail)
        with pytest.raises(RetryableError):
            publish(services, 2, ["bob"])
    wait_for(lambda: database.execute(analyzed, [TABLE]).fetchone() > before)
