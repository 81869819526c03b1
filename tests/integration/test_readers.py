"""Readers of a table or view never see it missing, empty, half-loaded or mixed, whatever is published meanwhile.

Every row of a snapshot carries the snapshot's number, and every snapshot has as many rows. So a read is consistent when
it finds one number and all its rows, and what one reader sees never goes back.
"""

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg
import pytest
from psycopg import sql

from shared.daily import swap_table as swapping
from shared.daily import swap_views
from shared.daily.context import TableRun
from shared.daily.publish import publish
from shared.daily.refresh import refresh
from shared.db.postgres import connect
from shared.errors import DataError
from shared.ledger import migrations, snapshots
from shared.names import ObjectVersion
from shared.rows.profile import of_table
from shared.target import tables
from tests.kit.background import Background
from tests.kit.sessions import one
from tests.kit.snapshots import day

TABLE = "recommendable_offers_raw"
SNAPSHOTS = 300
PARTS, ROWS = 2, 20

#: Statements that give the number of each row, and how often each row is in them.
BOTH = "SELECT unnest(ARRAY[a.booking_number, b.booking_number]) AS n FROM"
OF_THE_TABLE = {
    f"SELECT booking_number AS n FROM {TABLE}": 1,
    f"{BOTH} {TABLE} AS a JOIN {TABLE} AS b USING (offer_id)": 2,
    f"SELECT booking_number AS n FROM {TABLE} UNION ALL SELECT booking_number FROM {TABLE}": 2,
    f"WITH a AS MATERIALIZED (TABLE {TABLE}), b AS MATERIALIZED (TABLE {TABLE}) {BOTH} a JOIN b USING (offer_id)": 2,
}
OF_THE_VIEWS = {
    "SELECT booking_number AS n FROM recommendable_offers_raw_mv": 1,
    "SELECT booking_number AS n FROM item_ids_mv UNION ALL SELECT booking_number FROM recommendable_offers_raw_mv": 2,
    f"{BOTH} item_ids_mv AS a FULL JOIN recommendable_offers_raw_mv AS b USING (offer_id)": 2,
}


@dataclass
class Reader:
    """A thread that reads as the API does, with `read`, until it is told to stop. `seen` are its numbers."""

    dsn: str
    read: Callable[["Reader", psycopg.Connection], None]
    sources: dict[str, int]
    seen: list[int] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self):
        self.turns = itertools.cycle(self.sources.items())
        self.thread = Background(self.run)

    def run(self):
        with psycopg.connect(self.dsn, autocommit=True) as api:
            # As the API's own limit would, this makes an error of a stall.
            api.execute("SET statement_timeout = '5s'")
            while not self.stopped.is_set():
                self.read(self, api)
                time.sleep(0.02)

    def find(self, connection, *, prepare=False):
        """One read of the next source."""
        source, times = next(self.turns)
        query = f"SELECT count(*), min(n), max(n) FROM ({source}) AS t"
        count, lowest, highest = connection.execute(query, prepare=prepare).fetchone()
        assert (count, lowest) == (ROWS * times, highest), source
        self.saw(highest)
        return highest

    def saw(self, number):
        assert not self.seen or self.seen[-1] <= number, "went back"
        self.seen.append(number)


def statements(reader, api):
    reader.find(api)


def prepared(reader, api):
    reader.find(api, prepare=True)


def repeatable_read(reader, api):
    """Several statements, one snapshot."""
    with api.transaction():
        api.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert len({reader.find(api) for _ in range(3)}) == 1


def older_than_a_publish(reader, api):
    """A transaction whose snapshot was taken before what it comes to read was published."""
    with api.transaction():
        api.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        api.execute("SELECT 1 FROM pg_class LIMIT 1")
        reader.stopped.wait(0.2)
        assert len({reader.find(api) for _ in range(2)}) == 1


def long(reader, api):
    """A result that is fetched slowly."""
    source, times = next(reader.turns)
    with api.transaction(), api.cursor("slow") as cursor:
        cursor.execute(source)
        found = cursor.fetchmany(3)
        reader.stopped.wait(0.2)
        found += cursor.fetchall()
    assert found == [found[0]] * ROWS * times
    reader.saw(found[0][0])
    reader.stopped.wait(0.4)


def staged(services, connection, number):
    """Put a snapshot where staging puts it, by the product's own means, without the way through the bucket."""
    table, parts = services.catalog.tables[TABLE], []
    with connection.transaction():
        for part in range(PARTS):
            version = ObjectVersion("bucket", f"{number}/{part}", 1)
            part_id = snapshots.claim_part(connection, TABLE, day(number), version)
            tables.create_child(connection, services.catalog.schema, table, part_id)
            columns = sql.SQL(
                "COPY {} (item_id, unique_id, offer_id, booking_number, is_sensitive, is_geolocated) FROM STDIN"
                " (FREEZE)"
            )
            with connection.cursor().copy(columns.format(tables.child(part_id))) as copy:
                for row in range(ROWS // PARTS):
                    copy.write_row(("i", "u", f"{part}-{row}", number, False, True))
            counted = of_table(connection, tables.child(part_id), table.columns)
            connection.execute(snapshots.finished(connection, part_id, 0, None, counted))
            parts.append((version, ROWS // PARTS))
        snapshots.record(connection, TABLE, day(number), snapshots.Snapshot(ROWS, ROWS), parts)


def rolled_back(call, monkeypatch, module):
    """Let a transaction fail when all is done but its commit."""
    at_once = module.at_once

    def fail(*given):
        at_once(*given)
        raise DataError("fails at the end")

    with monkeypatch.context() as failing:
        failing.setattr(module, "at_once", fail)
        with pytest.raises(DataError, match="fails at the end"):
            call()


def test_no_reader_ever_sees_less_than_one_whole_snapshot(here, services, monkeypatch):
    table, api = services.catalog.tables[TABLE], here.cloud.postgres.dsn(here.name, "api")
    with connect(services.settings, "test") as connection:
        migrations.migrate(connection)
        run = TableRun(services, connection, table)
        tables.ensure(connection, run.schema, table)
        staged(services, connection, 1)
        assert publish(run, day(1))
        refresh(services, TABLE, 1)
        kinds = (statements, prepared, repeatable_read, older_than_a_publish, long)
        readers = {
            (kind.__name__, what): Reader(api, kind, sources)
            for what, sources in (("table", OF_THE_TABLE), ("views", OF_THE_VIEWS))
            for kind in kinds
        }
        swaps = 0
        for number in range(2, SNAPSHOTS + 1):
            staged(services, connection, number)
            if number % 3 == 0:
                rolled_back(lambda n=number: publish(run, day(n)), monkeypatch, swapping)
            assert publish(run, day(number))
            if number % 36 == 0:
                rolled_back(lambda n=number: refresh(services, TABLE, n), monkeypatch, swap_views)
            if number % 12 == 0:
                assert refresh(services, TABLE, number) == "refreshed"
                swaps += 1
        for reader in readers.values():
            reader.stopped.set()
        for reader in readers.values():
            reader.thread.result()
        assert one(connection, "SELECT count(*) FROM recosync.publication") == SNAPSHOTS
    for (kind, what), reader in readers.items():
        slow = kind in ("long", "older_than_a_publish")
        assert len(reader.seen) > (30 if slow else 500), (kind, what)
        assert len(set(reader.seen)) > (swaps // 2 if what == "views" else 20 if slow else 100), (kind, what)
