"""The hourly flow by chance: writers that commit late, calls that meet each other, and whatever may happen to them."""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
from google.api_core.exceptions import NotFound

from local.cloud import Deployment
from local.functions import Instance, Runtime, Spec
from shared.hourly import run
from shared.hourly.accept import accept
from shared.hourly.manifest import State
from shared.hourly.names import LogFolder
from shared.hourly.restore import Restore
from shared.hourly.store import Store
from shared.names import Hour
from shared.operate import verify
from shared.services import HourlyServices
from tests.chaos.schedule import Kind, Schedule, made
from tests.chaos.world import ACTS, HELD, PATIENCE, Heard, Ways, World, deployed, each, faults, one_of
from tests.kit.background import Background
from tests.kit.messages import subscribed

LOG = "shown"
#: Hours, back from the one that is now, that writers write to; each is looked at for late rows.
BACK, LATE = 3, 6
#: Calls that have to be enough, however fast the machine is.
CALLS = 6

_back, _back_or_now = one_of(*range(1, BACK + 1)), one_of(*range(BACK + 1))
KINDS = {
    "write": Kind(
        10,
        each(
            one_of(0, *range(1, BACK + 1)),
            one_of(1, 20, 300),
            one_of(0, 0, 0.3, 1),
            one_of("commit", "commit", "rollback"),
        ),
    ),
    "ask": Kind(
        10, each(one_of("due", "due", "hour", "hour ahead"), one_of(0, 1), one_of("keep", "keep", "delete"), _back)
    ),
    "restore": Kind(2, each(_back)),
    "accept": Kind(2, each(_back)),
    "change": Kind(1),
    "clock": Kind(2, each(one_of(0, 1), one_of(1, -1))),
    **faults(
        one_of("hourly_export"),
        one_of("COMMIT", "COPY", "SNAPSHOT", "advisory", "DELETE FROM .* AS log", "SET LOCAL", "BEGIN", "."),
        one_of(
            ("GET", "manifests"),
            ("POST", "upload.*manifests"),
            ("POST", "upload"),
            ("PUT", "upload_id"),
            ("GET", "keys"),
        ),
        one_of(("POST", "/jobs"), ("GET", "/jobs/"), ("GET", "/tables/"), ("GET", "/queries/")),
    ),
}

_TABLES = (
    "CREATE TABLE shown (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamp, what text, price numeric)",
    "CREATE INDEX ON shown (at)",
    # What was committed, by whoever wrote it: what becomes of a commit is known by nobody else.
    "CREATE TABLE written (id bigint PRIMARY KEY, at timestamp, what text, price numeric)",
)
_WRITE = """
    WITH new AS (
        INSERT INTO shown (at, what, price)
        SELECT %(at)s + i * interval '1 second', 'row ' || i, i / 4.0 FROM generate_series(1, %(rows)s) AS i
        RETURNING id, at, what, price
    )
    INSERT INTO written SELECT id, at, what, price FROM new
"""


def schedule(seed: int) -> Schedule:
    return made(seed, KINDS, ("write", "ask"), ACTS)


class Hourly(World):
    """A log, from PostgreSQL to BigQuery."""

    def __init__(self, here: Deployment, ways: Ways, done: Heard) -> None:
        super().__init__(here, ways)
        self.done = done
        self.services = HourlyServices.from_environment()
        self._ahead = dict.fromkeys(here.all_instances, 0)
        self._were_right = True
        #: Whether rows were asked to go: what was begun of that goes on when it is asked for again.
        self._deletes = False
        #: When the schedule began: its acts are about the same hours, though the hour may turn meanwhile.
        self._now = datetime.now(UTC)
        #: What had ended when it was asked for last: the hour may turn between that call and the judgement.
        self._ended = Hour(self._now)
        #: Keys of rows that PostgreSQL had when an operator said that BigQuery has what it should.
        self._accepted: set[int] = set()
        with psycopg.connect(here.dsn, autocommit=True) as connection:
            for statement in _TABLES:
                connection.execute(statement)

    def _env(self, instance: Instance) -> Mapping[str, str]:
        return {**self.here.env, "CLOCK_AHEAD": str(self._ahead[instance])}

    def _play(self, of: Schedule) -> int:
        self._were_right, self._deletes, heard = True, False, len(self.done.messages)
        self._now = datetime.now(UTC)
        self._happen(of)
        self._end_faults()
        wrong = [instance for instance, ahead in self._ahead.items() if ahead]
        self._ahead = dict.fromkeys(self._ahead, 0)
        self._renew(*wrong)
        self._wait_for(self._steps)
        self._heal()
        if self._sleepers:
            self._wait_for(self._sleepers)
            self._told += self._differences()
        self._check_leaks(HELD)
        self._check_days()
        self._check_messages(heard)
        self._check_logs()
        return 0

    def _judge_refusal(self, status: int, body: bytes) -> None:
        """A function whose clock is behind is right to refuse an hour that has ended for others."""
        if self._were_right or b"has not ended yet" not in body:
            super()._judge_refusal(status, body)

    # What happens

    def _write(self, back: int, rows: int, seconds: float, end: str) -> None:
        at = Hour(self._now).plus(-back).start.replace(tzinfo=None)

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
            body["delete_from_source"] = self._deletes = True
        if what == "hour":
            hour = Hour(self._now).plus(-back)
            body |= {"date": f"{hour.start:%Y%m%d}", "hour": hour.start.hour}
        elif what == "hour ahead":
            headers["X-CloudScheduler-ScheduleTime"] = (now + timedelta(hours=1)).isoformat()
        url = self._instance("hourly_export", instance).url
        self._calls.append(Background(lambda: self._call(url, body, headers)))

    def _restore(self, back: int) -> None:
        hour = Hour(self._now).plus(-back)

        def restore() -> None:
            with run.opened(self.services, self.services.catalog.hourly[LOG]) as opened:
                Restore(opened, hour, "chaos").go()

        self._operate(restore)

    def _accept(self, back: int) -> None:
        hour = Hour(self._now).plus(-back)

        def accept_hour() -> None:
            with run.opened(self.services, self.services.catalog.hourly[LOG]) as opened:
                accepted = accept(opened, hour, "chaos", "by chance").acceptance
                for file in accepted.keys if accepted else ():
                    version = file.version(self.here.hourly_bucket)
                    content = self.services.storage.read(version) or b""
                    self._accepted |= set(pq.read_table(io.BytesIO(content))["key"].to_pylist())

        self._operate(accept_hour)

    def _clock(self, number: int, hours: int) -> None:
        instance = self._instance("hourly_export", number)
        self._were_right, self._ahead[instance] = False, hours
        self._renew(instance)

    def _change(self) -> None:
        """Somebody changes a row that may have been exported: it stays in the source."""
        with suppress(psycopg.OperationalError), psycopg.connect(self.here.dsn) as connection:
            connection.execute("UPDATE shown SET at = at WHERE id = (SELECT max(id) FROM shown)")

    # How it comes to its end

    def _heal(self) -> None:
        deadline = time.monotonic() + PATIENCE
        body = {"table_name": LOG, "delete_from_source": self._deletes}
        for call in itertools.count():
            self._ended = Hour(datetime.now(UTC))
            status, answer = self._call(self.here.url("hourly_export"), body, {})
            differences = self._differences()
            self._found.calls += 1
            if status == HTTPStatus.OK and not answer["remaining"] and not differences:
                break
            if call >= CALLS and time.monotonic() > deadline:
                self._told.append(f"stuck: {status} {answer}")
                break
            time.sleep(0.3)
        if failed := answer.get("failed"):
            self._told.append(f"stuck: {failed}")
        self._told += differences

    def _differences(self) -> list[str]:
        found = []
        with psycopg.connect(self.here.dsn) as connection:
            written = {id_ for (id_,) in connection.execute("SELECT id FROM written")}
            ended = {
                id_
                for (id_,) in connection.execute(
                    "SELECT id FROM written WHERE at < %s", [self._ended.start.replace(tzinfo=None)]
                )
            }
            source = {id_ for (id_,) in connection.execute("SELECT id FROM shown")}
        brought = self._brought()
        if doubled := sorted(id_ for id_, times in brought.items() if times > 1):
            found.append(f"doubled: {doubled[:10]} of {len(doubled)}")
        # What was accepted is on no way to BigQuery any more. It has to be somewhere.
        owed = (ended - (self._accepted & source)) | (written - source)
        if lost := sorted(owed - brought.keys()):
            gone = sorted(set(lost) - source)
            found.append(f"lost: {lost[:10]} of {len(lost)}, {len(gone)} of them gone from the source")
        if strange := sorted(brought.keys() - written):
            found.append(f"doubled: never written: {strange[:10]} of {len(strange)}")
        return found

    def _check_days(self) -> None:
        """BigQuery, the manifests and the objects say the same, and the rows are as they were written."""
        days = Hour(self._now).plus(-LATE).day, Hour(datetime.now(UTC)).day
        log = self.services.catalog.hourly[LOG]
        verdicts = self._retried(lambda: list(verify.days(self.services, log, *days, lambda: None)))
        self._told += [f"apart: {what}" for verdict in verdicts for what in verdict.differences]
        with psycopg.connect(self.here.dsn) as connection:
            written = set(connection.execute("SELECT id, at, what, price FROM written"))
        rows = self._rows(f"SELECT id, `at`, what, price FROM raw_local.{LOG}")
        if others := {(id_, at.replace(tzinfo=None), what, price) for id_, at, what, price in rows} - written:
            self._told.append(f"lost: {len(others)} rows are others in BigQuery: {list(others)[:3]}")

    def _check_messages(self, heard: int) -> None:
        """Of each hour, the last message tells of all that is verified, and of those after so many that were heard,
        none came before an earlier one.
        """
        settings = self.services.settings
        store = Store(self.services.storage, settings.bucket, LogFolder(settings.prefix, LOG))
        records = {
            str(Hour.of_day(day, int(number))): record
            for day in store.listing()
            if (found := store.read(day)) is not None
            for number, record in found.hours.items()
        }
        due = {hour: record for hour, record in records.items() if record.batches or record.state == State.EMPTY}

        def untold() -> list[str]:
            last = {each.data["hour"]: each.data for each in self.done.messages}
            return [
                f"{hour}: {last.get(hour)}, has batch {len(record.batches)}, {record.content.rows} rows"
                for hour, record in due.items()
                if (last[hour]["rows"] if hour in last else None) != record.content.rows
            ]

        if not self.done.until(lambda: not untold()):
            self._told += [f"untold: {what}" for what in untold()]
        self._told += [f"leak: {hour} owes a message" for hour, record in records.items() if record.owes]
        self._told += [
            f"leak: {hour} is {record.state}"
            for hour, record in records.items()
            if not record.settled
            and (self._deletes or record.state != State.DELETING)
            and Hour.parse(hour) < self._ended
        ]
        for hour in records if self._were_right else ():
            times = [each.data["verified_at"] for each in self.done.messages[heard:] if each.data["hour"] == hour]
            if times != sorted(times):
                self._told.append(f"untold: batches of {hour} in their order: {times}")

    def _brought(self) -> Mapping[int, int]:
        """How often BigQuery has each key."""
        return dict(self._rows(f"SELECT id, COUNT(*) FROM raw_local.{LOG} GROUP BY id"))

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        """What BigQuery says, if there is a table."""
        try:
            return [row.values() for row in self.here.bigquery_client.query(query).result()]
        except NotFound:
            return []


@contextmanager
def hourly() -> Iterator[Hourly]:
    start = datetime.now(UTC) - timedelta(hours=BACK + 1)
    env = {"HOURLY_START": str(Hour(start)), "HOURLY_LATE_HOURS": str(LATE)}
    clocked = Runtime(warm=True, source=Path(__file__).parent / "clocked")
    with (
        deployed("hourly", {"hourly_export": Spec("http", instances=2)}, env, clocked) as (here, ways),
        subscribed(here, here.hour_done_topic, "of-hours") as hours,
    ):
        yield Hourly(here, ways, Heard(hours))
