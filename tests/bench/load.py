"""Cases 1 and 2: a table from Parquet in Cloud Storage, by one worker and by several.

The floor is the server's own COPY of the same rows from a binary file on its disk into the same kind of table: no
client, no network, no Parquet.

What else brings Parquet into PostgreSQL is timed without its imports. DuckDB's extension reads from the bucket and
inserts into a table of the catalog's types; the others read a file on the disk, and make the table themselves, of types
as they see fit. What stands beside their figures was found by a trial of each: a table of 200,000 rows was replaced
while somebody read it. recosync swaps all rows at once, sends floats as numeric to the last digit, and counts rows and
keys at both ends: the receipt. sling is missing, because its wheel fetches its program from GitHub at its first use,
and connectorx, because it only reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
from psycopg import sql

from local.cloud import Deployment
from local.functions import Instance
from shared.catalog import Table
from shared.ledger.names import SCHEMA, part_table
from tests.bench import bench as benches
from tests.bench import peers
from tests.bench.bench import Bench, finalized, upload
from tests.bench.measure import APART, Result, Sample, Way, ratios, speedups, spending
from tests.bench.stages import alone

#: How many times as fast we are to be; others are beside it for the record.
_BARS = {"DuckDB's extension": 1.5, "dlt": 4.0}
_MILLION = 1_000_000
_WARM_ROWS = 5_000
PARTS = 8


def one_worker(bench: Bench) -> Iterator[Result]:
    """Case 1: one part by one worker."""
    product, bare = "recosync", "COPY from a file"
    for name, rivals in (("recommendable_offers_raw", True), ("enriched_user", False)):
        table = benches.table(name)
        with bench.deployed({"gcs_import": 1}) as here:
            ways = {product: one_part(bench, here, table, bench.rows), bare: floor(bench, here, table)}
            others = {peer: _peer(bench, here, table, peer) for peer in peers.PEERS if rivals}
            stages = alone(bench, here, table)
            apart = (product, bare, *(_BARS if rivals else ()))
            # What is beside for the record, and what takes many times as long.
            once = {"dlt", f"dlt{APART}", *(others.keys() - _BARS.keys())}
            samples = bench.in_turn({**ways, **others, **stages}, apart, once=once)
            url = bench.cloud.postgres.dsn(here.name, "postgres")
            gives_up = {peer: peers.trial(peer, bench.folder, url) for peer in others}
        what = f"load {name}, {bench.rows:,} rows"
        yield ratios(1, what, 1.15, samples, product, bare, beside=tuple(stages))
        for peer in others:
            found = speedups(1, what, _BARS.get(peer), samples, product, peer)
            yield replace(found, beside=gives_up[peer])
        for who, bar in {"function": 1.2, "server": 1.5}.items() if rivals else ():
            per_million = Result(1, f"CPU of the {who}, for 1,000,000 of these rows", "s", (), bar)
            yield spending(per_million, samples, product, f"{who} CPU s", _MILLION / bench.rows)


def many_workers(bench: Bench) -> Iterator[Result]:
    """Case 2: many parts by several workers at once."""
    table = benches.table("recommendable_offers_raw")
    workers = 2
    product, bare, one = f"{workers} workers", f"{workers} COPYs from files", "1 worker"
    with bench.deployed({"gcs_import": workers}) as here:
        files = bench.parquet_parts(table, bench.rows, PARTS)
        instances = here.instances["gcs_import"]
        ways = {
            product: many_parts(bench, here, table, files, instances),
            one: many_parts(bench, here, table, files, instances[:1]),
            bare: _parallel_floor(bench, here, table, files, workers),
        }
        samples = bench.in_turn(ways, apart=ways)
    what = f"load recommendable_offers_raw, {bench.rows:,} rows in {PARTS} parts"
    yield ratios(2, what, 1.2, samples, product, bare)
    yield speedups(2, what, 1.0, samples, product, one)


def one_part(bench: Bench, here: Deployment, table: Table, rows: int) -> Way:
    """One finalize event of a part, from the request to its answer."""
    instance = here.instances["gcs_import"][0]
    file = bench.parquet(table, rows)
    _warm(bench, here, table)

    def run(_: int) -> Sample:
        (blob,) = upload(here, table, bench.next_snapshot(), [file])
        bench.settle(here)
        with bench.measured(here, [instance]) as sample:
            bench.send(instance, finalized(blob))
        _check(here, rows)
        blob.delete()
        _forget(here)
        return sample

    return run


def many_parts(
    bench: Bench, here: Deployment, table: Table, files: Sequence[Path], instances: Sequence[Instance]
) -> Way:
    """Finalize events of all parts, one at a time to each instance."""
    rows = sum(pq.read_metadata(file).num_rows for file in files)
    for instance in instances:
        _warm(bench, here, table, instance)

    def run(_: int) -> Sample:
        blobs = upload(here, table, bench.next_snapshot(), files)
        waiting = iter([finalized(blob) for blob in blobs])

        def work(instance: Instance) -> None:
            for event in waiting:
                bench.send(instance, event)

        bench.settle(here)
        with bench.measured(here, instances) as sample, ThreadPoolExecutor(len(instances)) as pool:
            list(pool.map(work, instances))
        _check(here, rows, len(files))
        for blob in blobs:
            blob.delete()
        _forget(here)
        return sample

    return run


def _warm(bench: Bench, here: Deployment, table: Table, instance: Instance | None = None) -> None:
    """Imports, clients and the table are made by a first call: a cold start is measured elsewhere."""
    (blob,) = upload(here, table, bench.next_snapshot(), [bench.parquet(table, _WARM_ROWS)])
    bench.send(instance or here.instances["gcs_import"][0], finalized(blob))
    blob.delete()
    _forget(here)


def floor(bench: Bench, here: Deployment, table: Table) -> Way:
    """The server's own COPY of the rows."""
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


def _peer(bench: Bench, here: Deployment, table: Table, name: str) -> Way:
    url = bench.cloud.postgres.dsn(here.name, "postgres")
    file = bench.parquet(table, bench.rows)

    def run(_: int) -> Sample:
        (blob,) = upload(here, table, bench.next_snapshot(), [file])
        peers.prepare(name, url, benches.columns(table))
        bench.settle(here)
        source = f"{bench.cloud.storage.url}/{blob.bucket.name}/{blob.name}" if name in peers.INSERTS else file
        with bench.measured(here) as sample:
            seconds, own = peers.load(name, source, url)
        blob.delete()
        with psycopg.connect(url, autocommit=True) as connection:
            assert connection.execute("SELECT count(*) FROM peer.loaded").fetchone() == (bench.rows,)
            connection.execute("DROP SCHEMA peer CASCADE")
        sample.spent["client CPU s"] = own
        return Sample(seconds, sample.spent)

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
        bench.send(here.instances["gcs_import"][0], finalized(blob))
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
