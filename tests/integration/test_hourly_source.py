"""The log in PostgreSQL has to be as the catalog says, with the key and the index that the flow needs."""

import pytest

from shared.db import locks
from shared.errors import RetryableError, TargetError
from shared.settings import DatabaseUrl

KEY = "has no primary key or unique index on NOT NULL id"
INDEX = "has no B-tree index that begins with date"
NO_INDEX = "DROP INDEX past_offer_context_date;"
NO_KEY = "ALTER TABLE past_offer_context DROP CONSTRAINT past_offer_context_pkey;"

WRONG = {
    "no table": ("DROP TABLE past_offer_context", "does not exist"),
    "no column": ("ALTER TABLE past_offer_context DROP offer_order", "column offer_order is missing, the catalog"),
    "another type": (
        "ALTER TABLE past_offer_context ALTER offer_order TYPE bigint",
        "column offer_order is bigint, the catalog says integer",
    ),
    "a time with its zone": (
        "ALTER TABLE past_offer_context ALTER date TYPE timestamptz",
        "column date is timestamp with time zone, the catalog says timestamp without time zone",
    ),
    "a name in another case": (
        'ALTER TABLE past_offer_context RENAME call_id TO "Call_id"',
        "column call_id is missing, the catalog says character varying",
    ),
    "no index": (NO_INDEX, INDEX),
    "an index of another kind": (f"{NO_INDEX} CREATE INDEX ON past_offer_context USING brin (date)", INDEX),
    "an index of some rows": (f"{NO_INDEX} CREATE INDEX ON past_offer_context (date) WHERE id > 0", INDEX),
    "an index that begins otherwise": (f"{NO_INDEX} CREATE INDEX ON past_offer_context (user_id, date)", INDEX),
    "an index of an expression": (f"{NO_INDEX} CREATE INDEX ON past_offer_context (date_trunc('hour', date))", INDEX),
    "no key": (NO_KEY, KEY),
    "a key that is not unique": (f"{NO_KEY} CREATE INDEX ON past_offer_context (id)", KEY),
    "a key that may be NULL": (
        f"{NO_KEY} ALTER TABLE past_offer_context ALTER id DROP NOT NULL, ADD UNIQUE (id)",
        KEY,
    ),
    "a key of two columns": (f"{NO_KEY} ALTER TABLE past_offer_context ADD PRIMARY KEY (id, date)", KEY),
    "a key of some rows": (f"{NO_KEY} CREATE UNIQUE INDEX ON past_offer_context (id) WHERE id > 0", KEY),
}  # fmt: skip


@pytest.mark.parametrize(("change", "what"), WRONG.values(), ids=WRONG)
def test_a_log_that_is_not_as_it_should_be_is_refused_and_nothing_changes(log, change, what):
    log.database.execute(change)
    with pytest.raises(TargetError) as e:
        log.ask(11, delete_from_source=True)
    assert "public.past_offer_context: " in str(e.value)
    assert what in str(e.value)
    assert log.objects() == set()
    assert list(log.here.bigquery_client.list_tables("raw_local")) == []


def test_every_column_that_differs_is_named_at_once(log):
    log.database.execute("ALTER TABLE past_offer_context DROP offer_order, ALTER user_id TYPE text")
    with pytest.raises(TargetError, match=r"column user_id is text, .*; column offer_order is missing"):
        log.ask(11)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE past_offer_context ADD secret text, ALTER call_id TYPE varchar(40)",
        f"{NO_INDEX} CREATE INDEX ON past_offer_context (date, user_id)",
        f"{NO_INDEX} CREATE INDEX ON past_offer_context (date DESC)",
        f"{NO_KEY} CREATE UNIQUE INDEX ON past_offer_context (id) INCLUDE (date)",
    ],
    ids=["a column more", "a longer index", "an index the other way", "a unique index"],
)
def test_what_serves_as_well_is_taken(log, change):
    log.database.execute(change)
    assert log.done(11) == {10: "empty"}
    assert "secret" not in {
        field.name for field in log.here.bigquery_client.get_table("raw_local.past_offer_context").schema
    }


def test_a_log_in_partitions_is_a_log(log):
    ddl = "CREATE TABLE parted (LIKE past_offer_context INCLUDING DEFAULTS, PRIMARY KEY (id)) PARTITION BY RANGE (id)"
    log.database.execute(ddl)
    log.database.execute("CREATE TABLE low PARTITION OF parted FOR VALUES FROM (MINVALUE) TO (2)")
    log.database.execute("CREATE TABLE high PARTITION OF parted FOR VALUES FROM (2) TO (MAXVALUE)")
    log.database.execute("CREATE INDEX ON parted (date)")
    log.database.execute("DROP TABLE past_offer_context CASCADE; CREATE SEQUENCE numbers")
    log.database.execute("ALTER TABLE parted RENAME TO past_offer_context")
    log.database.execute("ALTER TABLE past_offer_context ALTER id SET DEFAULT nextval('numbers')")
    log.database.execute("ALTER SEQUENCE numbers OWNED BY past_offer_context.id")
    log.add(10, 3)
    log.done(11, delete_from_source=True)
    assert (log.bigquery(), log.source()) == ({10: [1, 2, 3]}, [])


def test_a_role_that_may_not_read_the_log_is_a_wrong_deployment(log):
    log.database.execute("REVOKE SELECT ON past_offer_context FROM recosync")
    answer, status = log.ask(11)
    assert status == 500
    assert "GRANT SELECT ON" in answer["failed"][0]["error"]
    assert log.state(10) is None


def test_an_unreachable_database_can_be_asked_again(log):
    log.change(database=DatabaseUrl("postgresql://u:p4ssw0rd@127.0.0.1:1/nowhere"))
    with pytest.raises(RetryableError, match="did not answer") as e:
        log.ask(11)
    assert "p4ssw0rd" not in str(e.value)


def test_a_session_that_ends_before_the_log_is_locked_can_be_asked_again(log, monkeypatch):
    """As when the server restarts just then."""
    lock = locks.lock_or_busy

    def ended(connection, *given, **how):
        with log.here.cloud.postgres.superuser(log.here.name) as admin:
            admin.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.info.backend_pid])
        lock(connection, *given, **how)

    log.add(10)
    with monkeypatch.context() as patch:
        patch.setattr(locks, "lock_or_busy", ended)
        with pytest.raises(RetryableError):
            log.ask(11)
    assert log.done(11) == {10: "exported"}
