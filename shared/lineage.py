"""Lineage: what each step read and wrote, as OpenLineage's run events (https://openlineage.io/docs/spec/object-model),
sent by its own client to where its own variables say
(https://openlineage.io/docs/client/python/configuration). Without such a variable, nothing of it is even imported.

Nobody waits long for whoever hears, and no step fails for it.
"""

from __future__ import annotations

import os
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
    from openlineage.client import OpenLineageClient
    from openlineage.client.event_v2 import RunEvent
    from openlineage.client.generated.base import DatasetFacet, RunFacet

type _State = Literal["START", "COMPLETE", "FAIL"]

#: What turns it on. What else its client reads says how, not whether.
VARIABLES = ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE__TRANSPORT__TYPE")
#: Who makes the events, as their field wants it: a URI.
PRODUCER = "urn:recosync"
#: Seconds that a step waits for an event to be taken. One that is not by then goes on by itself, and may be lost.
PATIENCE = 2
#: Seconds in which, after that, no event is tried.
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


def is_on(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this deployment tells anybody."""
    disabled = environ.get("OPENLINEAGE_DISABLED", "").lower() in ("true", "1", "yes")
    return not disabled and any(environ.get(name) for name in VARIABLES)


class _Deaf:
    """Until when nobody hears."""

    until = 0.0


def _send(run: Run, state: _State, error: Exception | None = None) -> None:
    if not is_on() or time.monotonic() < _Deaf.until:
        return
    failed: list[Exception] = []

    def send() -> None:
        try:
            _client().emit(_event(run, state, error))
        except Exception as e:  # noqa: BLE001 - whatever its client raises, the work is done
            failed.append(e)

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    sending.join(PATIENCE)
    if sending.is_alive() or failed:
        _Deaf.until = time.monotonic() + PAUSE
        why = type(failed[0]).__name__ if failed else f"no answer within {PATIENCE} s"
        log.warning(f"lineage is not told ({why}); for {PAUSE} s nothing of it is tried", job=run.job, state=state)


@cache
def _client() -> OpenLineageClient:
    from openlineage.client import OpenLineageClient

    return OpenLineageClient()


def _event(run: Run, state: _State, error: Exception | None) -> RunEvent:
    from openlineage.client import event_v2, facet_v2

    facets: dict[str, RunFacet] = {}
    if error is not None:
        # The text of a bug may quote a row.
        told = str(error) if isinstance(error, SyncError) else type(error).__name__
        facets["errorMessage"] = facet_v2.error_message_run.ErrorMessageRunFacet(told, "python")
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
