"""The hourly flow by chance: writers that commit late, calls that meet each other, and whatever may happen to them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import psycopg
from google.api_core.exceptions import NotFound

from local.cloud import Deployment
from local.functions import Spec
from shared.hourly import run
from shared.hourly.restore import Restore
from shared.names import Hour
from shared.services import HourlyServices
from tests.chaos.schedule import Kind, Schedule, made
from tests.chaos.world import HELD, Found, Ways, World, deployed, each, faults, one_of
from tests.kit.background import Background

LOG = "shown"
#: Hours, back from the one that is now, that writers write to; each is looked at for late rows.
BACK, LATE = 3, 6

_back = one_of(*range(1, BACK + 1))
KINDS = {
    "write": Kind(10, each(_back, one_of(1, 20, 300), one_of(0, 0, 0.5, 2), one_of("commit", "commit", "rollback"))),
    "ask": Kind(
        10, each(one_of("due", "due", "hour", "hour ahead"), one_of(0, 1), one_of("keep", "keep", "delete"), _back)
    ),
    "restore": Kind(2, each(_back)),
    "change": Kind(1),
    **faults(
        one_of("hourly_export"),
        one_of("COMMIT", "COPY", "SNAPSHOT", "advisory", "DELETE", "SET LOCAL", "BEGIN", "."),
        one_of(
            ("GET", "manifests"),
            ("POST", "upload.*manifests"),
            ("POST", "upload"),
            ("PUT", "upload_id"),
            ("GET", "keys"),
        ),
        one_of(("POST", "/jobs"), ("GET", "/jobs/"), ("GET", "/tables/"), ("POST", "/queries"), ("GET", "/queries/")),
    ),
}

_TABLES = (
    "CREATE TABLE shown (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamp, what text, price numeric)",
    "CREATE INDEX ON shown (at)",
    # What was committed, by whoever wrote it: what becomes of a commit is known by nobody else.
    "CREATE TABLE written (id bigint PRIMARY KEY)",
)
_WRITE = """
    WITH new AS (
        INSERT INTO shown (at, what, price)
        SELECT %(at)s + i * interval '1 second', 'row ' || i, i / 4.0 FROM generate_series(1, %(rows)s) AS i
        RETURNING id
    )
    INSERT INTO written SELECT id FROM new
"""


def schedule(seed: int) -> Schedule:
    return made(seed, KINDS, ("write", "ask"), seconds=4)


class Hourly(World):
    """A log, from PostgreSQL to BigQuery."""

    def __init__(self, here: Deployment, ways: Ways) -> None:
        super().__init__(here, ways)
        self.services = HourlyServices.from_environment()
        with psycopg.connect(here.dsn, autocommit=True) as connection:
            for statement in _TABLES:
                connection.execute(statement)

    def play(self, of: Schedule) -> Found:
        """Let the schedule happen; what is wrong when all has come to its end."""
        began = time.monotonic()
        self._happen(of)
        self._wait_for(self._calls)
        self._heal()
        self._check_leaks(HELD)
        self._check_logs()
        return Found(list(self._told), 0, time.monotonic() - began)

    # What happens

    def _write(self, back: int, rows: int, seconds: float, end: str) -> None:
        at = Hour(datetime.now(UTC)).plus(-back).start.replace(tzinfo=None)

        def write() -> None:
            # What becomes of the server's restart is for the table `written` to say.
            with suppress(psycopg.OperationalError), psycopg.connect(self.here.dsn) as connection:
                connection.execute(_WRITE, {"at": at, "rows": rows})
                time.sleep(seconds)
                if end == "rollback":
                    connection.rollback()

        self._steps.append(Background(write))

    def _ask(self, what: str, instance: int, then: str, back: int) -> None:
        now = datetime.now(UTC)
        body: dict[str, object] = {"table_name": LOG}
        headers: dict[str, str] = {}
        if then == "delete":
            body["delete_from_source"] = True
        if what == "hour":
            hour = Hour(now).plus(-back)
            body |= {"date": f"{hour.start:%Y%m%d}", "hour": hour.start.hour}
        elif what == "hour ahead":
            headers["X-CloudScheduler-ScheduleTime"] = (now + timedelta(hours=1)).isoformat()
        url = self._instance("hourly_export", instance).url
        self._calls.append(Background(lambda: self._call(url, body, headers)))

    def _restore(self, back: int) -> None:
        hour = Hour(datetime.now(UTC)).plus(-back)

        def restore() -> None:
            with run.opened(self.services, self.services.catalog.hourly[LOG]) as opened:
                Restore(opened, hour, "chaos").go()

        self._operate(restore)

    def _change(self) -> None:
        """Somebody changes a row that may have been exported: it stays in the source."""
        with suppress(psycopg.OperationalError), psycopg.connect(self.here.dsn) as connection:
            connection.execute("UPDATE shown SET at = at WHERE id = (SELECT max(id) FROM shown)")

    # How it comes to its end

    def _heal(self) -> None:
        for _ in range(6):
            status, answer = self._call(self.here.url("hourly_export"), {"table_name": LOG}, {})
            if status == HTTPStatus.OK and not answer["remaining"] and not self._differences():
                break
            time.sleep(0.3)
        else:
            self._told.append(f"stuck: {status} {answer}")
        if failed := answer.get("failed"):
            self._told.append(f"stuck: {failed}")
        self._told += self._differences()

    def _differences(self) -> list[str]:
        found = []
        with psycopg.connect(self.here.dsn) as connection:
            written = {id_ for (id_,) in connection.execute("SELECT id FROM written")}
            source = {id_ for (id_,) in connection.execute("SELECT id FROM shown")}
        brought = self._brought()
        if doubled := sorted(id_ for id_, times in brought.items() if times > 1):
            found.append(f"doubled: {doubled[:10]} of {len(doubled)}")
        if lost := sorted(written - brought.keys()):
            gone = sorted(set(lost) - source)
            found.append(f"lost: {lost[:10]} of {len(lost)}, {len(gone)} of them gone from the source")
        if strange := sorted(brought.keys() - written):
            found.append(f"doubled: never written: {strange[:10]} of {len(strange)}")
        return found

    def _brought(self) -> Mapping[int, int]:
        """How often BigQuery has each key."""
        query = f"SELECT id, COUNT(*) FROM raw_local.{LOG} GROUP BY id"
        try:
            return dict(row.values() for row in self.here.bigquery_client.query(query).result())
        except NotFound:
            return {}


@contextmanager
def hourly() -> Iterator[Hourly]:
    start = datetime.now(UTC) - timedelta(hours=BACK + 1)
    env = {"HOURLY_START": str(Hour(start)), "HOURLY_LATE_HOURS": str(LATE)}
    with deployed("hourly", {"hourly_export": Spec("http", instances=2)}, env) as (here, ways):
        yield Hourly(here, ways)
