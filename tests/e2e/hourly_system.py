"""The hourly flow as its users meet it: the API's log before, an HTTP call, BigQuery and the objects after."""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from http.client import HTTPException
from typing import Any
from urllib.parse import unquote

import psycopg

from local import context, hours
from local.cloud import Deployment
from local.proxy import Answer, CutOffError, Fault, Forward, Proxy, Request
from shared import catalog
from shared.catalog import BigQueryType, HourlyColumn, PgType
from tests.kit.answer_schemas import checked

HOUR = timedelta(hours=1)
LOG = catalog.load().hourly["past_offer_context"]
#: One column or more of each kind: rows are compared by these.
COLUMNS = (
    "id",
    "call_id",
    "context",
    "context_extra_data",
    "date",
    "user_clicks_count",
    "user_deposit_remaining_credit",
    "user_is_geolocated",
    "offer_user_distance",
    "offer_creation_date",
    "offer_item_score",
)

type Row = tuple[object, ...]


class Log:
    """One deployment of the function, with a proxy between it and each emulator."""

    def __init__(self, here: Deployment, storage: Proxy, bigquery: Proxy, start: datetime) -> None:
        self.here, self.storage, self.bigquery, self.start = here, storage, bigquery, start
        self.written: dict[datetime, dict[int, Row]] = {}
        self.deleting: set[datetime] = set()
        self.kept: set[int] = set()

    def write(self, at: datetime, rows: int, wide: int = 0) -> None:
        """Add rows to an hour, as the API does. Each may have `wide` times 32 bytes that no codec makes smaller."""
        with psycopg.connect(self.here.dsn) as connection:
            context.insert(connection, at, at + HOUR, rows)
            if wide:
                connection.execute(
                    "UPDATE past_offer_context SET context_extra_data = (SELECT jsonb_agg(md5(id || '/' || i))"
                    f" FROM generate_series(1, {wide}) AS i) WHERE {_within(at)}"
                )
        self.written[at] = self.written.get(at, {}) | self.in_postgres(at)

    def touch(self, key: int) -> None:
        """Change a row that is exported."""
        with psycopg.connect(self.here.dsn) as connection:
            connection.execute("UPDATE past_offer_context SET offer_order = -1 WHERE id = %s", [key])
        self.kept.add(key)

    def call(self, at: datetime, *, instance: int = 0, **body: object) -> tuple[int, dict[str, Any]]:
        """Call as Cloud Scheduler does after an hour; status and answer. Status 0: there was none."""
        if body.get("delete_from_source"):
            self.deleting.add(at)
        request = urllib.request.Request(  # noqa: S310 - the address is the test's own
            self.here.instances["hourly_export"][instance].url,
            json.dumps(body).encode(),
            {
                "content-type": "application/json",
                "X-CloudScheduler-ScheduleTime": (at + HOUR + timedelta(minutes=5)).isoformat(),
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as response:  # noqa: S310
                return response.status, checked("hourly_export", json.load(response))
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, checked("hourly_export", json.load(refusal))
        except (OSError, HTTPException):
            return 0, {}

    def settle(self, at: datetime, *, instance: int = 0, **body: object) -> dict[str, Any]:
        """Call until the server has noticed that a run before has died; nothing else is a reason to call again."""
        deadline = time.monotonic() + 30
        while (answer := self.call(at, instance=instance, **body))[0] == 500:
            assert "another worker is at it" in answer[1].get("error", ""), answer
            assert time.monotonic() < deadline, answer
            time.sleep(0.02)
        assert answer[0] == 200, answer
        assert (answer[1]["failed"], answer[1]["remaining"], answer[1]["audit"] or []) == ([], 0, [])
        return answer[1]

    def recover(self, at: datetime) -> None:
        """Make the next hour's call: then the hour must have all its rows everywhere, once."""
        self.settle(at + HOUR, delete_from_source=at in self.deleting)
        self.assert_exact(at)

    def assert_exact(self, at: datetime) -> None:
        """Nothing is lost, nothing doubled, nothing left over."""
        expected = Counter(self.written[at].values())
        assert Counter(self.in_bigquery(at)) == expected
        left = self.in_postgres(at)
        if at in self.deleting:
            assert left.keys() == self.kept & self.written[at].keys()
        else:
            assert Counter(left.values()) == expected
        record = hours.entry(self.here, LOG, at)
        assert record["state"] == ("deleted" if at in self.deleting else "done")
        assert self.objects(at) == _named(record)

    def in_postgres(self, at: datetime) -> dict[int, Row]:
        """The rows of an hour by their id, each value as BigQuery would have it."""
        columns = ", ".join(_as_bigquery(column) for column in LOG.columns if column.name in COLUMNS)
        with psycopg.connect(self.here.dsn, options="-c timezone=UTC") as connection:
            rows = connection.execute(f"SELECT {columns} FROM past_offer_context WHERE {_within(at)}".encode())
            return {row[0]: row for row in rows}

    def in_bigquery(self, at: datetime, columns: Collection[str] = COLUMNS) -> list[Row]:
        rows = self.here.bigquery_client.query(
            f"SELECT {', '.join(columns)} FROM {self._table}"
            f" WHERE import_date = DATE '{at:%Y-%m-%d}' AND import_hour = {at.hour}"
        ).result()
        return [row.values() for row in rows]

    @property
    def _table(self) -> str:
        return f"raw_{self.here.env['ENV_SHORT_NAME']}.past_offer_context"

    def objects(self, at: datetime) -> set[tuple[str, int]]:
        """Name and generation of each object in the folder of an hour."""
        prefix = f"{self.here.env['HOURLY_PREFIX']}/{LOG.name}/date={at:%Y%m%d}/hour={at:%H}/"
        blobs = self.here.storage_client.list_blobs(self.here.hourly_bucket, prefix=prefix)
        return {(blob.name, blob.generation) for blob in blobs}

    def erase(self, kind: str, at: datetime) -> None:
        """Delete an hour's parts, or the keys beside them."""
        for name, _ in self.objects(at):
            if f"/{kind}-" in name:
                self.here.storage_client.bucket(self.here.hourly_bucket).delete_blob(name)

    def erase_from_bigquery(self, at: datetime) -> None:
        """Delete an hour's rows there."""
        self.here.bigquery_client.query(
            f"DELETE FROM {self._table} WHERE import_date = DATE '{at:%Y-%m-%d}' AND import_hour = {at.hour}"
        ).result()

    def kill(self) -> None:
        """Kill the process that works on the calls of the first instance; another takes its place."""
        self.here.instances["hourly_export"][0].kill_worker()

    def lose_lock(self) -> None:
        """End the session that holds the log's lock, and see that it is gone."""
        with psycopg.connect(self.here.dsn, autocommit=True) as connection:
            ended = connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks JOIN pg_database ON oid = database"
                " WHERE locktype = 'advisory' AND datname = current_database()"
            ).fetchall()
        assert ended == [(True,)]

    def waits_for_a_row(self) -> bool:
        """Whether a run waits for somebody else's lock on a row."""
        with psycopg.connect(self.here.dsn) as connection:
            (waiting,) = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            ).fetchone() or (0,)
            return bool(waiting)

    @contextmanager
    def always(self, fault: Fault) -> Iterator[None]:
        """Inside the block, every request to either service goes through `fault`."""
        with self.storage.fault(fault), self.bigquery.fault(fault):
            yield

    @contextmanager
    def at(self, step: str, hour: datetime, fault: Fault) -> Iterator[None]:
        """Inside the block, the first request that is this step of the hour goes through `fault`: there must be one."""
        lock, met = threading.Lock(), threading.Event()

        def once(request: Request, forward: Forward) -> Answer:
            with lock:
                first = not met.is_set() and step_of(request, hour) == step
                if first:
                    met.set()
            return fault(request, forward) if first else forward(request)

        with self.always(once):
            yield
        assert met.is_set(), f"it never came to {step}"

    @contextmanager
    def killed(self, step: str, hour: datetime) -> Iterator[None]:
        """Inside the block, the worker is killed once this step has taken effect, before it gets the answer."""

        def kill(request: Request, forward: Forward) -> Answer:
            forward(request)
            self.kill()
            raise CutOffError

        with self.at(step, hour, kill):
            yield


class Gate:
    """A fault that holds a request until it is told to hand it on."""

    def __init__(self) -> None:
        self._arrived, self._opened = threading.Event(), threading.Event()

    def __call__(self, request: Request, forward: Forward) -> Answer:
        self._arrived.set()
        assert self._opened.wait(60)
        return forward(request)

    def wait(self) -> None:
        assert self._arrived.wait(60), "it never came"

    def open(self) -> None:
        self._opened.set()


@contextmanager
def gates(log: Log, hour: datetime, *steps: str) -> Iterator[list[Gate]]:
    """A gate for each step. Of one that is named twice, the first gate holds the first request, the second the next."""
    made = [Gate() for _ in steps]
    with ExitStack() as stack:
        # What a gate lets through comes to those that were installed before it.
        for step, gate in reversed(list(zip(steps, made, strict=True))):
            stack.enter_context(log.at(step, hour, gate))
        try:
            yield made
        finally:
            for gate in made:
                gate.open()


def step_of(request: Request, hour: datetime) -> str | None:
    """What a request does for an hour: None for most that only look."""
    path = unquote(request.path)
    if request.method == "GET" and f"/date={hour:%Y%m%d}/hour={hour:%H}/&" in path:
        return "list"
    if request.method == "POST" and "uploadType=multipart" in path:
        manifest = json.loads(request.body[request.body.index(b"{\n") : request.body.rindex(b"}") + 1])
        record = manifest["hours"].get(f"{hour:%H}") if manifest["date"] == f"{hour:%Y%m%d}" else None
        return f"manifest {record['state']}" if record else "manifest"
    if request.method == "POST" and "uploadType=resumable" in path:
        return f"start {_file(json.loads(request.body)['name'])}"
    if request.method == "PUT" and "uploadType=resumable" in path:
        more = "more of " if request.headers.get("content-range", "").endswith("/*") else ""
        return f"send {more}{_file(path)}"
    if request.method == "DELETE":
        return f"delete {_file(path)}" if ".parquet" in path else None
    if request.method == "POST" and path.split("?")[0].endswith("/jobs"):
        return "load" if "load" in json.loads(request.body)["configuration"] else None
    return "table" if request.method == "POST" and path.split("?")[0].endswith("/tables") else None


def _file(name: str) -> str:
    """`part 0` or `keys 0`."""
    match = re.search(r"/(part|keys)-\d+-[0-9a-f]+-(\d+)\.parquet", name)
    assert match, name
    return f"{match[1]} {match[2]}"


def _named(record: Any) -> set[tuple[str, int]]:
    parts = [part for batch in record.get("batches", []) for part in batch["export"]["parts"]]
    return {(file["name"], file["generation"]) for part in parts for file in (part["data"], part["keys"])}


def _within(at: datetime) -> str:
    start = at.replace(tzinfo=None)
    return f"date >= '{start}' AND date < '{start + HOUR}'"


def _as_bigquery(column: HourlyColumn) -> str:
    match column.type, column.target:
        case PgType.JSON | PgType.JSONB, _:
            return f"{column.name}::text"
        case _, BigQueryType.FLOAT64:
            return f"{column.name}::double precision"
        case _, BigQueryType.NUMERIC:
            return f"round({column.name}, 9)"
        case _, BigQueryType.TIMESTAMP:
            return f"{column.name} AT TIME ZONE 'UTC'"
        case _:
            return column.name
