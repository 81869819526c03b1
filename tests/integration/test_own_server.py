"""A server of the user's own, named by POSTGRES: it serves as a cluster of ours does, and is left as it was."""

from __future__ import annotations

import psycopg
import pytest

from local.postgres import Cluster, Guest
from local.prerequisites import MissingError
from tests.kit.sessions import one

PASSWORDS = "local all postgres trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
SHARED = """
SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database WHERE NOT datistemplate UNION ALL
SELECT rolname, shobj_description(oid, 'pg_authid') FROM pg_roles ORDER BY 1
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The administrator's URL of a server that asks for passwords, and that has a database and a role already."""
    cluster = Cluster(tmp_path_factory.mktemp("server"))
    try:
        cluster.ready()
        with cluster.superuser("postgres") as somebody:
            somebody.execute("ALTER ROLE postgres PASSWORD 'postgres'; CREATE ROLE reader")
            somebody.execute("CREATE ROLE chief LOGIN SUPERUSER PASSWORD 'p@ss'")
            somebody.execute("CREATE DATABASE shop")
        (cluster.place / "data" / "pg_hba.conf").write_text(PASSWORDS)
        cluster.restart()
        yield f"postgresql://chief:p%40ss@127.0.0.1:{cluster.port}/shop?connect_timeout=9"
    finally:
        cluster.close()


def everything(url):
    with psycopg.connect(url) as somebody:
        return somebody.execute(SHARED).fetchall()


def test_it_serves_every_role_and_is_left_as_it_was(url):
    before = everything(url)
    guest = Guest(url)
    guest.create_template()
    with psycopg.connect(guest.clone("t1"), autocommit=True) as loader:
        loader.execute("CREATE TABLE public.one AS SELECT 1 AS n")
        for role in ("api", "administrator"):
            with psycopg.connect(guest.dsn("t1", role)) as other:
                assert one(other, "SELECT current_user::text") == role
        with psycopg.connect(guest.dsn("t1", "api")) as api:
            assert one(api, "SELECT n FROM public.one") == 1
    guest.close()
    assert everything(url) == before


def test_what_a_killed_run_left_is_dropped_by_the_next(url):
    before = everything(url)
    killed = Guest(url)
    killed.create_template()
    killed.clone("t1")
    killed._hold.close()
    after = Guest(url)
    after.create_template()
    after.clone("t1")
    after.close()
    assert everything(url) == before


def test_one_run_has_it_at_a_time(url):
    first = Guest(url)
    with pytest.raises(MissingError, match="another run has the server"):
        Guest(url)
    first.close()
    Guest(url).close()


def test_a_role_of_somebody_is_never_taken(url):
    with psycopg.connect(url) as somebody:
        somebody.execute("CREATE ROLE api")
    before = everything(url)
    with pytest.raises(MissingError, match="has a role api already"):
        Guest(url)
    assert everything(url) == before
    with psycopg.connect(url) as somebody:
        somebody.execute("DROP ROLE api")


def test_a_server_that_lets_nobody_in_is_told_in_one_line(url):
    with pytest.raises(MissingError, match=r"the server that POSTGRES names: .*password authentication failed") as told:
        Guest(url.replace("p%40ss", "wrong"))
    assert "wrong" not in str(told.value)
    assert "\n" not in str(told.value)
