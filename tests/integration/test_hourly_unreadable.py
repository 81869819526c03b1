"""The rows of an hour can't be read to their end: what a later call mends is retried, what none mends is told."""

from contextlib import contextmanager
from itertools import count

import psycopg
import pytest

from shared import duck
from shared.db import postgres
from shared.errors import ConfigurationError, DataError, RetryableError
from shared.rows import unload
from tests.kit.cut import Where, cut_off
from tests.kit.logs import START, named

ROWS = 2_000
QUERY = f"SELECT i, 'text ' || i AS s FROM generate_series(1, {ROWS}) AS i"
EVERYWHERE = pytest.mark.parametrize("where", Where)


@contextmanager
def cut(log, where, at=None, spared=0):
    """The log with a way to its database that is cut, and what cuts it."""
    before = log.services
    with cut_off(before, where, at, spared) as (cutter, log.services):
        try:
            yield cutter
        finally:
            log.services = before


@contextmanager
def snapshot(log):
    with psycopg.connect(log.here.dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        (name,) = connection.execute("SELECT pg_export_snapshot()").fetchone()
        yield name


def read(log, query, name):
    """How many rows of a query are read in a snapshot."""
    info = postgres.conninfo(log.services.settings, "test")
    return sum(batch.num_rows for batch in unload.batches(info, name, query))


@EVERYWHERE
def test_a_connection_that_breaks_at_any_message_of_a_read_can_be_asked_again(log, where):
    retried = []
    with snapshot(log) as name:
        for message in count():
            with cut(log, where, message) as cutter:
                try:
                    assert read(log, QUERY, name) == ROWS
                except RetryableError as e:
                    retried.append(type(e))
                    last = message
            if cutter.messages <= message:
                break
    # From the start of the connection to the query, with what DuckDB does by itself on another one left out.
    assert len(retried) >= 9
    assert set(retried) == {RetryableError}
    assert message > last


@pytest.mark.matrix
@EVERYWHERE
def test_an_hour_whose_connection_breaks_at_any_message_has_not_failed_and_is_exported_later(log, where):
    broken = []
    for message in count():
        log.add(START + message)
        # The first connection is the run's own, which tells of the hour.
        with cut(log, where, message, spared=1) as cutter:
            answer, status = log.ask(START + message + 1, **named(START + message), recover_missed=False)
        assert log.entry(START + message)["failure"] is None
        if status != 200:
            broken.append(START + message)
            assert [failure["retryable"] for failure in answer["failed"]] == [True]
        if cutter.messages <= message:
            break
    assert len(broken) >= 9
    log.done(START + message + 1)
    assert log.bigquery() == {START + n: [n + 1] for n in range(message + 1)}


def test_a_snapshot_that_ended_with_its_session_can_be_asked_again(log):
    with snapshot(log) as name:
        pass
    with pytest.raises(RetryableError) as e:
        read(log, QUERY, name)
    assert type(e.value) is RetryableError


def test_a_role_that_the_server_does_not_know_is_a_wrong_deployment(log):
    url = log.here.dsn.replace("//recosync:", "//stranger:")
    with snapshot(log) as name, pytest.raises(ConfigurationError, match=r"role \S+ does not exist"):
        list(unload.batches(url, name, QUERY))


@pytest.mark.parametrize("at_row", [1, 60_000])
def test_a_row_that_postgresql_cannot_compute_fails_for_good(log, at_row):
    with snapshot(log) as name, pytest.raises(DataError) as e:
        read(log, f"SELECT i, 1 / (i - {at_row}) AS q FROM generate_series(1, 100000) AS i", name)
    assert "PostgreSQL refused a value (DivisionByZero, 22012)" in str(e.value)
    assert "Mend the row" in str(e.value)


def test_a_session_that_somebody_ends_can_be_asked_again(log):
    query = "SELECT i, CASE WHEN i = 60000 THEN pg_terminate_backend(pg_backend_pid()) END AS t"
    with snapshot(log) as name, pytest.raises(RetryableError):
        read(log, f"{query} FROM generate_series(1, 100000) AS i", name)


def test_columns_that_the_role_may_not_read_are_a_wrong_deployment(log):
    columns = ", ".join(f'"{column.name}"' for column in log.table.columns if column.name != "context")
    log.add(10)
    log.database.execute(
        f"REVOKE SELECT ON past_offer_context FROM recosync; GRANT SELECT ({columns}) ON past_offer_context TO recosync"
    )
    answer, status = log.ask(11)
    assert status == 500
    assert "GRANT SELECT ON" in answer["failed"][0]["error"]
    assert log.entry(10)["failure"] is None


def test_rows_that_need_too_much_memory_after_many_that_do_not_fail_for_good(log, monkeypatch):
    monkeypatch.setattr(duck, "MEMORY_LIMIT", "32MB")
    query = "SELECT i, repeat('x', CASE WHEN i < 100000 THEN 1 ELSE 50000 END) AS s"
    with snapshot(log) as name, pytest.raises(DataError, match=r"need more than 32MB of memory\. Shorten them"):
        read(log, f"{query} FROM generate_series(1, 103000) AS i", name)


def test_a_missing_extension_is_a_wrong_deployment(log, monkeypatch):
    monkeypatch.setattr(duck, "PACKAGES", "another_")
    with snapshot(log) as name, pytest.raises(ConfigurationError, match="can't load its extension postgres_scanner"):
        read(log, QUERY, name)
