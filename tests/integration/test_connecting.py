"""Why there is no connection: which of the deployment's parts is wrong, or that the server is away, and no secret."""

from __future__ import annotations

import socket
import threading
import traceback
from dataclasses import replace

import pytest

from local.process import free_port
from shared import log
from shared.db.postgres import connect
from shared.errors import ConfigurationError, RetryableError
from shared.settings import DatabaseUrl
from tests.kit.servers import needs_no_password

pytestmark = needs_no_password

SECRET = "p4ssw0rd"


@pytest.fixture
def failure(services):
    """The error of connecting by a URL, in which the secret does not appear."""

    def failure(url):
        settings = replace(services.settings, database=DatabaseUrl(url))
        with pytest.raises(RetryableError) as e, connect(settings, "test"):
            pass
        chained = "".join(traceback.format_exception_only(e.value))
        assert SECRET not in str(e.value) + chained
        return e.value

    return failure


@pytest.fixture
def server(here):
    return here.dsn.partition("@")[2]


#: What stands in a database URL, and what is said of it.
WRONG = {
    "an unknown host": (f"postgresql://u:{SECRET}@no-such-host.invalid/reco", "its host is unknown"),
    "a missing socket": (f"postgresql://u:{SECRET}@/reco?host=/cloudsql/p:r:i", "there is no socket at that path"),
    "a server without TLS": (f"postgresql://u:{SECRET}@SERVER?sslmode=require", "it has no TLS"),
    "an @ in the password": (f"postgresql://u:x@{SECRET}@SERVER", "a host with a special character"),
    "a / in the password": (f"postgresql://u:x/{SECRET}@SERVER", "has a port that is no number.*%2F"),
    "a / behind digits": (f"postgresql://u:12/{SECRET}@SERVER", "a database name with an @.*%2F"),
    "a / and a ? in the password": (f"postgresql://u:12/3?{SECRET}@SERVER", "is malformed.*%XX"),
    "a parameter of another driver": (f"postgresql://u:{SECRET}@SERVER?schema={SECRET}", "does not know: schema"),
    "a parameter of a pooler": (f"postgresql://u:{SECRET}@SERVER?pgbouncer=true", "does not know: pgbouncer"),
    "a value that libpq does not have": (f"postgresql://u:{SECRET}@SERVER?sslmode={SECRET}", "value for sslmode"),
    "a number that is none": (f"postgresql://u:{SECRET}@SERVER?keepalives={SECRET}", "value for keepalives"),
    "a time that is none": (f"postgresql://u:{SECRET}@SERVER?connect_timeout={SECRET}", "value for connect_timeout"),
    "no time at all": (f"postgresql://u:{SECRET}@SERVER?connect_timeout=", "value for connect_timeout"),
    "a port that no host has": (f"postgresql://u:{SECRET}@127.0.0.1:99999/reco", "no number from 1 to 65535"),
    "a port in other digits": (f"postgresql://u:{SECRET}@127.0.0.1:٥٤٣٢/reco", "no number from 1 to 65535"),
    "a port too many": (f"postgresql://u:{SECRET}@127.0.0.1/reco?port=1,2", "another number of ports than of hosts"),
    "a mode for an unknown host": (
        f"postgresql://u:{SECRET}@no-such.invalid/reco?sslmode={SECRET}",
        "value for sslmode",
    ),
    "attributes for an unknown host": (
        f"postgresql://u:{SECRET}@no-such.invalid/reco?target_session_attrs={SECRET}",
        "value for target_session_attrs",
    ),
    "a number for an unknown host": (
        f"postgresql://u:{SECRET}@no-such.invalid/reco?keepalives_idle={SECRET}",
        "value for keepalives_idle",
    ),
    "a time in other digits": (f"postgresql://u:{SECRET}@SERVER?connect_timeout=٣", "value for connect_timeout"),
    "a host that is no name": (f"postgresql://u:{SECRET}@a..b/reco", "its host is unknown"),
    "an unknown service": (f"postgresql://u:{SECRET}@SERVER?service=nope", "not as the URL's settings ask for"),
    "a standby that is none": (
        "postgresql://recosync@SERVER?target_session_attrs=standby",
        "not as the URL's settings ask for",
    ),
    "options that are none": (
        f"postgresql://recosync@SERVER?options={SECRET}",
        "invalid command-line argument for server process. Correct the options",
    ),
    "a library that is not there": (
        f"postgresql://recosync@SERVER?options=-clocal_preload_libraries%3D{SECRET}",
        "could not access file …: .*Correct the options|could not access file …. Correct the options",
    ),
    "a setting without a value": ("postgresql://recosync@SERVER?options=-cwork_mem", "requires a value.*options"),
    "a value out of range": (
        "postgresql://recosync@SERVER?options=-cwork_mem%3D-5",
        "outside the valid range.*options",
    ),
    "a setting of the server's start": ("postgresql://recosync@SERVER?options=-cport%3D1", "port.*options"),
    "a replication connection": ("postgresql://recosync@SERVER?replication=database", "options"),
    "no database": (f"postgresql://u:{SECRET}@h", "names no database"),
    "an unknown role": (f"postgresql://nobody:{SECRET}@SERVER", 'role "nobody" does not exist.*secret'),
    "an unknown database": ("postgresql://recosync:recosync@HOST/nowhere", 'database "nowhere" does not exist'),
    "a setting that no server has": ("postgresql://recosync@SERVER?options=-cstrange%3D1", "strange.*options"),
    "a value that a setting does not take": (
        f"postgresql://recosync@SERVER?options=-cwork_mem%3D{SECRET}",
        'invalid value for parameter "work_mem".*options',
    ),
    "a role that may not be taken": ("postgresql://recosync@SERVER?options=-crole%3Dpostgres", "role.*options"),
}


@pytest.mark.parametrize(("url", "told"), WRONG.values(), ids=WRONG)
def test_a_wrong_deployment_is_told_from_an_outage_by_what_is_wrong(failure, server, url, told):
    host = server.partition("/")[0]
    error = failure(url.replace("SERVER", server).replace("HOST", host))
    assert isinstance(error, ConfigurationError)
    with pytest.raises(ConfigurationError, match=told):
        raise error


def test_a_server_that_is_away_is_an_outage(failure):
    error = failure(f"postgresql://u:{SECRET}@127.0.0.1:{free_port()}/reco")
    assert not isinstance(error, ConfigurationError)
    assert "connection refused" in str(error)


def test_a_server_that_says_nothing_is_an_outage(failure):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        error = failure(f"postgresql://u:{SECRET}@127.0.0.1:{mute.getsockname()[1]}/reco?connect_timeout=1")
    assert not isinstance(error, ConfigurationError)
    assert "no answer in time" in str(error)


def test_a_server_that_has_no_room_is_an_outage(failure, here):
    with here.cloud.postgres.superuser(here.name) as admin:
        admin.execute(f'ALTER DATABASE "{here.name}" CONNECTION LIMIT 0')
    error = failure(here.dsn)
    assert not isinstance(error, ConfigurationError)
    assert "too many connections for database" in str(error)


def test_a_role_that_may_not_connect_is_a_wrong_deployment(failure, here):
    with here.cloud.postgres.superuser(here.name) as admin:
        admin.execute(f'REVOKE CONNECT ON DATABASE "{here.name}" FROM PUBLIC')
        admin.execute(f'ALTER DATABASE "{here.name}" OWNER TO postgres')
    error = failure(here.dsn)
    assert isinstance(error, ConfigurationError)
    assert "GRANT CONNECT" in str(error)


def answering(reply):
    """A server that has one answer; its port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        with listening, listening.accept()[0] as client:
            client.recv(8_192)
            client.sendall(reply)
            client.recv(1)

    threading.Thread(target=serve, daemon=True).start()
    return listening.getsockname()[1]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"C08P01\0Munsupported startup parameter: options", "pooler"),
        # As a Cloud SQL instance does whose ssl_mode is TRUSTED_CLIENT_CERTIFICATE_REQUIRED.
        (b"C28000\0Mconnection requires a valid client certificate", "sslcert and sslkey"),
    ],
)
def test_a_start_that_is_refused_for_good_is_a_wrong_deployment(failure, said, told):
    fields = b"SFATAL\0VFATAL\0" + said + b"\0\0"
    port = answering(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
    error = failure(f"postgresql://u:{SECRET}@127.0.0.1:{port}/reco?sslmode=disable")
    assert isinstance(error, ConfigurationError)
    assert told in str(error)


def test_a_certificate_that_is_not_there_is_a_wrong_deployment(failure):
    url = f"postgresql://u:{SECRET}@127.0.0.1:{answering(b'S')}/reco?sslmode=verify-full&sslrootcert=/no/such/file"
    error = failure(url)
    assert isinstance(error, ConfigurationError)
    assert "a certificate or key that the URL's settings ask for is not there" in str(error)


@pytest.mark.parametrize("special", ["#", "?", "[", "]", "&", "="])
def test_libpq_takes_a_password_with_characters_that_need_no_escape(services, here, special):
    password = f"pa{special}ss"
    settings = replace(services.settings, database=DatabaseUrl(here.dsn.replace(":recosync@", f":{password}@")))
    with connect(settings, "test") as connection:
        assert connection.info.password == password


def test_a_newline_behind_the_url_is_not_of_it(services, here, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", f"{here.dsn}\n")
    with connect(type(services).from_environment().settings, "test") as connection:
        assert connection.info.dbname == here.name


def test_host_and_database_may_be_parameters(services, here):
    info = here.dsn.removeprefix("postgresql://").partition("@")
    host, _, rest = info[2].partition(":")
    port, _, name = rest.partition("/")
    url = f"postgresql://@/?host={host}&port={port}&dbname={name}&user=recosync"
    with connect(replace(services.settings, database=DatabaseUrl(url)), "test") as connection:
        assert connection.info.dbname == here.name


def test_of_a_rollback_that_fails_the_driver_tells_nothing_in_its_own_words(services, here, caplog):
    """They are no line of JSON, may quote a row, and the failure before it is told."""
    log.configure()

    def fail():
        with (
            here.cloud.postgres.superuser("postgres") as admin,
            connect(services.settings, "a test") as connection,
            connection.transaction(),
        ):
            admin.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
            raise RetryableError("failed in the middle")

    with pytest.raises(RetryableError, match="failed in the middle"):
        fail()
    assert [record.getMessage() for record in caplog.records if record.name.startswith("psycopg")] == []
