"""Years of hour manifests before a call of the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

from local import logs
from local.cloud import Cloud
from shared.hourly import request, run
from shared.hourly.manifest import (
    NOTHING,
    Batch,
    BatchReceipt,
    Content,
    DayManifest,
    Export,
    HourRecord,
    Part,
    StoredFile,
)
from shared.hourly.names import LogFolder
from shared.hourly.store import Store
from shared.names import Hour
from shared.operate.status import gather, page
from shared.services import HourlyServices
from tests.age.costs import Cost, counting

#: The calls of which the median is told.
CALLS = 5
DAY = timedelta(days=1)


def calls_after(cloud: Cloud, days: int) -> Iterator[tuple[str, Mapping[str, Cost]]]:
    """The costs of calls in a deployment whose log has that many days of settled hours. The last two weeks of it had no
    rows, so that the day's audit finds BigQuery as the manifests say.
    """
    now = datetime.now(UTC).replace(minute=5, second=0, microsecond=0)
    start = (now - days * DAY).replace(hour=0)
    name = f"manifests-{days}"
    with (
        cloud.deploy(name, functions={}, env={"HOURLY_START": str(Hour(start))}) as here,
        counting(here) as costs,
    ):
        services = HourlyServices.from_environment()
        (log,) = services.catalog.hourly.values()
        rows = logs.create(here, log)
        here._make_raw_table(log)
        store = Store(services.storage, services.settings.bucket, LogFolder(services.settings.prefix, log.name))
        for number in range(days):
            day = start + number * DAY
            record = _done(day) if day < now - 14 * DAY else HourRecord()
            hours = {f"{hour:02}": record for hour in range(24)}
            store.create(DayManifest(log.name, f"{day:%Y%m%d}", str(Hour(start)), hours), day.date(), 0)
        first = request.parse(services, {"table_name": log.name}, None, now)
        answer, status = run.run(services, first)  # which brings today up to now, and makes the audit
        assert (status, answer["failed"], answer["remaining"]) == (200, [], 0), answer
        today = store.folder.manifest(Hour(now).plus(-1).day)
        for number in range(CALLS):
            hour = Hour(now).plus(-2 - number)
            rows.write(here.dsn, hour.start, hour.end, 50)
            asked = request.parse(services, {"table_name": log.name}, None, now)
            answer, status = costs.of("call of the log, a late batch", partial(run.run, services, asked))
            assert (status, answer["failed"]) == (200, []), answer
            costs.of("call of the log, nothing to do", partial(run.run, services, asked))
            costs.of("status page", lambda: page.answer(gather(services), page.parse({})))
        assert services.storage.find(services.settings.bucket, today) is not None
        yield f"{days} days", costs.taken()


def _done(day: datetime) -> HourRecord:
    """An hour that was exported once, in two parts."""
    content = Content(50, "1275", "51")
    file = StoredFile(f"a-prefix/a-log/date={day:%Y%m%d}/hour=00/part-1-0badcafe-0.parquet", 1, 10_000, "AAAAAA==")
    part = Part(25, file, file)
    export = Export(1, "0badcafe", (part, part), content, NOTHING, {}, day)
    return HourRecord((Batch(export, "a-job-of-bigquery", BatchReceipt(content, content, content), day, day),))
