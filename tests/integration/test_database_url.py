"""The database URL as users of Cloud SQL have it: both flows work with it, or a sentence says why they can't."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import psycopg
import pytest

from local import context
from local.prerequisites import MissingError, pgbouncer
from shared.db import locks, postgres
from shared.db.locks import Lock
from shared.db.postgres import connect
from shared.db.session import LOCK_TIMEOUT_MS
from shared.errors import ConfigurationError
from shared.gcp.tokens import LOG_IN, FunctionToken
from shared.settings import DatabaseUrl
from tests.kit.cloud_sql import ACCOUNT, PASSWORD, CloudSql, cloud_sql, pooler
from tests.kit.logs import open_log
from tests.kit.sessions import one, users
from tests.kit.snapshots import TABLE, publish


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    with cloud_sql(tmp_path_factory.mktemp("cloudsql")) as instance:
        yield instance


FILES = "sslrootcert=FILES/server-ca.pem&sslcert=FILES/client-cert.pem&sslkey=FILES/client-key.pem"

#: USER is the loader with a password in which everything is escaped that can be.
WORK = {
    "the socket that a function mounts": "postgresql://USER@/NAME?host=SOCKET&port=PORT",
    "the other scheme": "postgres://USER@[::1]:PORT/NAME",
    "IPv6": "postgresql://USER@[::1]:PORT/NAME",
    "IPv6 as a parameter": "postgresql://USER@/NAME?host=::1&port=PORT&sslmode=require",
    "an authority and a client's certificate": f"postgresql://USER@127.0.0.1:PORT/NAME?sslmode=verify-ca&{FILES}",
    "the instance's name for its address": "postgresql://USER@project.instance:PORT/NAME?hostaddr=127.0.0.1"
    f"&sslmode=verify-ca&{FILES}",
}


@pytest.mark.parametrize("way", WORK.values(), ids=WORK)
def test_both_flows_go_this_way(here, services, instance, way):
    database = DatabaseUrl(instance.url(here.name, way))
    with instance.database(here.name) as admin:
        publish(replace(services, settings=replace(services.settings, database=database)), 1, ["ann"])
        assert users(admin) == ["ann"]
        with psycopg.connect(database.read(), autocommit=True) as loader, open_log(here, loader, create=False) as log:
            context.create(database.read())
            log.change(database=database)
            keys = log.add(10, 3)
            assert log.done(11) == {10: "exported"}
            assert log.bigquery() == {10: keys}


TLS = "postgresql://USER@127.0.0.1:PORT/NAME?sslmode=verify-ca&"
REFUSED = {
    "a host that the certificate does not name": (
        f"postgresql://USER@127.0.0.1:PORT/NAME?sslmode=verify-full&{FILES}",
        "its certificate is not one that the URL's settings trust.*sslrootcert, the host or sslmode",
    ),
    "somebody else's authority": (
        f"{TLS}{FILES.replace('server-ca', 'other-ca')}",
        "its certificate is not one that the URL's settings trust",
    ),
    "no client's certificate": (
        f"{TLS}sslrootcert=FILES/server-ca.pem",
        "requires a valid client certificate.*sslcert and sslkey",
    ),
    "a key that everybody may read": (
        f"{TLS}{FILES.replace('client-key', 'open-key')}",
        "others may read the key file.*0600",
    ),
    "a file that is not there": (
        f"{TLS}{FILES.replace('client-key', 'no-key')}",
        "a certificate or key that the URL's settings ask for is not there",
    ),
    "no TLS": ("postgresql://USER@[::1]:PORT/NAME?sslmode=disable", "no encryption.*sslmode"),
    "another password": ("postgresql://loader:p4ss@[::1]:PORT/NAME", "password authentication failed.*secret"),
    "no password": ("postgresql://loader@[::1]:PORT/NAME", "asks for a password.*secret"),
    "a socket with its colons": (
        "postgresql://USER@%2Fcloudsql%2Fp:europe-west1:i/NAME",
        r"has a port that is no number.*\?host=/cloudsql/",
    ),
    "a socket of another instance": (
        "postgresql://USER@/NAME?host=/cloudsql/p:europe-west1:other&port=PORT",
        "no socket at that path.*attach the instance",
    ),
    "a socket whose path is too long": (
        f"postgresql://USER@/NAME?host=/cloudsql/{'p' * 120}",
        "not as the URL's settings ask for|no socket at that path|socket",
    ),
}


@pytest.mark.parametrize(("way", "told"), REFUSED.values(), ids=REFUSED)
def test_what_can_not_work_is_told_and_no_secret_with_it(here, services, instance, way, told):
    settings = replace(services.settings, database=DatabaseUrl(instance.url(here.name, way)))
    with (
        instance.database(here.name),
        pytest.raises(ConfigurationError, match=told) as refused,
        connect(settings, "test"),
    ):
        pass
    assert PASSWORD not in str(refused.value)
    assert "p4ss" not in str(refused.value)


# IAM database authentication

IAM = f"postgresql://{quote(ACCOUNT)}@[::1]:PORT/NAME?options=-c%20role%3Dloader"


class Credentials:
    """What google.auth gives a function: a token, the naive UTC time it ends, and a way to the next."""

    def __init__(self, instance: CloudSql) -> None:
        self._instance, self._tokens = instance, 0
        self.token: str | None = None
        self.expiry = datetime.now(UTC).replace(tzinfo=None)

    def refresh(self, request: object) -> None:
        self._tokens += 1
        # As long as those of real accounts may be.
        self.token = f"ya29.c.{self._tokens}-{'t' * 1_000}"
        self._instance.admit(self.token)


@pytest.fixture
def credentials(instance, monkeypatch):
    found = Credentials(instance)
    token = FunctionToken(LOG_IN)
    token._credentials = found
    monkeypatch.setattr(postgres, "_log_in", token)
    return found


def test_an_account_logs_in_with_its_token_which_is_a_new_one_when_the_last_ends(here, services, instance, credentials):
    database = DatabaseUrl(instance.url(here.name, IAM), iam=True)
    with instance.database(here.name) as admin:
        for number in (1, 2):
            publish(replace(services, settings=replace(services.settings, database=database)), number, ["ann"])
        assert users(admin) == ["ann"]
        assert one(admin, "SELECT tableowner FROM pg_tables WHERE tablename = %s", TABLE) == "loader"
        first = credentials.token
        credentials.expiry = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)
        with open_log(here, admin, create=False) as log:
            log.change(database=database)
            admin.execute("SET ROLE loader")
            admin.execute(context.TABLE)
            keys = log.add(10, 3)
            assert log.done(11) == {10: "exported"}
            assert log.bigquery() == {10: keys}
            assert (log.errors, credentials.token) == ([], first)
            instance.admit("a token of somebody else")
            with pytest.raises(ConfigurationError, match="password authentication failed") as refused:
                log.ask(12)
    assert first not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://a%40p.iam:p4ss@10.0.0.2/reco", "has a password, where DATABASE_LOGIN=iam has"),
        ("postgresql://a%40p.iam@10.0.0.2/reco?sslmode=prefer", "token travel without TLS"),
        ("postgresql://a%40p.iam@/reco?hostaddr=10.0.0.2&sslmode=disable", "token travel without TLS"),
    ],
)
def test_a_token_is_neither_left_out_nor_given_away(services, credentials, url, told):
    settings = replace(services.settings, database=DatabaseUrl(url, iam=True))
    with pytest.raises(ConfigurationError, match=told) as refused, connect(settings, "test"):
        pass
    assert "p4ss" not in str(refused.value)
    assert credentials.token is None


def test_an_account_without_credentials_is_told(services, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file")
    settings = replace(services.settings, database=DatabaseUrl("postgresql://a%40p.iam@10.0.0.2/reco", iam=True))
    with pytest.raises(ConfigurationError, match="no usable credentials"), connect(settings, "test"):
        pass


# Poolers

DROPS = {"ignore_startup_parameters": "options"}
OURS = f"SET lock_timeout = {LOCK_TIMEOUT_MS}"
POOLERS = {
    "as it comes": ({"pool_mode": "transaction"}, "SELECT 1"),
    "that drops settings": ({"pool_mode": "transaction", **DROPS}, "SELECT 1"),
    "that has the setting which is looked at": ({"pool_mode": "transaction", **DROPS}, OURS),
    "of sessions": ({"pool_mode": "session", **DROPS}, OURS),
    "of statements": ({"pool_mode": "statement", **DROPS}, "SELECT 1"),
}


@pytest.fixture
def bouncer(here):
    """Starts PgBouncer before the project's database; the URL that leads through it."""
    try:
        pgbouncer()
    except MissingError as missing:
        pytest.skip(str(missing))
    with ExitStack() as stack:

        def start(settings, query="SELECT 1"):
            port = stack.enter_context(pooler(here.cloud.postgres, here.name, settings, query))
            return f"postgresql://recosync@127.0.0.1:{port}/{here.name}"

        yield start


@pytest.mark.parametrize(("settings", "query"), POOLERS.values(), ids=POOLERS)
def test_a_pooler_is_noticed_when_connecting(services, bouncer, settings, query):
    url = DatabaseUrl(bouncer(settings, query))
    with (
        pytest.raises(ConfigurationError, match=r"pooler.*PostgreSQL's own address and port.*5432"),
        connect(replace(services.settings, database=url), "test"),
    ):
        pass


def test_what_a_pooler_would_do_to_a_lock(here, bouncer):
    """Why it is refused: two runs get the same lock, and the lock outlives both."""
    url = bouncer({"pool_mode": "transaction", **DROPS})
    lock = Lock.hourly("past_offer_context")
    for _ in range(2):
        with psycopg.connect(url, autocommit=True) as run:
            assert locks.try_lock(run, lock, session=True)
    with psycopg.connect(here.dsn, autocommit=True) as after:
        assert not locks.try_lock(after, lock, session=True)
        assert one(after, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 1
