"""Lineage: what each step read and wrote, as OpenLineage's run events (https://openlineage.io/docs/spec/object-model),
sent by its own client to where its own variables say
(https://openlineage.io/docs/client/python/configuration). Without such a variable, nothing of it is even imported.

A thread sends them beside the work: nobody waits for whoever hears but an answer, a little, and no step fails for it.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Literal, Self
from uuid import NAMESPACE_URL, uuid5

from shared import log
from shared.errors import SyncError

if TYPE_CHECKING:
    import psycopg
    from openlineage.client import OpenLineageClient
    from openlineage.client.event_v2 import RunEvent
    from openlineage.client.generated.base import DatasetFacet, RunFacet

type _State = Literal["START", "COMPLETE", "FAIL"]

#: What turns it on. What else its client reads says how, not whether.
VARIABLES = ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE__TRANSPORT__TYPE")
#: Who makes the events, as their field wants it: a URI.
PRODUCER = "urn:recosync"
#: Seconds that an answer waits for events that are not taken yet. What is not by then may be lost.
PATIENCE = 2
#: Seconds without a try after an event that was not taken.
PAUSE = 60


@dataclass(frozen=True)
class Dataset:
    """A data set by OpenLineage's names (https://openlineage.io/docs/spec/naming): `columns` with their types, and
    `rows` where they are counted.
    """

    namespace: str
    name: str
    columns: Mapping[str, str] = field(default_factory=dict)
    rows: int | None = None


@dataclass(frozen=True)
class Run:
    """A run of a job. Calls that name the same `key` tell of the same run."""

    namespace: str
    job: str
    key: str
    inputs: tuple[Dataset, ...]
    output: Dataset

    def of(self, rows: int) -> Self:
        """The same run, which wrote so many rows."""
        return replace(self, output=replace(self.output, rows=rows))

    def start(self) -> None:
        _send(self, "START")

    def complete(self) -> None:
        _send(self, "COMPLETE")

    def fail(self, error: Exception) -> None:
        _send(self, "FAIL", error)


def deployment(project: str, environment: str) -> str:
    """The namespace of a deployment's jobs."""
    return f"{project}.{environment}"


def relation(server: psycopg.ConnectionInfo, schema: str, name: str, columns: Mapping[str, str]) -> Dataset:
    """A table, view or log in PostgreSQL."""
    return Dataset(f"postgres://{server.host}:{server.port}", f"{server.dbname}.{schema}.{name}", columns)


def is_on(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this deployment tells anybody."""
    disabled = environ.get("OPENLINEAGE_DISABLED", "").lower() in ("true", "1", "yes")
    return not disabled and any(environ.get(name) for name in VARIABLES)


class _Sender:
    """Sends what is told, in its order, by a thread of its own. After one that is not taken, it is deaf for a while."""

    def __init__(self) -> None:
        self._told: queue.Queue[tuple[Run, _State, str | None]] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.deaf_until = 0.0

    def tell(self, run: Run, state: _State, error: str | None) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
        self._told.put((run, state, error))

    def wait(self, seconds: float) -> bool:
        """Whether all is sent, or given up, within that time."""
        deadline = time.monotonic() + seconds
        with self._told.all_tasks_done:
            while self._told.unfinished_tasks and (left := deadline - time.monotonic()) > 0:
                self._told.all_tasks_done.wait(left)
            return not self._told.unfinished_tasks

    def _run(self) -> None:
        while True:
            run, state, error = self._told.get()
            try:
                if time.monotonic() >= self.deaf_until:
                    _client().emit(_event(run, state, error))
            except Exception as e:  # noqa: BLE001 - whatever its client raises, the work is done
                self.deaf_until = time.monotonic() + PAUSE
                log.warning(f"lineage is not told ({type(e).__name__}); for {PAUSE} s nothing is tried", job=run.job)
            finally:
                self._told.task_done()


_sender = _Sender()


def _send(run: Run, state: _State, error: Exception | None = None) -> None:
    if not is_on():
        return
    # The text of a bug may quote a row, and where a failure was may be a row's key.
    told = None if error is None else error.what if isinstance(error, SyncError) else type(error).__name__
    _sender.tell(run, state, told)


def flush() -> None:
    """Wait for what was told, PATIENCE at most: a function has no processor once it has answered
    (https://cloud.google.com/run/docs/configuring/billing-settings).
    """
    if not _sender.wait(PATIENCE):
        log.warning(f"lineage is not all told: its receiver takes longer than {PATIENCE} s")


@cache
def _client() -> OpenLineageClient:
    from openlineage.client import OpenLineageClient

    return OpenLineageClient()


def _event(run: Run, state: _State, error: str | None) -> RunEvent:
    from openlineage.client import event_v2, facet_v2

    facets: dict[str, RunFacet] = {}
    if error is not None:
        facets["errorMessage"] = facet_v2.error_message_run.ErrorMessageRunFacet(error, "python")
    statistics = facet_v2.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet
    output, rows = run.output, run.output.rows
    return event_v2.RunEvent(
        eventTime=datetime.now(UTC).isoformat(),
        eventType=event_v2.RunState[state],
        producer=PRODUCER,
        run=event_v2.Run(str(uuid5(NAMESPACE_URL, f"{run.namespace} {run.job} {run.key}")), facets),
        job=event_v2.Job(run.namespace, run.job),
        inputs=[event_v2.InputDataset(each.namespace, each.name, facets=_schema(each)) for each in run.inputs],
        outputs=[
            event_v2.OutputDataset(
                output.namespace,
                output.name,
                facets=_schema(output),
                outputFacets={} if rows is None else {"outputStatistics": statistics(rowCount=rows)},
            )
        ],
    )


def _schema(of: Dataset) -> dict[str, DatasetFacet]:
    from openlineage.client.facet_v2 import schema_dataset

    fields = [schema_dataset.SchemaDatasetFacetFields(name, type_) for name, type_ in of.columns.items()]
    return {"schema": schema_dataset.SchemaDatasetFacet(fields)} if fields else {}
