"""The daily flow by chance: real functions, PostgreSQL and emulators, and whatever may happen to them at once."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from pathlib import Path
from random import Random

import psycopg

from local import eventarc
from local.cloud import Deployment
from local.functions import Instance, Spec
from shared.catalog import FOLDER_VARIABLE
from shared.daily import refresh
from shared.errors import PermanentError, SyncError
from shared.ledger import view_builds
from shared.operate import decisions, migrate, verify
from shared.services import Services
from shared.upkeep import housekeeping, reconcile
from tests.chaos import readers
from tests.chaos.readers import Reader
from tests.chaos.schedule import Kind, Schedule, made
from tests.chaos.world import ACTS, CATALOG, HELD, PATIENCE, Heard, Ways, World, deployed, each, faults, one_of
from tests.kit.background import Background
from tests.kit.messages import subscribed

TABLES, VIEWS = ("a", "b"), ("a_mv", "both_mv")
FUNCTIONS = {
    "bq_export": Spec("http"),
    "gcs_import": Spec("cloudevent", "storage", instances=2),
    "mv_refresh": Spec("cloudevent", "topic", instances=2),
}
#: Rows of a state of the source: a hold is about a change of a thousand, and a full one has four parts.
FULL, SHRUNK, EMPTY = (1_110, 1_390), (10, 90), (0, 0)
#: Calls that have to be enough, however fast the machine is.
CALLS = 4
#: The catalog of a deployment to come: `a` has one more column, and its view shows it.
NEXT = Path(__file__).parent / "catalog_next"

_tables, _views = one_of(*TABLES), one_of(*VIEWS)
KINDS = {
    "fill": Kind(6, each(one_of("full", "full", "full", "full", "shrunk", "empty"), _tables)),
    "export": Kind(10, each(one_of(1, 1, 1, 2, 3), one_of("planned", "planned", "late", "force", "date"))),
    "events": Kind(4, each(one_of(1, 1, 2), one_of(0, 0, 0.3), one_of(0, 0.3, 1, 2.5))),
    "deploy": Kind(2, each(one_of("next", "next", "before"))),
    "rollback": Kind(2, each(_tables)),
    "unpin": Kind(2, each(_tables)),
    "approve": Kind(2, each(_tables)),
    "reject": Kind(1, each(_tables)),
    "materialize": Kind(1, each(_views)),
    "migrate": Kind(1),
    "keep_house": Kind(1),
    "reconcile": Kind(2),
    **faults(
        one_of("gcs_import", "gcs_import", "mv_refresh", "bq_export"),
        one_of(
            "COMMIT", "COPY", "INHERIT", "RENAME", "advisory", "recosync.publication", "recosync.part", "REFRESH", "."
        ),
        one_of(("GET", "/o/"), ("GET", "/o\\?"), ("POST", "upload"), ("POST", "manifest.json"), ("GET", "parquet")),
        one_of(("POST", "/jobs"), ("GET", "/jobs/"), ("GET", "/tables/"), ("GET", "/queries/"), ("DELETE", "/tables/")),
    ),
}


def schedule(seed: int) -> Schedule:
    return made(seed, KINDS, ("fill", "export"), ACTS)


class Daily(World):
    """Two tables and their views, from BigQuery to readers."""

    def __init__(self, here: Deployment, ways: Ways, refreshed: Heard, published: Heard) -> None:
        super().__init__(here, ways)
        here.eventarc.longest_backoff = 1.0  # time is scaled
        self.refreshed, self.published = refreshed, published
        self.services = Services.from_environment()
        self._catalog = CATALOG
        self._state, self._back, self._exported = 0, 0, 0.0
        self._totals: dict[str, int] = {}
        self._states: dict[str, int] = {}
        self._lost: set[str] = set()
        #: Rollbacks that were asked for and refused.
        self._refused: list[SyncError] = []
        self._known: set[tuple[str, str]] = set()
        self._fill("full", *TABLES)
        self._heal()

    def _env(self, instance: Instance) -> Mapping[str, str]:
        return {**self.here.env, FOLDER_VARIABLE: str(self._catalog)}

    def _play(self, of: Schedule) -> int:
        self._back, self._lost, self._refused = 0, set(), []
        self.published.forget()
        self.refreshed.forget()
        self._known = self._publications()
        delivered = len(self.here.eventarc.deliveries)
        api = self.here.cloud.postgres.dsn(self.here.name, "api")
        readings = [Reader(api, kind, what) for kind in readers.KINDS for what in (readers.OF_TABLES, readers.OF_VIEWS)]
        self._happen(of)
        self._deploy("before")
        self._wait_for(self._steps)
        self._idle(PATIENCE / 12)
        self._end_faults()
        if all(act.what != "deploy" for act in of.acts):  # what another catalog has exported waits for the next export
            self._settle()
        self._heal()
        if self._sleepers:
            self._wait_for(self._sleepers)
            self._idle()
            self._told += [f"stuck: once the frozen woke: {what}" for what in self._differences()]
        for reader in readings:
            reader.stopped.set()
        restarted = any(act.what == "restart_server" for act in of.acts)
        for reader in readings:
            reader.ended()
            if reader.lost and not restarted:
                self._told.append(f"mixed: {reader.lost} readers' connections were ended")
            self._told += [
                f"mixed: {what}" for what in reader.wrong or ([] if reader.reads else ["nothing was ever read"])
            ]
            if reader.steps_back() > (back := self._back - len(self._refused)):
                self._told.append(f"backwards: {reader.steps_back()} times, {back} asked for: {reader.seen}")
        self._check(delivered)
        return sum(reader.reads for reader in readings)

    # What happens

    def _idle(self, seconds: float = PATIENCE / 4) -> None:
        """Wait until no event is under way, or for a while."""
        self.here.eventarc.faults = eventarc.Faults()
        with suppress(TimeoutError):
            self.here.eventarc.wait_idle(seconds, quiet=0.3)

    def _fill(self, how: str, *tables: str) -> None:
        self._state += 1
        least, most = {"full": FULL, "shrunk": SHRUNK, "empty": EMPTY}[how]
        for table in tables:
            self._states[table], self._totals[table] = self._state, (total := self._chance.randint(least, most))
            rows = (
                f"SELECT CONCAT('k', CAST(i AS STRING)) AS k, {self._state} AS n, {total} AS total, i AS more"
                f" FROM UNNEST(GENERATE_ARRAY(1, {max(total, 1)})) i{'' if total else ' WHERE FALSE'}"
            )
            self.here.bigquery_client.query(f"CREATE OR REPLACE TABLE seed_local.{table} AS {rows}").result()

    def _export(self, copies: int, how: str) -> None:
        now = datetime.now(UTC)
        headers, body = {"X-CloudScheduler-ScheduleTime": now.isoformat()}, {}
        if how == "late":
            headers = {"X-CloudScheduler-ScheduleTime": (now - timedelta(seconds=20)).isoformat()}
        elif how == "force":
            headers, body = {}, {"force": True}
        elif how == "date":
            headers, body = {}, {"date": f"{now - timedelta(days=1):%Y%m%d}"}
        self._exported = time.monotonic()
        self._calls += [
            Background(lambda: self._call(self.here.url("bq_export"), body, headers)) for _ in range(copies)
        ]

    def _deploy(self, which: str) -> None:
        """Deploy the functions with another catalog, or with that of before: each instance is restarted."""
        catalog = NEXT if which == "next" else CATALOG
        if catalog != self._catalog:
            self._catalog = catalog
            self._renew(*self.here.all_instances)

    def _events(self, copies: int, lost: float, late: float) -> None:
        seed = self._chance.random()

        def by_chance(event: eventarc.CloudEvent) -> float:
            return Random(f"{seed} {event.subject} {event.data}").random()  # noqa: S311

        def drop(event: eventarc.CloudEvent) -> bool:
            if by_chance(event) < lost:
                self._lost.add(event.id)
                return True
            return False

        self.here.eventarc.faults = eventarc.Faults(copies, drop, lambda event: late * by_chance(event))

    def _rollback(self, table: str) -> None:
        self._back += 1

        def rollback() -> None:
            try:
                decisions.rollback(self.services, table, None, "chaos")
            except PermanentError as e:
                self._refused.append(e)
                raise

        self._operate(rollback)

    def _unpin(self, table: str) -> None:
        def unpin() -> None:
            decisions.unpin(self.services, table, "chaos")
            kept = decisions.kept_back(self.services, table)
            if kept is not None:
                decisions.bring(self.services, table, kept, "chaos")

        self._operate(unpin)

    def _approve(self, table: str) -> None:
        self._operate(lambda: decisions.approve(self.services, table, None, "chaos"))

    def _reject(self, table: str) -> None:
        self._operate(lambda: decisions.reject(self.services, table, None, "chaos"))

    def _materialize(self, view: str) -> None:
        self._operate(lambda: refresh.rebuild(self.services, self.services.catalog.views[view]))

    def _migrate(self) -> None:
        self._operate(lambda: migrate.migrate(self.services))

    def _keep_house(self) -> None:
        self._operate(lambda: housekeeping.run(self.services, datetime.now(UTC) + timedelta(days=4)))

    def _reconcile(self) -> None:
        self._operate(lambda: reconcile.run(self.services, datetime.now(UTC) + timedelta(hours=1)))

    # How it comes to its end

    def _heal(self) -> None:
        """What a human does who sees that something waits for a decision; then nothing but the daily calls."""
        for table in TABLES:
            for decide in (decisions.reject, decisions.unpin):
                with suppress(SyncError):
                    decide(self.services, table, *(() if decide is decisions.unpin else (None,)), "chaos")
        self._fill("full", *TABLES)
        deadline = time.monotonic() + PATIENCE
        for call in itertools.count(1):
            # Snapshots of one second are one.
            time.sleep(max(0, self._exported + 1.05 - time.monotonic()))
            self._exported = time.monotonic()
            status, _ = self._call(self.here.url("bq_export"), {}, {})
            self._idle()
            if self._differences():
                for table in TABLES:  # so far apart that a human has to look at it
                    with suppress(SyncError):
                        decisions.approve(self.services, table, None, "chaos")
                self._idle()
            self._found.calls += 1
            if status == HTTPStatus.OK and not self._differences():
                return
            if call >= CALLS and time.monotonic() > deadline:
                break
        self._told += [f"stuck: {what}" for what in (*self._differences(), f"the last call was answered {status}")]

    def _settle(self) -> None:
        """What was begun comes to its end without anything new: hourly_export sends again what was lost."""
        deadline = time.monotonic() + PATIENCE
        for call in itertools.count(1):
            self._retried(lambda: reconcile.run(self.services, datetime.now(UTC) + timedelta(hours=1)))
            self._idle()
            self._found.calls += 1
            apart = self._apart()
            begun = [what for what in apart if _COUNTED not in what]
            if not begun or (call >= CALLS and time.monotonic() > deadline):
                break
        self._told += [f"{'stuck' if what in begun else 'apart'}: {what}" for what in apart]

    def _apart(self) -> list[str]:
        """Where tables, views, ledger and bucket differ, by the product's own account."""
        settings = replace(self.services.settings, reconcile_after=timedelta())
        services = replace(self.services, settings=settings)
        verdicts = [self._retried(partial(verify.table, services, table)) for table in services.catalog.tables.values()]
        return [f"{verdict.table}: {what}" for verdict in verdicts for what in verdict.differences]

    def _differences(self) -> list[str]:
        """Where readers don't see the source as it is."""
        found = []
        with psycopg.connect(self.here.dsn, autocommit=True) as connection:
            for source in (*TABLES, *VIEWS):
                name = "name" if source in VIEWS else f"'{source}'"
                query = (
                    f"SELECT {name}, count(*), count(DISTINCT k), min(n), max(n) FROM {source} GROUP BY 1 ORDER BY 1"
                )
                try:
                    seen = connection.execute(query.encode()).fetchall()
                except psycopg.Error as e:
                    found.append(f"{source}: {e}")
                    continue
                read = TABLES if source == "both_mv" else (source.removesuffix("_mv"),)
                wanted = [(name, *[self._totals[name]] * 2, *[self._states[name]] * 2) for name in read]
                if seen != wanted:
                    found.append(f"{source} has {seen}, should have {wanted}")
        return found

    def _check(self, delivered: int) -> None:
        """What is left where all has come to its end."""
        self._told += [f"apart: {what}" for what in self._apart()]
        later = datetime.now(UTC) + timedelta(days=4)
        dropped = self._retried(lambda: housekeeping.run(self.services, later))
        if dropped is None or None in dropped.values():
            self._told.append(f"stuck: housekeeping gave {dropped}")
        temporary = [table.table_id for table in self.here.bigquery_client.list_tables("tmp_local")]
        if temporary:
            self._told.append(f"leak: temporary tables {temporary[:5]}")
        self._retried(lambda: reconcile.run(self.services, datetime.now(UTC) + timedelta(hours=1)))
        try:
            self.here.eventarc.wait_idle(PATIENCE, quiet=0.3)
        except TimeoutError as e:
            self._told.append(f"stuck: {e}")
        self._check_leaks(_LEAKS)
        last: dict[str, int] = {}
        for delivery in self.here.eventarc.deliveries[delivered:]:
            if delivery.event.id not in self._lost:
                last[f"{delivery.function} {delivery.event.id}"] = delivery.status
        bad = {event: status for event, status in last.items() if status not in (200, 204)}
        if bad:
            self._told.append(f"stuck: events without an answer: {bad}")
        self._check_messages()
        self._check_logs()

    def _publications(self) -> set[tuple[str, str]]:
        with psycopg.connect(self.here.dsn) as connection:
            return set(connection.execute("SELECT table_name, publication::text FROM recosync.publication"))

    def _check_messages(self) -> None:
        """Every publication was told of, and every build, the builds of a view in their order."""
        with psycopg.connect(self.here.dsn) as connection:
            builds = {
                (view, table, build.publication)
                for view in VIEWS
                for table, build in view_builds.of_view(connection, view).items()
            }

        publications = self._publications() - self._known

        def of_publications() -> set[tuple[str, str]]:
            return {(each.attributes["table"], each.attributes["publication"]) for each in self.published.messages}

        def newest() -> list[tuple[str, str, int]]:
            views = {each.data["view"]: each.data["tables"] for each in self.refreshed.messages}
            return [(view, held["table"], held["publication"]) for view, tables in views.items() for held in tables]

        if not self.published.until(lambda: publications <= of_publications()):
            self._told.append(f"untold: publications {publications - of_publications()}")
        if strange := of_publications() - self._publications():
            self._told.append(f"untold: of publications that never were: {strange}")
        if not self.refreshed.until(lambda: set(newest()) == builds):
            self._told.append(
                f"untold: of views {sorted(newest())} is what was told last, {sorted(builds)} what stands"
            )
        for view in VIEWS:
            times = [each.data["refreshed_at"] for each in self.refreshed.messages if each.data["view"] == view]
            if times != sorted(times):
                self._told.append(f"untold: builds of {view} in their order: {times}")


#: How verify begins to say that the rows are others than were published.
_COUNTED = "the receipt and PostgreSQL"
_LEAKS = {
    "builds": "SELECT build_name FROM recosync.building",
    "views beside the live ones": "SELECT relname FROM pg_class WHERE relkind = 'm' AND relname ~ '^[0-9]{8}T'",
    "tables of parts that nobody knows": "SELECT relname FROM pg_class WHERE relnamespace = 'recosync'::regnamespace"
    " AND relkind = 'r' AND relname ~ '^part_[0-9]+$'"
    " AND substr(relname, 6)::bigint NOT IN (SELECT id FROM recosync.part)",
    "messages that are owed": "SELECT view_name FROM recosync.refreshed"
    " UNION ALL SELECT table_name FROM recosync.publication WHERE announced_at IS NULL",
    **HELD,
}


@contextmanager
def daily() -> Iterator[Daily]:
    with (
        deployed("daily", FUNCTIONS, {}) as (here, ways),
        subscribed(here, here.refreshed_topic, "of-views") as views,
        subscribed(here, here.topic, "of-tables") as tables,
    ):
        yield Daily(here, ways, Heard(views), Heard(tables))
