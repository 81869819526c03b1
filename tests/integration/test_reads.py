"""What DuckDB is told of its reads holds for each of them, though each has a connection of its own."""

import os
import subprocess
import sys
from datetime import UTC, datetime

import pyarrow as pa

from local import ROOT
from shared.names import ObjectVersion
from tests.kit.buckets import SMALL, Bucket, objects, serving
from tests.kit.uploads import parquet_bytes

VERSION = ObjectVersion("bucket", "part.parquet", 1)


def test_a_service_that_is_unavailable_five_times_is_asked_once_more():
    bucket = Bucket(SMALL, status=503, times=5)
    with objects(bucket) as found:
        found.parquet.objects.connection().execute("SET GLOBAL http_retry_wait_ms = 1")
        assert found.footer().rows == 100
    assert [request.status for request in bucket.requests[:6]] == [503] * 5 + [200]


#: A process that shows an instant as it reads it of a file.
READER = """
import sys
from shared.gcp.parquet import Parquet
from shared.gcp.storage import Storage
from shared.gcp.tokens import NoToken
from shared.names import ObjectVersion

version, parquet = ObjectVersion("bucket", "part.parquet", 1), Parquet(sys.argv[1], NoToken(), Storage("nobodys"))
print(*parquet.aggregates([version], ['first(instant)::VARCHAR', 'first(instant)::DATE']))
print(next(parquet.stream(version, parquet.batches(version, ['instant::VARCHAR AS shown'], 2048)))["shown"][0])
"""


def test_an_instant_is_shown_in_utc_wherever_the_process_runs():
    """DuckDB learns a process's time zone once: this is another process."""
    instant = datetime(2026, 1, 1, 19, 30, tzinfo=UTC)
    rows = pa.table({"instant": pa.array([instant], pa.timestamp("us", tz="UTC"))})
    with serving(Bucket(parquet_bytes(rows), valid=None)) as url:
        command, env = [sys.executable, "-c", READER, url], os.environ | {"TZ": "Asia/Kathmandu"}
        shown = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert shown.stdout.splitlines() == ["2026-01-01 19:30:00+00 2026-01-01", "2026-01-01 19:30:00+00"], shown.stderr


def test_an_object_is_looked_up_once_and_nothing_of_it_is_kept():
    bucket = Bucket(SMALL)
    with objects(bucket) as found:
        for _ in range(2):
            found.parquet.footer(VERSION)
            found.parquet.aggregates([VERSION], ["sum(n)"])
        query = "SELECT memory_usage_bytes FROM duckdb_memory() WHERE tag IN ('EXTERNAL_FILE_CACHE', 'OBJECT_CACHE')"
        kept = found.parquet.objects.connection().execute(query).fetchall()
    methods = [request.method for request in bucket.requests]
    assert methods[0] == "HEAD"
    assert set(methods[1:]) == {"GET"}
    assert kept == [(0,), (0,)]
