"""Cases 1 to 3: a table from Parquet in Cloud Storage, by one worker, by several, and in how much memory.

The floor is the server's own COPY of the same rows from a binary file on its disk into the same kind of table: no
client, no network, no Parquet.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import duckdb_extension_httpfs
import duckdb_extension_postgres_scanner
import psycopg
from psycopg import sql

from local.cloud import Deployment
from local.functions import Instance
from shared.catalog import Table
from shared.ledger.names import SCHEMA, part_table
from tests.bench import bench as benches
from tests.bench.bench import Bench, finalized, send, upload
from tests.bench.measure import Result, Sample, Way, in_turn, ratios, speedups
from tests.bench.stages import alone

_MEBIBYTE = 2**20
_WARM_ROWS = 5_000
_PARTS = 8


def one_worker(bench: Bench) -> Iterator[Result]:
    """Case 1: one part by one worker."""
    for name, rivals in (("recommendable_offers_raw", True), ("enriched_user", False)):
        table = benches.table(name)
        with bench.deployed({"gcs_import": 1}) as here:
            ways = {
                "recosync": _product(bench, here, table, bench.rows),
                "COPY from a file": _floor(bench, here, table),
            }
            if rivals:
                ways["DuckDB's extension"] = _duckdb(bench, here, table)
                ways["dlt"] = _dlt(bench, here, table)
            stages = alone(bench, here, table)
            samples = in_turn(bench.rounds, {**ways, **stages})
        what = f"load {name}, {bench.rows:,} rows"
        yield ratios(1, what, 1.15, samples, "recosync", "COPY from a file", beside=tuple(stages))
        if rivals:
            yield speedups(1, what, 1.5, samples, "recosync", "DuckDB's extension")
            yield speedups(1, what, 4.0, samples, "recosync", "dlt")


def many_workers(bench: Bench) -> Iterator[Result]:
    """Case 2: many parts by several workers at once."""
    table = benches.table("recommendable_offers_raw")
    workers = 2
    with bench.deployed({"gcs_import": workers}) as here:
        files = bench.parquet_parts(table, bench.rows, _PARTS)
        instances = here.instances["gcs_import"]
        ways = {
            f"{workers} workers": _parts(bench, here, table, files, instances),
            "1 worker": _parts(bench, here, table, files, instances[:1]),
            f"{workers} COPYs from files": _parallel_floor(bench, here, table, files, workers),
        }
        samples = in_turn(bench.rounds, ways)
    what = f"load recommendable_offers_raw, {bench.rows:,} rows in {_PARTS} parts"
    yield ratios(2, what, 1.2, samples, f"{workers} workers", f"{workers} COPYs from files")
    yield speedups(2, what, 1.0, samples, f"{workers} workers", "1 worker")


def memory(bench: Bench) -> Iterator[Result]:
    """Case 3: the peak of a process that loads one part of so many rows, and has loaded nothing else."""
    table = benches.table("recommendable_offers_raw")
    peaks = []
    for rows in (bench.rows // 3, bench.rows, bench.rows * 10 // 3):
        with bench.deployed({"gcs_import": 1}) as here:
            seconds = _product(bench, here, table, rows)(0).seconds
            peak = here.instances["gcs_import"][0].peak_rss() / _MEBIBYTE
        peaks.append(peak)
        times = {"load": [seconds]}
        yield Result(3, f"peak memory of a load of {rows:,} rows", "MiB", [peak], 400, seconds=times)
    yield Result(3, "peak memory, the most rows", "×", [peaks[-1] / peaks[0]], 1.1, against="the fewest rows")


def _product(bench: Bench, here: Deployment, table: Table, rows: int) -> Way:
    """One finalize event of a part, from the request to its answer."""
    instance = here.instances["gcs_import"][0]
    file = bench.parquet(table, rows)
    _warm(bench, here, table)

    def run(_: int) -> Sample:
        (blob,) = upload(here, table, bench.next_snapshot(), [file])
        bench.settle(here)
        with bench.measured(here, [instance]) as sample:
            send(instance, finalized(blob))
        _check(here, rows)
        blob.delete()
        _forget(here)
        return sample

    return run


def _parts(bench: Bench, here: Deployment, table: Table, files: Sequence[Path], instances: Sequence[Instance]) -> Way:
    """Finalize events of all parts, one at a time to each instance."""
    for instance in instances:
        _warm(bench, here, table, instance)

    def run(_: int) -> Sample:
        blobs = upload(here, table, bench.next_snapshot(), files)
        waiting = iter([finalized(blob) for blob in blobs])

        def work(instance: Instance) -> None:
            for event in waiting:
                send(instance, event)

        bench.settle(here)
        with bench.measured(here, instances) as sample, ThreadPoolExecutor(len(instances)) as pool:
            list(pool.map(work, instances))
        _check(here, bench.rows, len(files))
        for blob in blobs:
            blob.delete()
        _forget(here)
        return sample

    return run


def _warm(bench: Bench, here: Deployment, table: Table, instance: Instance | None = None) -> None:
    """Imports, clients and the table are made by a first call: a cold start is measured elsewhere."""
    (blob,) = upload(here, table, bench.next_snapshot(), [bench.parquet(table, _WARM_ROWS)])
    send(instance or here.instances["gcs_import"][0], finalized(blob))
    blob.delete()
    _forget(here)


def _floor(bench: Bench, here: Deployment, table: Table) -> Way:
    file = _binary(bench, here, table, bench.parquet(table, bench.rows))

    def run(_: int) -> Sample:
        bench.settle(here)
        with bench.measured(here) as sample:
            rows = _copy_from(bench, here, table, file, "floor")
        assert rows == bench.rows
        benches.execute(here.dsn, "DROP TABLE public.floor")
        return sample

    return run


def _parallel_floor(bench: Bench, here: Deployment, table: Table, files: Sequence[Path], workers: int) -> Way:
    binaries = [_binary(bench, here, table, file) for file in files]

    def run(_: int) -> Sample:
        bench.settle(here)
        with bench.measured(here) as sample, ThreadPoolExecutor(workers) as pool:
            names = [f"floor_{number}" for number in range(len(binaries))]
            rows = sum(pool.map(lambda file, name: _copy_from(bench, here, table, file, name), binaries, names))
        assert rows == bench.rows
        benches.execute(here.dsn, *(f"DROP TABLE public.{name}" for name in names))
        return sample

    return run


def _duckdb(bench: Bench, here: Deployment, table: Table) -> Way:
    """What a script would do: attach the database, insert what read_parquet reads from the bucket."""

    def run(_: int) -> Sample:
        (blob,) = upload(here, table, bench.next_snapshot(), [bench.parquet(table, bench.rows)])
        benches.execute(here.dsn, f"CREATE TABLE public.duck ({benches.columns(table)})")
        bench.settle(here)
        url = f"{bench.cloud.storage.url}/{blob.bucket.name}/{blob.name}"
        columns = ", ".join(f'"{column.name}"' for column in table.columns)
        with bench.measured(here) as sample, duckdb.connect() as db:
            for package, name in (
                (duckdb_extension_httpfs, "httpfs"),
                (duckdb_extension_postgres_scanner, "postgres_scanner"),
            ):
                db.execute(
                    f"LOAD '{next(Path(package.__file__).parent.glob(f'extensions/*/{name}.duckdb_extension'))}'"
                )
            db.execute(f"ATTACH '{here.dsn}' AS pg (TYPE postgres)")
            db.execute(f"INSERT INTO pg.public.duck ({columns}) SELECT {columns} FROM read_parquet('{url}')")
        blob.delete()
        with psycopg.connect(here.dsn, autocommit=True) as connection:
            assert connection.execute("SELECT count(*) FROM public.duck").fetchone() == (bench.rows,)
            connection.execute("DROP TABLE public.duck")
        return sample

    return run


def _dlt(bench: Bench, here: Deployment, table: Table) -> Way:
    """dlt as its documentation has it for Parquet files, in a process of its own; without the way from the bucket."""
    file = bench.parquet(table, bench.rows)

    def run(_: int) -> Sample:
        bench.settle(here)
        with bench.measured(here) as sample:
            subprocess.run([sys.executable, "-m", "tests.bench.dlt_load", str(file), here.dsn], check=True)
        with psycopg.connect(here.dsn, autocommit=True) as connection:
            assert connection.execute("SELECT count(*) FROM by_dlt.loaded").fetchone() == (bench.rows,)
            connection.execute("DROP SCHEMA by_dlt CASCADE")
        return sample

    return run


def _copy_from(bench: Bench, here: Deployment, table: Table, file: Path, name: str) -> int:
    """The server's own COPY, into a table like a staged part's, as a staging does it: frozen, in one transaction."""
    with bench.cloud.postgres.superuser(here.name) as admin, admin.transaction():
        admin.execute("SET LOCAL ROLE recosync")
        admin.execute(
            f"CREATE TABLE public.{name} ({benches.columns(table)}) WITH (autovacuum_enabled = false)".encode()
        )
        admin.execute("RESET ROLE")
        copied = admin.execute(f"COPY public.{name} FROM '{file}' (FORMAT binary, FREEZE)".encode())
        return copied.rowcount


def _binary(bench: Bench, here: Deployment, table: Table, parquet: Path) -> Path:
    """The rows of a file as the server's own COPY writes them, on the server's disk: staged once, by the product."""
    file = bench.cloud.postgres.place / f"{parquet.stem}.copy"
    if not file.exists():
        (blob,) = upload(here, table, bench.next_snapshot(), [parquet])
        send(here.instances["gcs_import"][0], finalized(blob))
        blob.delete()
        with bench.cloud.postgres.superuser(here.name) as admin:
            (child,) = _children(admin)
            names = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns)
            copy = sql.SQL("COPY {}.{} ({}) TO {} (FORMAT binary)")
            admin.execute(copy.format(sql.Identifier(SCHEMA), sql.Identifier(child), names, str(file)))
        _forget(here)
    return file


def _children(connection: psycopg.Connection) -> list[str]:
    rows = connection.execute("SELECT id FROM recosync.part ORDER BY id").fetchall()
    return [part_table(id_) for (id_,) in rows]


def _check(here: Deployment, rows: int, parts: int = 1) -> None:
    """All that was to be staged is."""
    with psycopg.connect(here.dsn) as connection:
        found = connection.execute("SELECT count(*), sum(rows) FROM recosync.part").fetchone()
        assert found == (parts, rows), found


def _forget(here: Deployment) -> None:
    """Drop what was staged."""
    with psycopg.connect(here.dsn, autocommit=True) as connection:
        for child in _children(connection):
            connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(SCHEMA, child)))
        connection.execute("DELETE FROM recosync.part")
