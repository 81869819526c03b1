"""Case 7, in its other half: what a function's start costs more than that of a function that does nothing."""

from __future__ import annotations

import http.client
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from local import ROOT, context
from local.cloud import Deployment
from local.eventarc import CloudEvent
from local.functions import FLEET, Instance, Runtime, Spec
from local.sources import Sources
from tests.bench import bench as benches
from tests.bench.bench import Bench, completed, execute, finalized, upload, upload_manifest
from tests.bench.measure import APART, Result, Sample, Way

if TYPE_CHECKING:
    from google.cloud import storage

#: What bq_export is asked for, and what is imported and refreshed.
_SOURCE = "iris_france"
_TABLE = "enriched_user"
_VIEW = "enriched_user_mv"
_ROWS = 300
_PATIENCE = 60.0

#: Seconds after which bq_export is sure that a source has not changed since it was read.
_SURE = 3.0

#: Pause between tries to connect to a process that does not listen yet.
_RETRY = 0.002

#: By signature, a function that returns at once.
_EMPTY: Mapping[Literal["http", "cloudevent"], str] = {
    "http": """import functions_framework

@functions_framework.http
def empty_http(request):
    return "", 200
""",
    "cloudevent": """import functions_framework

@functions_framework.cloud_event
def empty_cloudevent(event):
    pass
""",
}


@dataclass(frozen=True)
class _Request:
    """A first request, and what must stand in its answer."""

    method: str = "POST"
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    answer: str = ""

    @classmethod
    def of(cls, event: CloudEvent, status: int = 204) -> _Request:
        return cls(body=json.dumps(event.data).encode(), headers=event.headers(), status=status)


def cold_starts(bench: Bench) -> Iterator[Result]:
    """Case 7: what a function's cold start adds to that of an empty one.

    The time is from the start of the process to the first answer. A process is `python -m functions_framework`, of our
    function or of one that returns at once and imports nothing else. Both have what is deployed and no other package;
    the packages are compiled, as Google's build does
    (https://github.com/GoogleCloudPlatform/buildpacks/blob/main/pkg/python/python.go), and the functions' own code is
    not. The request is sent as soon as the process listens. It is a real one, the smallest that needs whatever the
    function uses on a good day, and all that it does counts as the start, with what PostgreSQL and the emulators take:

    - gcs_import: a manifest's event. It stages the one part, of 300 rows, publishes it, and sends the message.
    - mv_refresh: a completion message. It builds a view of those rows with its index, and swaps it in.
    - bq_export: a call for a table whose source is unchanged. It asks BigQuery, notes the answer, and looks for what is
      to be dropped.
    - hourly_export: a call after an hour without rows. It looks for late rows, and for lost events.
    - status: the page.
    """
    with TemporaryDirectory(dir=bench.folder) as place:
        source = _source(Path(place))
        env = {"HOURLY_START": f"{datetime.now(UTC) - timedelta(hours=1):%Y%m%dT%H}", "PYTHONDONTWRITEBYTECODE": "1"}
        with bench.deployed(dict.fromkeys(FLEET, 1), env=env, source=source) as here:
            _fill(bench, here)
            for instance in here.all_instances:
                instance.stop()
            requests = _requests(bench, here)
            ways = {name: _way(here.instances[name][0], request) for name, request in requests.items()}
            ways |= {_empty(signature): _empty_way(bench, here, source, signature) for signature in _EMPTY}
            for way in ways.values():
                way(0)
            samples = bench.in_turn(ways, apart=ways)
    for name in requests:
        empty = _empty(FLEET[name].signature)
        told = [way + suffix for way in (name, empty) for suffix in ("", APART)]
        seconds = {way: [sample.seconds for sample in samples[way]] for way in told}
        values, apart = (
            [ours - theirs for ours, theirs in zip(seconds[name + suffix], seconds[empty + suffix], strict=True)]
            for suffix in ("", APART)
        )
        yield Result(7, f"cold start of {name}", "s", values, 1.0, against=empty, seconds=seconds, apart=apart)


def _requests(bench: Bench, here: Deployment) -> Mapping[str, Callable[[], _Request]]:
    return {
        "gcs_import": lambda: _Request.of(finalized(_snapshot(bench, here))),
        "mv_refresh": lambda: _Request.of(_message(here)),
        "bq_export": lambda: _Request(body=json.dumps({"tables": [_SOURCE]}).encode(), answer='"unchanged"'),
        "hourly_export": lambda: _Request(body=b"{}", answer='"failed": []'),
        "status": lambda: _Request(method="GET", answer=_TABLE),
    }


def _way(instance: Instance, request: Callable[[], _Request]) -> Way:
    def run(_: int) -> Sample:
        first = request()
        started = time.perf_counter()
        instance.start()
        try:
            status, answer = _ask(instance, first)
            seconds = time.perf_counter() - started
        finally:
            instance.stop()
        if status != first.status or first.answer not in answer or '"severity": "ERROR"' in instance.process.tail():
            raise RuntimeError(f"{instance.name} answered {status} {answer}\n{instance.process.tail()}")
        return Sample(seconds)

    return run


def _ask(instance: Instance, request: _Request) -> tuple[int, str]:
    """The answer of an instance that is just starting."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        connection = http.client.HTTPConnection(urlsplit(instance.url).netloc, timeout=_PATIENCE)
        try:
            connection.connect()
        except ConnectionRefusedError:
            if not instance.process.running or time.monotonic() > deadline:
                raise RuntimeError(f"{instance.name} does not listen\n{instance.process.tail()}") from None
            time.sleep(_RETRY)
            continue
        try:
            connection.request(request.method, "/", request.body, dict(request.headers))
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()


def _empty(signature: str) -> str:
    return f"empty {signature} function"


def _empty_way(bench: Bench, here: Deployment, source: Path, signature: Literal["http", "cloudevent"]) -> Way:
    """A function that does nothing, started like ours, in the same environment."""
    name = f"empty_{signature}"
    log = here.cloud.folder / f"{name}.log"
    instance = Instance(name, Spec(signature), log, here.env, Runtime(str(bench.python), source))
    instance.ready()
    instance.stop()
    if signature == "http":
        return _way(instance, _Request)
    event = CloudEvent("1", "nothing", "//bench", datetime.now(UTC).isoformat(), {})
    return _way(instance, lambda: _Request.of(event, 200))


def _source(place: Path) -> Path:
    """The functions as they are uploaded, without bytecode, and two empty ones."""
    for part in ("functions", "shared", "sql"):
        shutil.copytree(ROOT / part, place / part, ignore=shutil.ignore_patterns("__pycache__"))
    for signature, code in _EMPTY.items():
        function = place / "functions" / f"empty_{signature}"
        function.mkdir()
        (function / "main.py").write_text(code)
    return place / "functions"


def _fill(bench: Bench, here: Deployment) -> None:
    """Do once what is not to be done at a first request: a table is exported, another is published, a log is empty."""
    Sources(here, _ROWS).make()
    context.create(here.dsn)
    time.sleep(_SURE)
    here.call("bq_export", {"tables": [_SOURCE]})
    (exported,) = (blob for blob in here.storage_client.list_blobs(here.bucket) if blob.name.endswith(".json"))
    for manifest in (exported, _snapshot(bench, here)):
        bench.send(here.instances["gcs_import"][0], finalized(manifest))
    here.call("hourly_export")


def _snapshot(bench: Bench, here: Deployment) -> storage.Blob:
    """A new snapshot of one part; its manifest."""
    table, snapshot = benches.table(_TABLE), bench.next_snapshot()
    (part,) = upload(here, table, snapshot, [bench.parquet(table, _ROWS)])
    return upload_manifest(here, table, snapshot, {part: _ROWS})


def _message(here: Deployment) -> CloudEvent:
    """The message of what is published. Its view was dropped, so that it is outdated whatever the ledger says."""
    execute(here.dsn, f"DROP MATERIALIZED VIEW IF EXISTS public.{_VIEW}")
    return completed(here, _TABLE, 1)
