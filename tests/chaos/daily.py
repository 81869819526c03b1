"""The daily flow by chance: real functions, PostgreSQL and emulators, and whatever may happen to them at once."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import psycopg

from local import eventarc, proxy
from local.cloud import Cloud, Deployment
from local.functions import WARM, Instance, Spec
from local.strict_storage import Break, Faults, Rules
from shared.catalog import FOLDER_VARIABLE
from shared.daily import refresh
from shared.errors import SyncError
from shared.operate import decisions, migrate
from shared.services import Services
from shared.settings import DatabaseUrl
from shared.upkeep import housekeeping, reconcile
from tests.chaos import readers
from tests.chaos.readers import Reader
from tests.chaos.schedule import Kind, Schedule, made
from tests.chaos.ways import Way, way
from tests.kit.background import Background
from tests.kit.cut import Where

CATALOG = Path(__file__).parent / "catalog"
TABLES, VIEWS = ("a", "b"), ("a_mv", "both_mv")
ROWS_PER_PART = 600
FUNCTIONS = {
    "bq_export": Spec("http"),
    "gcs_import": Spec("cloudevent", "storage", instances=2),
    "mv_refresh": Spec("cloudevent", "topic", instances=2),
    "hourly_export": Spec("http"),
}
#: As short as a function's life may be: a frozen one is held to be dead after it.
LIFE = 10

#: Rows of a state of the source: a hold is about a change of a thousand.
FULL, SHRUNK, EMPTY = (1_600, 2_400), (300, 500), (0, 0)


def _one_of(*options: object) -> Callable[[Random], object]:
    return lambda chance: chance.choice(options)


def _between(least: float, most: float) -> Callable[[Random], object]:
    return lambda chance: round(chance.uniform(least, most), 2)


def _all(*each: Callable[[Random], object]) -> Callable[[Random], tuple[object, ...]]:
    return lambda chance: tuple(one(chance) for one in each)


_instance = _one_of("gcs_import", "gcs_import", "mv_refresh", "bq_export")
_MESSAGES = ("COMMIT", "COPY", "INHERIT", "RENAME", "advisory", "recosync.publication", "recosync.part", "REFRESH", ".")
_REQUESTS = (("GET", "/o/"), ("GET", "/o\\?"), ("POST", "upload"), ("PUT", "upload_id"), ("GET", "parquet"))
_STATUSES = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.INTERNAL_SERVER_ERROR)
_STORAGES = (*_STATUSES, HTTPStatus.PRECONDITION_FAILED, Break.RESET, Break.LOST, Break.CUT)
_ASKED = (("POST", "/jobs"), ("GET", "/jobs/"), ("GET", "/tables/"), ("POST", "/queries"), ("DELETE", "/tables/"))

KINDS = {
    "fill": Kind(6, _all(_one_of("full", "full", "full", "full", "shrunk", "empty"), _one_of(*TABLES))),
    "export": Kind(10, _all(_one_of(1, 1, 1, 2, 3), _one_of("planned", "planned", "late", "force", "date"))),
    "events": Kind(4, _all(_one_of(1, 1, 2), _one_of(0, 0, 0.3), _one_of(0, 0.3, 1.5))),
    "kill": Kind(4, _all(_instance, _one_of(0, 1), _between(0, 1))),
    "freeze": Kind(3, _all(_instance, _one_of(0, 1), _between(0.2, 2))),
    "freeze_long": Kind(1, _all(_one_of("gcs_import", "mv_refresh"), _one_of(0, 1))),
    "cut": Kind(2),
    "cut_at": Kind(6, _all(_one_of(*_MESSAGES), _one_of(*Where))),
    "restart_server": Kind(1, _all(_one_of("fast", "immediate"))),
    "break_storage": Kind(4, _all(_one_of(*_REQUESTS), _one_of(*_STORAGES), _one_of(1, 1, 3))),
    "break_bigquery": Kind(
        3, _all(_one_of(*_ASKED), _one_of(*_STATUSES, HTTPStatus.CONFLICT, Break.LOST), _one_of(1, 1, 3))
    ),
    "refuse_messages": Kind(2, _all(_between(0.2, 1.5))),
    "rollback": Kind(2, _all(_one_of(*TABLES))),
    "unpin": Kind(2, _all(_one_of(*TABLES))),
    "approve": Kind(2, _all(_one_of(*TABLES))),
    "reject": Kind(1, _all(_one_of(*TABLES))),
    "materialize": Kind(1, _all(_one_of(*VIEWS))),
    "migrate": Kind(1),
    "keep_house": Kind(1),
    "reconcile": Kind(2),
}


def schedule(seed: int) -> Schedule:
    return made(seed, KINDS, ("fill", "export"), seconds=4)


@dataclass
class Found:
    """What was wrong in the end, each with the kind of outcome that it is; how much was read."""

    wrong: list[str] = field(default_factory=list)
    reads: int = 0
    seconds: float = 0


class Daily:
    """One deployment, which goes from schedule to schedule."""

    def __init__(self, here: Deployment, ways: tuple[Way, Way], faults: tuple[Faults, Faults]) -> None:
        self.here = here
        self._postgres, self._pubsub = ways
        self._storage, self._bigquery = faults
        self.services = Services.from_environment(os.environ)
        direct = replace(self.services.settings, database=DatabaseUrl(here.dsn))
        self.services = replace(self.services, settings=direct)
        self._state = 0
        self._totals: dict[str, int] = {}
        self._calls: list[Background] = []
        self._steps: list[Background] = []
        self._told: list[str] = []
        self._back = 0
        self._chance = Random(0)  # noqa: S311
        self._read_up_to: dict[Path, int] = {}

    def play(self, of: Schedule) -> Found:
        """Let the schedule happen while readers read; what is wrong when all has come to its end."""
        began, self._told, self._back, self._chance = time.monotonic(), [], 0, Random(of.seed)  # noqa: S311
        delivered = len(self.here.eventarc.deliveries)
        api = self.here.cloud.postgres.dsn(self.here.name, "api")
        reading = [Reader(api, kind, what) for kind in readers.KINDS for what in (readers.OF_TABLES, readers.OF_VIEWS)]
        start = time.monotonic()
        for act in of.acts:
            time.sleep(max(0, start + act.at - time.monotonic()))
            getattr(self, f"_{act.what}")(*act.arguments)
        self._stop_faults()
        self._heal()
        for reader in reading:
            reader.stop()
        for reader in reading:
            self._told += [f"mixed: {what}" for what in reader.wrong]
            if reader.steps_back() > self._back:
                self._told.append(f"backwards: {reader.steps_back()} times, {self._back} asked for: {reader.seen}")
        self._check(delivered)
        return Found(list(self._told), sum(reader.reads for reader in reading), time.monotonic() - began)

    # What happens

    def _fill(self, how: str, *tables: str) -> None:
        self._wait_for_calls()
        self._state += 1
        least, most = {"full": FULL, "shrunk": SHRUNK, "empty": EMPTY}[how]
        for table in tables:
            self._totals[table] = total = self._chance.randint(least, most)
            rows = (
                f"SELECT CONCAT('k', CAST(i AS STRING)) AS k, {self._state} AS n, {total} AS total"
                f" FROM UNNEST(GENERATE_ARRAY(1, {max(total, 1)})) i{'' if total else ' WHERE FALSE'}"
            )
            self.here.bigquery_client.query(f"CREATE OR REPLACE TABLE seed_local.{table} AS {rows}").result()

    def _export(self, copies: int, how: str) -> None:
        now = datetime.now(UTC)
        headers, body = {"X-CloudScheduler-ScheduleTime": now.isoformat()}, {}
        if how == "late":
            headers = {"X-CloudScheduler-ScheduleTime": (now - timedelta(seconds=20)).isoformat()}
        elif how == "force":
            headers, body = {}, {"force": True}
        elif how == "date":
            headers, body = {}, {"date": f"{now - timedelta(days=1):%Y%m%d}"}
        self._calls += [Background(lambda: self._call("bq_export", body, headers)) for _ in range(copies)]

    def _events(self, copies: int, lost: float, late: float) -> None:
        seed = self._chance.random()

        def by_chance(event: eventarc.CloudEvent) -> float:
            return Random(f"{seed} {event.subject} {event.data}").random()  # noqa: S311

        self.here.eventarc.faults = eventarc.Faults(
            copies, drop=lambda event: by_chance(event) < lost, delay=lambda event: late * by_chance(event)
        )

    def _kill(self, function: str, number: int, pause: float) -> None:
        instance = self._instance(function, number)
        instance.kill()
        self._later(pause, instance.restart)

    def _freeze(self, function: str, number: int, seconds: float) -> None:
        instance = self._instance(function, number)
        with suppress(OSError, IndexError):  # it was killed
            pid = instance.worker_pid
            os.kill(pid, signal.SIGSTOP)
            self._later(seconds, lambda: os.kill(pid, signal.SIGCONT))

    def _freeze_long(self, function: str, number: int) -> None:
        self._freeze(function, number, LIFE + 2)

    def _cut(self) -> None:
        self._postgres.cut()

    def _cut_at(self, message: str, where: Where) -> None:
        self._postgres.cut_at(message.encode(), where)

    def _restart_server(self, mode: str) -> None:
        self.here.cloud.postgres.restart(mode)

    def _break_storage(self, request: tuple[str, str], fault: HTTPStatus | Break, times: int) -> None:
        self._storage.next(*request, fault, times)

    def _break_bigquery(self, request: tuple[str, str], fault: HTTPStatus | Break, times: int) -> None:
        self._bigquery.next(*request, fault, times)

    def _refuse_messages(self, seconds: float) -> None:
        self._pubsub.refuse = True
        self._pubsub.cut()
        self._later(seconds, self._pubsub.clear)

    def _rollback(self, table: str) -> None:
        self._back += 1
        self._operate(lambda: decisions.rollback(self.services, table, None, "chaos"))

    def _unpin(self, table: str) -> None:
        def unpin() -> None:
            decisions.unpin(self.services, table, "chaos")
            kept = decisions.kept_back(self.services, table)
            if kept is not None:
                decisions.bring(self.services, table, kept, "chaos")

        self._operate(unpin)

    def _approve(self, table: str) -> None:
        self._operate(lambda: decisions.approve(self.services, table, None, "chaos"))

    def _reject(self, table: str) -> None:
        self._operate(lambda: decisions.reject(self.services, table, None, "chaos"))

    def _materialize(self, view: str) -> None:
        self._operate(lambda: refresh.rebuild(self.services, self.services.catalog.views[view]))

    def _migrate(self) -> None:
        self._operate(lambda: migrate.migrate(self.services))

    def _keep_house(self) -> None:
        self._operate(lambda: housekeeping.run(self.services, datetime.now(UTC) + timedelta(days=4)))

    def _reconcile(self) -> None:
        self._operate(lambda: reconcile.run(self.services, datetime.now(UTC) + timedelta(hours=1)))

    # How it comes to its end

    def _stop_faults(self) -> None:
        self._wait_for(self._steps)
        self._postgres.clear()
        self._pubsub.clear()
        self._storage.clear()
        self._bigquery.clear()
        self.here.eventarc.faults = eventarc.Faults()
        self._wait_for_calls()

    def _heal(self) -> None:
        """What a human does who sees that something waits for a decision; then nothing but the daily calls."""
        for table in TABLES:
            for decide in (decisions.reject, decisions.unpin):
                with suppress(SyncError):
                    decide(self.services, table, *(() if decide is decisions.unpin else (None,)), "chaos")
        for call in range(4):
            self._fill("full", *(TABLES if call == 0 else ()))
            status = self._call("bq_export", {}, {})
            with suppress(TimeoutError):
                self.here.eventarc.wait_idle(20, quiet=0.3)
            if status == HTTPStatus.OK and self._differences() == []:
                return
            for table in TABLES:  # so far apart that a human has to look at it
                with suppress(SyncError):
                    decisions.approve(self.services, table, None, "chaos")
            time.sleep(1.1)
        self._told += [f"stuck: {what}" for what in self._differences()]

    def _differences(self) -> list[str]:
        """Where readers don't see the source as it is."""
        found = []
        with psycopg.connect(self.here.dsn, autocommit=True) as connection:
            for source in (*TABLES, *VIEWS):
                name = "name" if source in VIEWS else f"'{source}'"
                query = (
                    f"SELECT {name}, count(*), count(DISTINCT k), min(n), max(n) FROM {source} GROUP BY 1 ORDER BY 1"
                )
                try:
                    seen = connection.execute(query.encode()).fetchall()
                except psycopg.Error as e:
                    found.append(f"{source}: {e}")
                    continue
                read = TABLES if source == "both_mv" else (source.removesuffix("_mv"),)
                states = self._states
                wanted = [(name, self._totals[name], self._totals[name], states[name], states[name]) for name in read]
                if seen != wanted:
                    found.append(f"{source} has {seen}, should have {wanted}")
        return found

    @property
    def _states(self) -> dict[str, int]:
        return {
            table: next(iter(self.here.bigquery_client.query(f"SELECT max(n) FROM seed_local.{table}").result()))[0]
            for table in TABLES
        }

    def _check(self, delivered: int) -> None:
        """What is left where all has come to its end."""
        self._operate(lambda: housekeeping.run(self.services, datetime.now(UTC) + timedelta(days=4)))
        self._wait_for(self._steps)
        with psycopg.connect(self.here.dsn, autocommit=True) as connection:
            for what, query in _LEAKS.items():
                rows = connection.execute(query.encode()).fetchall()
                if rows:
                    self._told.append(f"leak: {what}: {rows[:5]}")
        last: dict[str, int] = {}
        for delivery in self.here.eventarc.deliveries[delivered:]:
            last[f"{delivery.function} {delivery.event.id}"] = delivery.status
        bad = {event: status for event, status in last.items() if status not in (200, 204)}
        if bad:
            self._told.append(f"stuck: events without an answer: {bad}")
        self._check_logs()

    def _check_logs(self) -> None:
        for path in sorted(self.here.cloud.folder.glob(f"{self.here.name}-*.log")):
            with path.open() as lines:
                lines.seek(self._read_up_to.get(path, 0))
                for line in lines:
                    self._judge(line)
                self._read_up_to[path] = lines.tell()

    def _judge(self, line: str) -> None:
        try:
            entry = json.loads(line)
        except ValueError:
            if "gunicorn" not in line and not line.startswith("["):
                self._told.append(f"unclear: a line that is no JSON: {line.strip()[:300]}")
            return
        if "crashed" in str(entry.get("message")):
            self._told.append(f"unclear: {line.strip()[:1500]}")

    # By what means

    def _call(self, function: str, body: object, headers: dict[str, str]) -> int:
        try:
            self.here.call(function, body, headers)
        except urllib.error.HTTPError as e:
            with e:
                return e.code
        except (OSError, HTTPException):
            return 0  # it was killed
        return HTTPStatus.OK

    def _operate(self, step: Callable[[], object]) -> None:
        def run() -> None:
            try:
                step()
            except SyncError:
                pass
            except Exception as e:  # noqa: BLE001 - whatever it is, an operator may not see it
                self._told.append(f"unclear: {step}: {type(e).__name__} {e}")

        self._steps.append(Background(run))

    def _later(self, seconds: float, step: Callable[[], object]) -> None:
        def run() -> None:
            time.sleep(seconds)
            with suppress(ProcessLookupError):
                step()

        self._steps.append(Background(run))

    def _instance(self, function: str, number: int) -> Instance:
        instances = self.here.instances[function]
        return instances[number % len(instances)]

    def _wait_for_calls(self) -> None:
        self._wait_for(self._calls)

    def _wait_for(self, steps: list[Background]) -> None:
        for step in steps:
            step.result(120)
        steps.clear()


_LEAKS = {
    "builds": "SELECT build_name FROM recosync.building",
    "views beside the live ones": "SELECT relname FROM pg_class WHERE relkind = 'm' AND relname ~ '^[0-9]{8}T'",
    "tables of parts that nobody knows": "SELECT relname FROM pg_class WHERE relnamespace = 'recosync'::regnamespace"
    " AND relkind = 'r' AND relname ~ '^part_[0-9]+$'"
    " AND substr(relname, 6)::bigint NOT IN (SELECT id FROM recosync.part)",
    "advisory locks": "SELECT objid, pid FROM pg_locks WHERE locktype = 'advisory'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    "transactions": "SELECT pid, application_name, state FROM pg_stat_activity WHERE datname = current_database()"
    " AND state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()",
}


@contextmanager
def daily() -> Iterator[Daily]:
    """A cloud of its own, whose functions reach everything by ways that break."""
    with ExitStack() as stack:
        cloud = stack.enter_context(Cloud(rows_per_part=ROWS_PER_PART, runtime=WARM, in_memory=True))
        name = "chaos"
        dsn = cloud.postgres.dsn(name)
        server = psycopg.conninfo.conninfo_to_dict(dsn)
        postgres, port = stack.enter_context(way("127.0.0.1", int(str(server["port"])), spoken=True))
        topic = urlsplit(f"//{cloud.pubsub.host}")
        pubsub, topics = stack.enter_context(way(str(topic.hostname), int(topic.port or 0), spoken=False))
        storage = stack.enter_context(proxy.standing_before(cloud.storage.url))
        stack.enter_context(storage.fault(Rules()))
        objects = stack.enter_context(storage.fault(Faults()))
        bigquery = stack.enter_context(proxy.standing_before(cloud.bigquery.url))
        jobs = stack.enter_context(bigquery.fault(Faults()))
        env = {
            FOLDER_VARIABLE: str(CATALOG),
            "DATABASE_URL": dsn.replace(f":{server['port']}/", f":{port}/"),
            "STORAGE_EMULATOR_HOST": storage.url,
            "BIGQUERY_EMULATOR_HOST": bigquery.url,
            "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{topics}",
            "FUNCTION_TIMEOUT_SECONDS": str(LIFE),
        }
        here = stack.enter_context(cloud.deploy(name, FUNCTIONS, env))
        before = dict(os.environ)
        stack.callback(lambda: (os.environ.clear(), os.environ.update(before)))
        os.environ.update(here.env | cloud.env)
        world = Daily(here, (postgres, pubsub), (objects, jobs))
        world._fill("full", *TABLES)
        world._heal()
        yield world
