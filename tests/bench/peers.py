"""What else brings a Parquet file into PostgreSQL: `python -m tests.bench.peers NAME FILE URL`, into `peer.loaded`.

Each does it as its documentation has it for a table that is to be replaced, by its fastest way, in a process of its own
that has imported everything before the clock starts. Not among them: sling, whose wheel fetches its program from GitHub
at its first use (and the last version of which PyPI has the program fetches DuckDB for Parquet), and connectorx, which
only reads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import duckdb
import psycopg
from psycopg import errors as pg

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA, TABLE = "peer", "loaded"
#: Rows of the table that is replaced in a trial, and ms after which a read of its is locked out.
_TRIAL_ROWS, _LOCKED_OUT = 200_000, 50

type Load = Callable[[str, str], None]


def _duckdb() -> Load:
    import duckdb_extension_httpfs
    import duckdb_extension_postgres_scanner

    extensions = {"httpfs": duckdb_extension_httpfs, "postgres_scanner": duckdb_extension_postgres_scanner}

    def load(file: str, url: str) -> None:
        with duckdb.connect() as db:
            for name, package in extensions.items():
                (found,) = Path(str(package.__file__)).parent.glob(f"extensions/*/{name}.duckdb_extension")
                db.execute(f"LOAD '{found}'")
            db.execute(f"ATTACH '{url}' AS pg (TYPE postgres)")
            db.execute(f"BEGIN; DELETE FROM pg.{SCHEMA}.{TABLE}")
            db.execute(f"INSERT INTO pg.{SCHEMA}.{TABLE} BY NAME FROM read_parquet('{file}')")
            db.execute("COMMIT")

    return load


def _adbc() -> Load:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from adbc_driver_postgresql import dbapi

    def load(file: str, url: str) -> None:
        source = pq.ParquetFile(file)
        batches = pa.RecordBatchReader.from_batches(source.schema_arrow, source.iter_batches())
        with dbapi.connect(url) as connection, connection.cursor() as cursor:
            cursor.adbc_ingest(TABLE, batches, mode="replace", db_schema_name=SCHEMA)
            connection.commit()

    return load


def _polars() -> Load:
    import adbc_driver_postgresql.dbapi  # noqa: F401 - what it writes with
    import polars

    def load(file: str, url: str) -> None:
        rows = polars.read_parquet(file)
        rows.write_database(f"{SCHEMA}.{TABLE}", url, engine="adbc", if_table_exists="replace")

    return load


def _dlt(file_format: Literal["csv", "parquet"]) -> Load:
    place = tempfile.TemporaryDirectory()
    # It keeps its state in HOME, and asks nobody about being watched.
    os.environ |= {"DLT_DATA_DIR": place.name, "RUNTIME__DLTHUB_TELEMETRY": "false"}
    import dlt
    import pyarrow.parquet as pq

    def batches(file: str) -> Iterator[pa.Table]:
        source = pq.ParquetFile(file)
        for number in range(source.num_row_groups):
            yield source.read_row_group(number)

    def load(file: str, url: str) -> None:
        with place:
            destination = dlt.destinations.postgres(url)
            pipeline = dlt.pipeline("bench", pipelines_dir=place.name, destination=destination, dataset_name=SCHEMA)
            done = pipeline.run(
                batches(file), table_name=TABLE, write_disposition="replace", loader_file_format=file_format
            )
            done.raise_on_failed_jobs()

    return load


PEERS: Mapping[str, Callable[[], Load]] = {
    "DuckDB's extension": _duckdb,
    "ADBC": _adbc,
    "polars": _polars,
    # What it takes by itself, and what it takes if it is told to and has ADBC.
    "dlt": partial(_dlt, "csv"),
    "dlt, by ADBC": partial(_dlt, "parquet"),
}

#: Who inserts into a table of the catalog's types, as read from the bucket.
INSERTS = ("DuckDB's extension",)


def load(name: str, file: Path | str, url: str) -> tuple[float, float]:
    """Load a file; the seconds that it took, by the clock and of CPU."""
    command = [sys.executable, "-m", "tests.bench.peers", name, str(file), url]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    answer = json.loads(done.stdout.splitlines()[-1])
    return answer["seconds"], answer["CPU"]


def trial(name: str, place: Path, url: str) -> str:
    """What readers see and what becomes of numbers when a peer replaces a table, found by doing it."""
    file = place / f"trial-{_TRIAL_ROWS}.parquet"
    numbers = duckdb.sql(
        f"SELECT i, CASE i % 2 WHEN 1 THEN i / 10 ELSE sqrt(i) END AS x FROM range({_TRIAL_ROWS}) r(i)"
    )
    numbers.write_parquet(str(file))
    prepare(name, url, "i bigint, x numeric")
    load(name, file, url)
    with _Readers(url) as readers:
        load(name, file, url)
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(f"SELECT i, x::text, pg_typeof(x)::text FROM {SCHEMA}.{TABLE} ORDER BY i".encode())
        found = rows.fetchall()
        connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE".encode())
    assert len(found) == _TRIAL_ROWS, len(found)
    pairs = zip(numbers.fetchall(), found, strict=True)
    other = sum(Decimal(there) != Decimal(repr(here)) for (_, here), (_, there, _) in pairs)
    digits = f", {other / _TRIAL_ROWS:.0%} of them with other digits" if other else ""
    _, tenth, kind = found[1]
    return f"numbers as {kind}, 0.1 as {tenth}{digits}; readers {readers.told()}; no receipt"


def prepare(name: str, url: str, columns: str) -> None:
    """Make the schema, and the table for whom does not."""
    table = [f"CREATE TABLE {SCHEMA}.{TABLE} ({columns})"] if name in INSERTS else []
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in (f"CREATE SCHEMA {SCHEMA}", *table):
            connection.execute(statement.encode())


class _Readers:
    """Somebody who reads the table all the time."""

    def __init__(self, url: str) -> None:
        self._url, self._stopped, self._seen, self._looks = url, threading.Event(), set[str](), 0
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> _Readers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def told(self) -> str:
        well = "have the old rows or the new ones" if self._looks else "had no look"
        return " or ".join(sorted(self._seen)) or well

    def _read(self) -> None:
        options = f"-c lock_timeout={_LOCKED_OUT}"
        try:
            with psycopg.connect(self._url, autocommit=True, options=options) as connection:
                while not self._stopped.wait(0.002):
                    self._seen |= self._look(connection)
                    self._looks += 1
        except psycopg.Error as e:
            self._seen.add(f"fail with {type(e).__name__}")

    def _look(self, connection: psycopg.Connection) -> set[str]:
        try:
            (rows,) = connection.execute(_COUNT).fetchone() or (0,)
        except pg.UndefinedTable:
            return {"find no table"}
        except pg.LockNotAvailable:
            return {"are locked out"}
        except psycopg.Error as e:
            return {f"fail with {type(e).__name__}"}
        return {0: {"see no rows"}, _TRIAL_ROWS: set[str]()}.get(rows, {"see a part of the rows"})


_COUNT = f"SELECT count(*) FROM {SCHEMA}.{TABLE}".encode()


def main(name: str, file: str, url: str) -> None:
    work = PEERS[name]()
    began, own = time.perf_counter(), time.process_time()
    work(file, url)
    answer = {"seconds": time.perf_counter() - began, "CPU": time.process_time() - own}
    print(json.dumps(answer))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
