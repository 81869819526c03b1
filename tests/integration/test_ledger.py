"""The ledger's own schema: made on first use, by whoever comes first."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from shared.catalog import ROOT
from shared.db.locks import Lock
from shared.db.postgres import connect
from shared.errors import ConfigurationError
from shared.ledger import migrations
from tests.kit.sessions import held, one


def migrate(services):
    with connect(services.settings, "test") as connection:
        migrations.migrate(connection)


def test_instances_that_start_together_make_it_once(services, database):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(migrate, [services] * 8))
    versions = [version for (version,) in database.execute("SELECT version FROM recosync.migration ORDER BY 1")]
    assert versions == list(range(1, len(list((ROOT / "sql" / "ledger").iterdir())) + 1))


def test_a_call_that_finds_it_waits_for_nobody(here, services):
    migrate(services)
    with held(here.dsn, Lock.ledger()):
        migrate(services)


@pytest.fixture
def admin(here):
    with psycopg.connect(here.cloud.postgres.dsn(here.name, "postgres"), autocommit=True) as admin:
        admin.execute(f"REVOKE CREATE ON DATABASE {here.name} FROM recosync".encode())
        yield admin


def test_a_loader_that_may_not_make_it_says_so_and_the_event_is_kept(services, admin):
    with pytest.raises(ConfigurationError, match=r"permission denied for database.*GRANT CREATE ON DATABASE"):
        migrate(services)
    admin.execute("GRANT CREATE ON DATABASE " + admin.info.dbname + " TO recosync")
    migrate(services)


def test_a_schema_that_an_administrator_made_is_enough(services, admin):
    admin.execute("CREATE SCHEMA recosync AUTHORIZATION recosync")
    migrate(services)
    assert one(admin, "SELECT count(*) FROM recosync.publication") == 0


def test_a_migration_that_fails_half_way_leaves_nothing(services, admin):
    admin.execute("CREATE SCHEMA recosync AUTHORIZATION recosync")
    admin.execute("CREATE TABLE recosync.failure ()")
    with pytest.raises(ConfigurationError, match="already exists"):
        migrate(services)
    assert one(admin, "SELECT to_regclass('recosync.snapshot')") is None
    admin.execute("DROP TABLE recosync.failure")
    migrate(services)
