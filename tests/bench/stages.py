"""The stages of a load, each alone with all it needs in memory. A load takes less than their sum: it overlaps them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache

import psycopg
import pyarrow as pa
from psycopg import sql

from local.cloud import Deployment
from shared.catalog import Table
from shared.daily.stage import STATISTICS_TARGET
from shared.gcp.parquet import Parquet
from shared.gcp.storage import Storage
from shared.gcp.tokens import NoToken
from shared.rows import casts, copy
from shared.rows.profile import Tap, of_table
from tests.bench import bench as benches
from tests.bench.bench import Bench
from tests.bench.measure import Sample, Way

_TABLE = sql.Identifier("public", "stages")


def alone(bench: Bench, here: Deployment, table: Table) -> Mapping[str, Way]:
    """Reading with its casts, encoding, and the server's part: ways that take turns with the load itself."""
    (blob,) = benches.upload(here, table, bench.next_snapshot(), [bench.parquet(table, bench.rows)])
    version = benches.version(blob)
    store = Storage(here.project)
    store._client = here.storage_client  # in this process, nothing says where the emulator is
    parquet = Parquet(bench.cloud.storage.url, NoToken(), store)
    footer = parquet.footer(version)
    plan = casts.plan(table.columns, footer, where=table.name)

    @cache
    def read() -> tuple[pa.Schema, list[pa.RecordBatch]]:
        reader = parquet.part(version, footer, casts.selected(plan))
        return reader.schema, list(parquet.stream(version, reader))

    @cache
    def encoded() -> list[bytes]:
        schema, batches = read()
        width = range(len(plan))
        return list(copy.encoded(plan, pa.schema([schema.field(n) for n in width]), (b.select(width) for b in batches)))

    def reading(_: int) -> Sample:
        read.cache_clear()
        with bench.measured(here) as sample:
            read()
        return sample

    def encoding(_: int) -> Sample:
        read()
        encoded.cache_clear()
        with bench.measured(here) as sample:
            encoded()
        return sample

    def copying(_: int) -> Sample:
        chunks, tap = encoded(), Tap(plan)
        list(tap.through(iter(read()[1])))
        bench.settle(here)
        with psycopg.connect(here.dsn) as connection:
            create = f"CREATE TABLE public.stages ({benches.columns(table)}) WITH (autovacuum_enabled = false)"
            connection.execute(create.encode())
            statement = sql.SQL("COPY {} FROM STDIN (FORMAT binary, FREEZE)").format(_TABLE)
            with bench.measured(here) as sample, connection.cursor().copy(statement) as sink:
                for chunk in chunks:
                    sink.write(chunk)
            began = time.perf_counter()
            of_table(connection, _TABLE, table.columns, tap.profile)
            profiled = time.perf_counter()
            connection.execute("SELECT set_config('default_statistics_target', %s, true)", [STATISTICS_TARGET])
            connection.execute(sql.SQL("ANALYZE {}").format(_TABLE))
            sample.spent |= {"profile s": profiled - began, "ANALYZE s": time.perf_counter() - profiled}
            connection.rollback()
        return sample

    return {"only reading": reading, "only encoding": encoding, "only COPY from memory": copying}
