"""How far the daily job is, table by table: manifests in the bucket, and the ledger in PostgreSQL."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row

from local.cloud import Deployment

_LEDGER = """
SELECT
    t.table_name AS table,
    part.rows AS staged,
    part.began AS staging_began,
    part.ended AS staging_ended,
    publication.rows AS published,
    publication.published_at,
    view.views,
    view.refreshed_at
FROM unnest(%s::text[]) AS t (table_name)
LEFT JOIN LATERAL (
    SELECT coalesce(sum(rows), 0)::bigint AS rows,
           min(staged_at - seconds * interval '1 second') AS began,
           max(staged_at) AS ended
    FROM recosync.part WHERE part.table_name = t.table_name
) AS part ON true
LEFT JOIN LATERAL (
    SELECT * FROM recosync.publication WHERE publication.table_name = t.table_name ORDER BY publication DESC LIMIT 1
) AS publication ON true
LEFT JOIN LATERAL (
    SELECT count(*) AS views, max(built_at) AS refreshed_at FROM recosync.view_build
    WHERE view_build.table_name = t.table_name AND view_build.publication = publication.publication
) AS view ON true
"""


@dataclass(frozen=True)
class Ledger:
    """One table in the ledger; None is not yet."""

    table: str
    staged: int = 0
    staging_began: datetime | None = None
    staging_ended: datetime | None = None
    published: int | None = None
    published_at: datetime | None = None
    views: int = 0
    refreshed_at: datetime | None = None

    @property
    def ended_at(self) -> datetime | None:
        """When readers had all of it."""
        return self.refreshed_at or self.published_at

    def done(self, views: int) -> bool:
        """Whether it is published, and has so many views of that."""
        return self.published is not None and self.views == views


@dataclass(frozen=True)
class Export:
    """One table in the bucket: its Parquet objects and, when complete, its rows."""

    parts: int = 0
    rows: int | None = None
    at: datetime | None = None


class Progress:
    """Asks again at each call. Parts and manifests are of the one run that this deployment has seen."""

    def __init__(self, here: Deployment, tables: Iterable[str]) -> None:
        self._here, self._tables = here, list(tables)
        self._connection = psycopg.connect(here.dsn, autocommit=True)

    def close(self) -> None:
        self._connection.close()

    def exports(self) -> dict[str, Export]:
        found = dict.fromkeys(self._tables, Export())
        prefix = self._here.env["EXPORT_PREFIX"] + "/"
        for blob in self._here.storage_client.list_blobs(self._here.bucket, prefix=prefix):
            table, *_, name = blob.name.removeprefix(prefix).split("/")
            before = found[table]
            if name == "manifest.json":
                rows = sum(part["rows"] for part in json.loads(blob.download_as_bytes())["parts"])
                found[table] = Export(before.parts, rows, blob.time_created)
            else:
                found[table] = Export(before.parts + 1, before.rows, before.at)
        return found

    def ledger(self) -> dict[str, Ledger]:
        if not self._exists():
            return {table: Ledger(table) for table in self._tables}
        with self._connection.cursor(row_factory=class_row(Ledger)) as cursor:
            return {row.table: row for row in cursor.execute(_LEDGER, [self._tables])}

    def failures(self) -> list[str]:
        """What failed for good."""
        if not self._exists():
            return []
        return [message for (message,) in self._connection.execute("SELECT message FROM recosync.failure")]

    def _exists(self) -> bool:
        """The first function that comes along makes the ledger."""
        answer = self._connection.execute("SELECT to_regclass('recosync.failure')").fetchone()
        return answer != (None,)
