"""After the database is restored to an earlier state: what was told of since is not told again of other rows."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql

from shared.daily.names import SnapshotFolder
from shared.daily.refresh import refresh
from shared.errors import ConfigurationError
from shared.settings import DatabaseUrl
from shared.upkeep import reconcile
from tests.kit.sessions import one, users
from tests.kit.snapshots import TABLE, day, publish
from tests.kit.uploads import arrive


@pytest.fixture
def restored(here, services) -> Iterator[tuple[object, psycopg.Connection]]:
    """The services on a database as it was after the first snapshot; the second was published since."""
    publish(services, 1, ["ann"])
    backup = f"{here.name}_backup"
    with here.cloud.postgres.superuser("postgres") as admin:
        copy = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER recosync STRATEGY file_copy")
        admin.execute(copy.format(sql.Identifier(backup), sql.Identifier(here.name)))
    publish(services, 2, ["bob"])
    dsn = here.cloud.postgres.dsn(backup)
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield replace(services, settings=replace(services.settings, database=DatabaseUrl(dsn))), connection
    here.cloud.postgres.drop(backup)


def last(connection) -> int:
    return one(connection, "SELECT max(publication) FROM recosync.publication WHERE table_name = %s", TABLE)


def test_a_publication_number_does_not_come_again(here, restored):
    services, connection = restored
    with psycopg.connect(here.dsn) as before:
        announced = last(before)
    assert last(connection) < announced
    publish(services, 3, ["cleo"])
    assert last(connection) > announced
    assert users(connection) == ["cleo"]


def test_a_number_is_higher_than_those_before_though_the_clock_is_behind(services, database):
    publish(services, 1, ["ann"])
    ahead = last(database) + 10_000_000
    database.execute("UPDATE recosync.publication SET publication = %s", [ahead])
    publish(services, 2, ["bob"])
    assert last(database) == ahead + 1


def test_what_was_published_since_the_backup_comes_again(here, restored):
    services, connection = restored
    with psycopg.connect(here.dsn) as before:
        announced = last(before)
    with pytest.raises(ConfigurationError, match="is unknown here"):
        refresh(services, TABLE, announced)  # its message is still on the way
    sent = reconcile.run(services, datetime.now(UTC) + timedelta(hours=1))
    assert [each["snapshot_id"] for each in sent if each["sent"] == "manifest"] == [str(day(2))]
    folder = SnapshotFolder(services.settings.prefix, TABLE, day(2))
    manifest = services.storage.find(services.settings.bucket, folder.manifest)
    assert arrive(services, manifest.version) == ["published"]
    assert refresh(services, TABLE, announced) == "refreshed"
    assert users(connection, "non_recommendable_items_mv") == ["bob"]
