"""Case 4: the five views, after all four tables were published.

The floor is what a careful person runs by hand: CREATE TABLE AS and the same indexes, over as many connections and with
the same memory as the product allows itself. It makes tables: without the rows frozen for older transactions, without
visibility map, statistics, swap, grants and ledger. The old way is a plpgsql function for each view that returns its
query, indexes made before REFRESH, and one view after the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import psycopg
import pyarrow.parquet as pq

from local.cloud import Deployment
from local.functions import Instance
from shared import catalog
from shared.catalog import View
from shared.daily import build
from shared.daily.templates import render, timestamp
from shared.settings import Settings
from tests.bench import bench as benches
from tests.bench.bench import Bench, completed, finalized, upload, upload_manifest
from tests.bench.measure import APART, Result, Sample, Way, ratios, speedups

#: As many as Terraform's defaults deploy.
_INSTANCES = 3
_VARIABLE_CONFLICT = "#variable_conflict use_column"

#: Raises AssertionError unless relations hold what the views are to hold.
type Check = Callable[[Sequence[str]], None]


def five_views(bench: Bench) -> Iterator[Result]:
    """Case 4: completion messages of four tables at once."""
    ours, floor, old = "recosync", "CREATE TABLE AS by hand", "functions, one by one"
    with bench.deployed({"gcs_import": 1, "mv_refresh": _INSTANCES}) as here:
        publications = publish(bench, here, dict.fromkeys(catalog.load().tables, bench.rows))
        check = partial(_check, _wanted(here), here)
        ways = {
            ours: product(bench, here, publications, check),
            floor: _by_hand(bench, here, check),
            old: _old_way(bench, here, check),
        }
        samples = bench.in_turn(ways, apart=ways, once=[name + APART for name in ways])
    what = f"refresh of five views, {bench.rows:,} rows"
    yield ratios(4, what, 1.1, samples, ours, floor)
    yield speedups(4, what, 1.8, samples, ours, old)


@dataclass(frozen=True)
class Statements:
    """A view's template, taken apart: `query` makes the rows, `indexes` come slowest first."""

    name: str
    query: str
    indexes: Sequence[str]

    @classmethod
    def of(cls, view: View) -> Statements:
        rendered = render(view, timestamp(datetime.now(UTC)))
        query = rendered.create.partition(f'CREATE MATERIALIZED VIEW "{rendered.build}" AS')[2]
        return cls(rendered.build, query.removesuffix("WITH NO DATA"), rendered.indexes)


def publish(bench: Bench, here: Deployment, sizes: Mapping[str, int]) -> Mapping[str, int]:
    """Import a snapshot of each table by its part and manifest; the publications, in the same order."""
    instance = here.instances["gcs_import"][0]
    for name, size in sizes.items():
        table, snapshot = benches.table(name), bench.next_snapshot()
        file = bench.parquet(table, size)
        (part,) = upload(here, table, snapshot, [file])
        rows = pq.read_metadata(file).num_rows
        manifest = upload_manifest(here, table, snapshot, {part: rows})
        bench.send(instance, finalized(manifest))
        for blob in (part, manifest):
            blob.delete()
    with psycopg.connect(here.dsn) as connection:
        rows_of = connection.execute(
            "SELECT table_name, max(publication) FROM recosync.publication GROUP BY table_name"
        )
        found = dict(rows_of.fetchall())
    return {name: found[name] for name in sizes}


def product(bench: Bench, here: Deployment, publications: Mapping[str, int], check: Check) -> Way:
    """Completion messages of all tables at once, one at a time to each instance."""
    instances = here.instances["mv_refresh"]
    events = [completed(here, table, publication) for table, publication in publications.items()]
    for instance in instances:
        bench.send(instance, events[-1])  # imports and clients; a cold start is measured elsewhere

    def run(_: int) -> Sample:
        # Nothing of the work depends on why a view is outdated.
        benches.execute(here.dsn, "DELETE FROM recosync.view_build")
        waiting = iter(events)

        def work(instance: Instance) -> None:
            for event in waiting:
                bench.send(instance, event)

        bench.settle(here)
        written = [len(instance.log.read_text()) for instance in instances]
        with bench.measured(here, instances) as sample, ThreadPoolExecutor(len(instances)) as pool:
            list(pool.map(work, instances))
        lines = "".join(i.log.read_text()[n:] for i, n in zip(instances, written, strict=True)).splitlines()
        sample.spent |= _phases([json.loads(line) for line in lines if line.startswith("{")])
        check(list(catalog.load().views))
        return sample

    return run


def _phases(lines: Sequence[Mapping[str, object]]) -> dict[str, float]:
    """Where the time of each view went, by the function's own log."""
    spent = {}
    for line in lines:
        if line["message"] == "view built":
            for name, value in line.items():
                if isinstance(value, float):
                    spent[f"{line['view']} {name}"] = value
        if line["message"] == "views swapped":
            spent[f"swap of {line['views']}"] = float(str(line["seconds"]))
    return spent


def _by_hand(bench: Bench, here: Deployment, check: Check) -> Way:
    """As many views at once as the product builds, over as many connections each; the one with most indexes first."""
    views = list(catalog.load().views.values())
    at_once = Settings.from_environment(here.env, datasets=()).max_builds

    def run(_: int) -> Sample:
        todo = [Statements.of(view) for view in views]
        longest_first = sorted(todo, key=lambda view: len(view.indexes), reverse=True)

        def make(view: Statements) -> None:
            waiting = iter(view.indexes)

            def index(connection: psycopg.Connection) -> None:
                for statement in waiting:
                    connection.execute(statement.encode())

            with ExitStack() as stack, ThreadPoolExecutor(build.INDEX_WORKERS) as pool:
                connections = [stack.enter_context(_careful(here)) for _ in range(build.INDEX_WORKERS)]
                connections[0].execute(f'CREATE TABLE "{view.name}" AS {view.query}'.encode())
                list(pool.map(index, connections))

        bench.settle(here)
        with bench.measured(here) as sample, ThreadPoolExecutor(at_once) as pool:
            list(pool.map(make, longest_first))
        check([view.name for view in todo])
        benches.execute(here.dsn, *(f'DROP TABLE "{view.name}"' for view in todo))
        return sample

    return run


def _old_way(bench: Bench, here: Deployment, check: Check) -> Way:
    views = list(catalog.load().views.values())

    def run(_: int) -> Sample:
        todo = [Statements.of(view) for view in views]
        columns = [_columns(here, view.name) for view in views]
        bench.settle(here)
        with bench.measured(here) as sample, psycopg.connect(here.dsn, autocommit=True) as connection:
            for view, returned in zip(todo, columns, strict=True):
                body = f"$body$ {_VARIABLE_CONFLICT}\nBEGIN RETURN QUERY {view.query}; END $body$"
                for statement in (
                    f'CREATE FUNCTION "get_{view.name}"() RETURNS TABLE ({returned}) LANGUAGE plpgsql AS {body}',
                    f'CREATE MATERIALIZED VIEW "{view.name}" AS SELECT * FROM "get_{view.name}"() WITH NO DATA',
                    *view.indexes,
                    f'REFRESH MATERIALIZED VIEW "{view.name}"',
                ):
                    connection.execute(statement.encode())
        check([view.name for view in todo])
        benches.execute(here.dsn, *(f'DROP MATERIALIZED VIEW "{view.name}"' for view in todo))
        benches.execute(here.dsn, *(f'DROP FUNCTION "get_{view.name}"' for view in todo))
        return sample

    return run


@contextmanager
def _careful(here: Deployment) -> Iterator[psycopg.Connection]:
    """A connection with the product's settings."""
    with psycopg.connect(here.dsn, autocommit=True) as connection:
        for name, value in build.SETTINGS.items():
            connection.execute("SELECT set_config(%s, %s, false)", [name, value])
        yield connection


def _columns(here: Deployment, view: str) -> str:
    """The columns of a view that stands, as a function returns them."""
    with psycopg.connect(here.dsn) as connection:
        found = connection.execute(
            "SELECT quote_ident(attname) || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            [view],
        )
        return ", ".join(column for (column,) in found)


def _check(wanted: Sequence[tuple[int, int]], here: Deployment, relations: Sequence[str]) -> None:
    """What was made holds what the tables hold, with all its indexes."""
    tally = 'SELECT count(*), (SELECT count(*) FROM pg_index WHERE indrelid = \'"{}"\'::regclass) FROM "{}"'
    with psycopg.connect(here.dsn) as connection:
        found = [connection.execute(tally.format(name, name).encode()).fetchone() for name in relations]
    assert found == wanted, (relations, found, wanted)


def _wanted(here: Deployment) -> list[tuple[int, int]]:
    """Rows and indexes of each view, by what the tables hold."""
    views = [Statements.of(view) for view in catalog.load().views.values()]
    with psycopg.connect(here.dsn) as connection:
        counts = [connection.execute(f"SELECT count(*) FROM ({view.query}) AS q".encode()).fetchone() for view in views]
    return [(count, len(view.indexes)) for (count,), view in zip(filter(None, counts), views, strict=True)]
