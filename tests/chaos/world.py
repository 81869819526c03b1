"""What both flows meet by chance: functions that are killed and frozen, ways that break, services that refuse."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import psycopg

from local import proxy
from local.cloud import Cloud, Deployment
from local.functions import WARM, Instance, Runtime, Spec
from local.postgres import RELAXED
from local.strict_storage import Break, Faults, Rules
from shared.catalog import FOLDER_VARIABLE
from shared.errors import SyncError
from tests.chaos.schedule import Kind, Schedule
from tests.chaos.ways import FailingJobs, Storm, Way, way
from tests.kit.background import Background
from tests.kit.cut import Where
from tests.kit.messages import Message, Subscription

CATALOG = Path(__file__).parent / "catalog"
ROWS_PER_PART = 350
#: A function's life, after which a frozen one is held to be dead. On a busy machine, one that works must not be.
LIFE = 10
#: Seconds that acts are spread over, and that a world may take to come to rest: a machine may be busy.
ACTS, PATIENCE = 2, 120

#: Seconds for which one thread of this process has the interpreter while others wait.
SWITCHED = 0.0005

type Choice = Callable[[Random], object]


def one_of(*options: object) -> Choice:
    return lambda chance: chance.choice(options)


def between(least: float, most: float) -> Choice:
    return lambda chance: round(chance.uniform(least, most), 2)


def each(*choices: Choice) -> Callable[[Random], tuple[object, ...]]:
    return lambda chance: tuple(choice(chance) for choice in choices)


_STATUSES = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.INTERNAL_SERVER_ERROR)
_READ = (*_STATUSES, Break.RESET, Break.LOST, Break.CUT, Break.SLOW)
_WRITTEN = (HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT)


def faults(functions: Choice, messages: Choice, requests: Choice, asked: Choice) -> dict[str, Kind]:
    """The kinds of faults, of these functions, messages to PostgreSQL, and requests to Cloud Storage and BigQuery."""
    return {
        "kill": Kind(4, each(functions, one_of(0, 1), between(0, 0.5))),
        "freeze": Kind(3, each(functions, one_of(0, 1), between(0.1, 1))),
        "freeze_long": Kind(1, each(functions, one_of(0, 1))),
        "cut": Kind(2),
        "cut_at": Kind(6, each(messages, one_of(*Where), one_of(0, 0, 0, 1, 3, 10))),
        "restart_server": Kind(1, each(one_of("fast", "immediate"))),
        "break_storage": Kind(4, _of_storage(requests)),
        "break_bigquery": Kind(3, each(asked, one_of(*_STATUSES, Break.LOST, Break.SLOW), one_of(1, 1, 3))),
        "fail_jobs": Kind(2, each(one_of(1, 1, 3))),
        "storm": Kind(2, each(between(0.1, 1.5))),
        "refuse_messages": Kind(2, each(between(0.1, 1))),
    }


def _of_storage(requests: Choice) -> Callable[[Random], tuple[object, ...]]:
    """What becomes of a request to Cloud Storage. No precondition and no other change get in the way of a read."""

    def choose(chance: Random) -> tuple[object, ...]:
        request = requests(chance)
        options = _READ if isinstance(request, tuple) and request[0] == "GET" else (*_READ, *_WRITTEN)
        return request, chance.choice(options), chance.choice((1, 1, 3))

    return choose


@dataclass
class Found:
    """What was wrong in the end, each with the kind of outcome that it is; how much was read; how many calls it took to
    heal what was left; how many faults were to be met, of each kind, and how many were not.
    """

    wrong: list[str] = field(default_factory=list)
    reads: int = 0
    seconds: float = 0
    calls: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    unmet: Counter[str] = field(default_factory=Counter)

    @property
    def kinds(self) -> set[str]:
        """The kinds of outcomes that are wrong."""
        return {what.partition(":")[0] for what in self.wrong}


@dataclass(frozen=True)
class Ways:
    """What stands between functions and services."""

    postgres: Way
    pubsub: Way
    storage: Faults
    manifests: Storm
    bigquery: Faults
    jobs: FailingJobs

    def clear(self) -> None:
        """No more faults."""
        for each_ in (self.postgres, self.pubsub, self.storage, self.manifests, self.bigquery, self.jobs):
            each_.clear()

    def unmet(self) -> Iterator[str]:
        """The faults that nothing has met yet."""
        yield from (f"PostgreSQL {pattern}" for pattern in self.postgres.unmet())
        yield from (f"Cloud Storage {request}" for request in self.storage.unmet())
        yield from (f"BigQuery {request}" for request in self.bigquery.unmet())
        yield from self.manifests.unmet()
        yield from self.jobs.unmet()


class Heard:
    """What a subscriber has heard so far, each message once, in the order in which they first came."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._ids: set[str] = set()
        self.messages: list[Message] = []

    def forget(self) -> None:
        """Begin anew: what comes again of before is no news."""
        self.until(lambda: True)
        self.messages.clear()

    def until(self, condition: Callable[[], bool], seconds: float = 20) -> bool:
        """Listen until the condition holds, and to what has come by then; whether it does."""
        deadline = time.monotonic() + seconds
        while True:
            taken = self._subscription.take()
            for message in taken:
                if message.attributes["ce-id"] not in self._ids:
                    self._ids.add(message.attributes["ce-id"])
                    self.messages.append(message)
            if not taken and condition():
                return True
            if time.monotonic() > deadline:
                return False
            if not taken:
                time.sleep(0.05)


class World:
    """One deployment, which goes from schedule to schedule. Acts are methods, with `_` before their name."""

    def __init__(self, here: Deployment, ways: Ways) -> None:
        self.here, self._ways = here, ways
        self._calls: list[Background] = []
        self._steps: list[Background] = []
        #: Those who wake the frozen.
        self._sleepers: list[Background] = []
        self._turns = {instance: threading.Lock() for instance in here.all_instances}
        self._found = Found()
        self._told = self._found.wrong
        self._chance = Random(0)  # noqa: S311
        self._read_up_to: dict[Path, int] = {}

    def play(self, of: Schedule) -> Found:
        """Let the schedule happen; what is wrong when all has come to its end."""
        began, self._found, self._chance = time.monotonic(), Found(), Random(of.seed)  # noqa: S311
        self._told = self._found.wrong
        self._found.reads = self._play(of)
        self._found.seconds = time.monotonic() - began
        return self._found

    def _play(self, of: Schedule) -> int:
        """The schedule, and how it comes to its end; how much was read meanwhile."""
        raise NotImplementedError

    def _env(self, instance: Instance) -> Mapping[str, str]:
        """The environment in which an instance is to be now."""
        return self.here.env

    def _happen(self, of: Schedule) -> None:
        """Let the schedule happen, and its calls end."""
        start = time.monotonic()
        for act in of.acts:
            time.sleep(max(0, start + act.at - time.monotonic()))
            getattr(self, f"_{act.what}")(*act.arguments)
        self._wait_for(self._steps)
        self._wait_for(self._calls)

    def _end_faults(self) -> None:
        """No more faults; those that nothing has met are noted."""
        self._found.unmet.update(self._ways.unmet())
        self._ways.clear()

    def _retried[T](self, step: Callable[[], T]) -> T:
        """What a step gives, though others may be in its way for a moment."""
        deadline = time.monotonic() + PATIENCE / 4
        while True:
            try:
                return step()
            except SyncError as e:
                if not e.retryable or time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def _kill(self, function: str, number: int, pause: float) -> None:
        instance = self._instance(function, number)
        turn = self._turns[instance]
        if not turn.acquire(blocking=False):  # it is down, or comes up
            return
        instance.kill()

        def restart() -> None:
            try:
                instance.restart(self._env(instance))
            finally:
                turn.release()

        self._later(pause, restart)

    def _renew(self, *instances: Instance) -> None:
        """Restart instances, each in the environment in which it is to be now."""

        def restart(instance: Instance) -> None:
            with self._turns[instance]:
                instance.restart(self._env(instance))

        self._steps += [Background(partial(restart, instance)) for instance in instances]

    def _freeze(self, function: str, number: int, seconds: float) -> None:
        instance = self._instance(function, number)
        with suppress(OSError, IndexError):  # it was killed
            pid = instance.worker_pid
            os.kill(pid, signal.SIGSTOP)
            self._sleepers.append(_after(seconds, lambda: os.kill(pid, signal.SIGCONT)))

    def _freeze_long(self, function: str, number: int) -> None:
        self._freeze(function, number, LIFE + 2)

    def _cut(self) -> None:
        self._ways.postgres.cut()

    def _cut_at(self, message: str, where: Where, after: int) -> None:
        self._found.faults[f"PostgreSQL {message}"] += 1
        self._ways.postgres.cut_at(message.encode(), where, after)

    def _restart_server(self, mode: str) -> None:
        self.here.cloud.postgres.restart(mode)

    def _break_storage(self, request: tuple[str, str], fault: HTTPStatus | Break, times: int) -> None:
        self._found.faults[f"Cloud Storage {' '.join(request)}"] += 1
        self._ways.storage.next(*request, fault, times)

    def _break_bigquery(self, request: tuple[str, str], fault: HTTPStatus | Break, times: int) -> None:
        self._found.faults[f"BigQuery {' '.join(request)}"] += 1
        self._ways.bigquery.next(*request, fault, times)

    def _fail_jobs(self, times: int) -> None:
        self._found.faults["job"] += 1
        self._ways.jobs.next(times)

    def _storm(self, seconds: float) -> None:
        self._found.faults["storm"] += 1
        self._ways.manifests.last(seconds)

    def _refuse_messages(self, seconds: float) -> None:
        self._ways.pubsub.refuse = True
        self._ways.pubsub.cut()
        self._later(seconds, self._ways.pubsub.clear)

    def _check_leaks(self, queries: Mapping[str, str]) -> None:
        """What is left though nothing is under way. The server ends the session of a client that is gone within
        seconds.
        """
        deadline = time.monotonic() + 10
        with psycopg.connect(self.here.dsn, autocommit=True) as connection:
            while True:
                found = {what: connection.execute(query.encode()).fetchall() for what, query in queries.items()}
                if not any(found.values()) or time.monotonic() > deadline:
                    break
                time.sleep(0.1)
        self._told += [f"leak: {what}: {rows[:5]}" for what, rows in found.items() if rows]

    def _check_logs(self) -> None:
        for path in sorted(self.here.cloud.folder.glob(f"{self.here.name}-*.log")):
            with path.open() as lines:
                lines.seek(self._read_up_to.get(path, 0))
                for line in iter(lines.readline, ""):
                    self._judge(line)
                self._read_up_to[path] = lines.tell()

    def _judge(self, line: str) -> None:
        try:
            entry = json.loads(line)
        except ValueError:
            if not line.startswith("["):  # gunicorn's own
                self._told.append(f"unclear: a line that is no JSON: {line.strip()[:300]}")
            return
        if "crashed" in str(entry.get("message")) or "Report this as a bug" in line:
            self._told.append(f"unclear: {line.strip()[:1500]}")

    def _call(self, url: str, body: object, headers: Mapping[str, str]) -> tuple[int, dict[str, object]]:
        """The status and the answer of a call; 0 where there was none, because it was killed. Whatever happens to what
        it needs, no call is a mistake, and each answer says what became of it.
        """
        request = urllib.request.Request(  # noqa: S310 - the address is a function's own
            url, json.dumps(body).encode(), {"content-type": "application/json", **headers}
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as response:  # noqa: S310
                return response.status, json.load(response)
        except urllib.error.HTTPError as e:
            with e, suppress(OSError, HTTPException):
                self._judge_refusal(e.code, e.read())
            return e.code, {}
        except (OSError, HTTPException):
            return 0, {}

    def _judge_refusal(self, status: int, body: bytes) -> None:
        try:
            told = json.loads(body)
        except ValueError:
            told = None
        if status < HTTPStatus.INTERNAL_SERVER_ERROR or not isinstance(told, dict):
            self._told.append(f"unclear: a call was answered {status} {body[:300]!r}")

    def _operate(self, step: Callable[[], object]) -> None:
        """What an operator does: all that he may see of a failure is one of ours."""

        def run() -> None:
            with suppress(SyncError):
                step()

        self._steps.append(Background(run))

    def _later(self, seconds: float, step: Callable[[], object]) -> None:
        self._steps.append(_after(seconds, step))

    def _instance(self, function: str, number: int) -> Instance:
        instances = self.here.instances[function]
        return instances[number % len(instances)]

    def _wait_for(self, steps: list[Background]) -> None:
        for step in steps:
            try:
                step.result(PATIENCE)
            except AssertionError:
                self._told.append(f"stuck: a step is at it for {PATIENCE} s")
            except Exception as e:  # noqa: BLE001 - whatever it is, there should be none
                self._told.append(f"unclear: {type(e).__name__} {e}")
        steps.clear()


def _after(seconds: float, step: Callable[[], object]) -> Background:
    """Take a step in so many seconds."""

    def run() -> None:
        time.sleep(seconds)
        with suppress(ProcessLookupError):
            step()

    return Background(run)


#: What nobody may hold in the end.
HELD = {
    "advisory locks": "SELECT objid, pid FROM pg_locks WHERE locktype = 'advisory'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    "transactions": "SELECT pid, application_name, state FROM pg_stat_activity WHERE datname = current_database()"
    " AND state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()",
}


@contextmanager
def deployed(
    name: str, functions: Mapping[str, Spec], env: Mapping[str, str], runtime: Runtime = WARM
) -> Iterator[tuple[Deployment, Ways]]:
    """A cloud of its own, whose functions reach everything by ways that break. This process reaches it directly."""
    with ExitStack() as stack:
        # The ways are threads that hand on one message after the other, beside readers that have much to do.
        stack.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(SWITCHED)
        cloud = stack.enter_context(Cloud(ROWS_PER_PART, RELAXED, runtime, in_memory=True))
        dsn = cloud.postgres.dsn(name)
        server = str(psycopg.conninfo.conninfo_to_dict(dsn)["port"])
        postgres, port = stack.enter_context(way("127.0.0.1", int(server), spoken=True))
        topics = urlsplit(f"//{cloud.pubsub.host}")
        pubsub, topic = stack.enter_context(way(str(topics.hostname), int(topics.port or 0), spoken=False))
        storage = stack.enter_context(proxy.standing_before(cloud.storage.url))
        stack.enter_context(storage.fault(Rules()))
        bigquery = stack.enter_context(proxy.standing_before(cloud.bigquery.url))
        ways = Ways(
            postgres,
            pubsub,
            stack.enter_context(storage.fault(Faults())),
            stack.enter_context(storage.fault(Storm())),
            stack.enter_context(bigquery.fault(Faults())),
            stack.enter_context(bigquery.fault(FailingJobs())),
        )
        through = {
            FOLDER_VARIABLE: str(CATALOG),
            "DATABASE_URL": dsn.replace(f":{server}/", f":{port}/"),
            "STORAGE_EMULATOR_HOST": storage.url,
            "BIGQUERY_EMULATOR_HOST": bigquery.url,
            "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{topic}",
            "FUNCTION_TIMEOUT_SECONDS": str(LIFE),
        }
        here = stack.enter_context(cloud.deploy(name, functions, {**through, **env}))
        before = dict(os.environ)
        stack.callback(lambda: (os.environ.clear(), os.environ.update(before)))
        os.environ.update(here.env | cloud.env | {"DATABASE_URL": here.dsn})
        yield here, ways
