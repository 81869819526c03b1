"""A table whose catalog entry changes from one snapshot to the next, with a view over it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

from shared import catalog
from shared.daily.refresh import refresh
from shared.db.postgres import connect
from shared.ledger import publications
from shared.names import ObjectVersion
from shared.services import Services
from tests.kit.background import Background
from tests.kit.snapshots import day
from tests.kit.uploads import Upload, arrive, rows

TABLE, VIEW = "drifting", "drifting_mv"

#: A view of every column, with a unique and another index.
TEMPLATE = """
CREATE MATERIALIZED VIEW {{{{ view | identifier }}}} AS SELECT {columns} FROM {table};
CREATE UNIQUE INDEX "{{{{ ts_nodash }}}}_drifting_n" ON {{{{ view | identifier }}}} (n);
CREATE INDEX "{{{{ ts_nodash }}}}_drifting_last" ON {{{{ view | identifier }}}} ({last});
"""


@dataclass
class Drift:
    """A project and a database in which the table's columns differ from day to day. Its first column is n."""

    services: Services
    database: psycopg.Connection
    folder: Path

    def of(self, columns: Mapping[str, str], *, view: str | None = None, table: str = TABLE) -> Services:
        """The services as deployed with this catalog. `view` are the columns that the view has, if not all."""
        names = ["n", *columns]
        template = TEMPLATE.format(columns=view or ", ".join(names), table=table, last=names[-1] if not view else "n")
        views = self.folder / "views"
        views.mkdir(exist_ok=True)
        (views / f"{VIEW}.sql.jinja").write_text(template)
        file = self.folder / "catalog.toml"
        types = "\n".join(f'"{name}" = "{type_}"' for name, type_ in {"n": "integer", **columns}.items())
        file.write_text(
            f'[tables.{TABLE}]\nsource = "{TABLE}"\ndataset = "BIGQUERY_SEED_DATASET"\n'
            f"[tables.{TABLE}.columns]\n{types}\n"
            f'[views.{VIEW}]\ntemplate = "{VIEW}.sql.jinja"\nreads = ["{TABLE}"]\n'
        )
        return replace(self.services, catalog=catalog.load(catalog.Place.of(self.folder)))

    def manifest(self, services: Services, number: int, **values: Sequence[object]) -> ObjectVersion:
        """Upload the snapshot of a day, in two parts. n numbers its rows."""
        upload = Upload(services, TABLE, day(number))
        length = max((len(column) for column in values.values()), default=1)
        for part in (slice(None, length // 2), slice(length // 2, None)):
            given = {"n": list(range(length))[part], **{name: list(column)[part] for name, column in values.items()}}
            upload.part(rows(TABLE, services, given))
        return upload.manifest()

    def publish(self, services: Services, number: int, **values: Sequence[object]) -> None:
        assert arrive(services, self.manifest(services, number, **values)) == ["published"]

    def refresh(self, services: Services) -> str:
        """Refresh the views as the last publish's message would."""
        with connect(services.settings, "test") as connection:
            published = publications.published(connection, TABLE)
        assert published is not None
        return refresh(services, TABLE, published.number)

    def types(self, relation: str = TABLE) -> dict[str, str]:
        query = """
            SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
            WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
        """
        return dict(self.database.execute(query, [relation]).fetchall())

    def rows(self, relation: str = TABLE) -> list[tuple[object, ...]]:
        return self.database.execute(f"SELECT * FROM {relation} ORDER BY n".encode()).fetchall()

    def parts(self) -> list[str]:
        query = "SELECT 'recosync.part_' || id FROM recosync.part WHERE dropped_at IS NULL ORDER BY id"
        return [name for (name,) in self.database.execute(query)]

    def indexes(self) -> list[str]:
        """The view's, without their names."""
        query = "SELECT regexp_replace(indexdef, 'INDEX \\S+ ON', 'ON') FROM pg_indexes WHERE tablename = %s ORDER BY 1"
        return [definition for (definition,) in self.database.execute(query, [VIEW])]


@contextmanager
def reading(dsn: str, *relations: str) -> Iterator[list[tuple[str, int]]]:
    """Read the relations again and again as the API does, each time with a new statement; what was found, by relation
    and number of rows. A read that fails, or waits for five seconds, fails the test.
    """
    seen: list[tuple[str, int]] = []
    stop = threading.Event()

    def loop() -> None:
        with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as api:
            api.execute("SET statement_timeout = '5s'")
            while not stop.is_set():
                for relation in relations:
                    row = api.execute(f"SELECT count(*) FROM (SELECT * FROM {relation}) AS t".encode()).fetchone()
                    seen.append((relation, row[0] if row else 0))
                time.sleep(0.001)

    thread = Background(loop)
    try:
        yield seen
    finally:
        stop.set()
        thread.result()
