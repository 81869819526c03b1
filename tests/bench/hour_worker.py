"""Exports hours when told to, one JSON line in and one out: the step that hourly_export begins an hour with.

What BigQuery is asked on the way is timed apart: its emulator would be most of a short hour.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from shared.hourly import run as runs
from shared.hourly.context import LogRun
from shared.hourly.export import export
from shared.hourly.manifest import Content, Exported
from shared.hourly.raw_table import RawTable
from shared.hourly.rebuild import open_day
from shared.names import Hour
from shared.services import HourlyServices


class _Timed(RawTable):
    """A table that knows how long it was waited for."""

    waited = 0.0

    def of_hour(self, hour: Hour) -> Content:
        began = time.perf_counter()
        try:
            return super().of_hour(hour)
        finally:
            _Timed.waited += time.perf_counter() - began


def main() -> None:
    services = HourlyServices.from_environment()
    (table,) = services.catalog.hourly.values()
    for line in sys.stdin:
        hour = Hour.parse(json.loads(line)["hour"])
        with runs.opened(services, table) as found, _forgetting(found):
            run = replace(found, raw_table=_Timed(**vars(found.raw_table)))
            record = open_day(run, hour.day).record(hour)
            _Timed.waited = 0.0
            began, own = time.perf_counter(), time.process_time()
            done = export(run, hour, record, delete=False)
            seconds, own = time.perf_counter() - began, time.process_time() - own
        assert isinstance(done.work, Exported)
        answer = {"seconds": seconds, "BigQuery": _Timed.waited, "CPU": own, "rows": done.work.export.content.rows}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


@contextmanager
def _forgetting(run: LogRun) -> Iterator[None]:
    """Leave nothing behind, so that the same hour can be exported again."""
    yield
    for stored in list(run.services.storage.objects(run.objects.bucket, str(run.objects.folder))):
        run.services.storage.delete(stored.version)


if __name__ == "__main__":
    main()
