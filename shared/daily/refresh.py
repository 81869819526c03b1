"""Refresh: rebuild the views that read a published table beside the live ones, then swap them all at once.

Readers keep the old views until the swap, which takes a few ms. A view is labelled with the publication that it was
built from. The build reads that number under the lock that keeps a publish away, so a view never claims rows that it
does not hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import psycopg

from shared import log, trace
from shared.catalog import View
from shared.daily import lineage, live, swap_views
from shared.daily.announce_views import announce_views
from shared.daily.build import build_all, drop
from shared.daily.context import DailyRun
from shared.daily.templates import digest_of_all, is_another, outlook
from shared.db.locks import Lock, await_shared_lock, lock_or_busy, session_locks
from shared.db.postgres import connect, translated
from shared.errors import (
    BadRequestError,
    CatalogError,
    ConfigurationError,
    PermanentError,
    RetryableError,
    SyncError,
    TargetError,
)
from shared.ledger import (
    attempts,
    failing,
    failures,
    migrations,
    publications,
    snapshots,
    standing,
    view_builds,
)
from shared.ledger.attempts import Work
from shared.ledger.failures import PermanentFailure
from shared.ledger.view_builds import ViewBuild
from shared.services import Services
from shared.target import columns, views

#: Seconds to wait for a publish of the table to end.
PUBLISH_PATIENCE = 60


def refresh(services: Services, table: str, publication: int) -> str:
    """Bring the views that read the table to that publication or a later one; a word for what was done.

    Raises BusyError while another worker builds one of the views. Raises CatalogError when another catalog than this
    deployment's is at work: the table is unknown, or has other columns than a template needs. Raises PermanentError,
    already recorded in the ledger, when a template, the target or an object of others that depends on a view forbids
    the refresh. After any of them, the old views stand as they were.
    """
    with (
        log.bound(table=table),
        connect(services.settings, "mv_refresh") as connection,
        translated(f"refreshing the views of {table}"),
    ):
        run = DailyRun(services, connection)
        with session_locks(connection):
            outcome = _refreshed(run, table, publication)
        _announce(run)
        return outcome


def _announce(run: DailyRun) -> None:
    """Send the messages that views stand. The views do, whoever is to be told: nobody waits for that, under no lock."""
    try:
        announce_views(run)
    except RetryableError as e:
        log.failure("messages that views stand are owed: the next refresh sends them, or hourly_export", e)


def _refreshed(run: DailyRun, table: str, publication: int) -> str:
    services, connection = run.services, run.connection
    migrations.prepare(connection, migrates=services.migrates)
    published = publications.published(connection, table)
    snapshot = published.snapshot if published else None
    views = services.catalog.views_of(table)
    traced = trace.bound(
        snapshots.traceparent(connection, table, snapshot) if snapshot else None, services.settings.project
    )
    try:
        with log.bound(snapshot=snapshot), traced, translated(f"refreshing the views of {table}"):
            if table not in services.catalog.tables:
                raise CatalogError(
                    "the catalog of this deployment does not have it",
                    where=table,
                    remedy="Deploy the functions with a catalog that has it",
                )
            if published is None or published.number < publication:
                # The message is sent after the commit, so this is another database, or an earlier state of it.
                raise ConfigurationError(
                    f"publication {publication} of it is unknown here",
                    where=table,
                    remedy="Check DATABASE_URL. After a restore, the next publish of the table makes up for it",
                )
            run.note_catalog()
            outcome = _refresh(run, views)
    except PermanentError as e:
        others = unlike(run, views)
        if others and isinstance(e.__cause__, psycopg.ProgrammingError):
            raise CatalogError(
                f"{e.what}; its columns are not those of this deployment's catalog: {', '.join(others)}",
                where=e.where,
                remedy="They change with the next publish, or with: recosync migrate",
            ) from e
        subject, tried = f"publication {publication}", digest_of_all(views)
        failures.record(connection, PermanentFailure(e, subject, table, snapshot, tried))
        raise
    failing.settle(connection, "mv_refresh", [table, *(view.name for view in views)])
    return outcome


def template_changed(run: DailyRun, view: View) -> str | None:
    """What becomes of a view that was built from another template than it has now. None of any other view, and while a
    table of the view is still to be published with other columns: a template that came with these is of no use before.
    """
    held = _held(run, view)
    if not is_another(view, (build.template for build in held.values())) or unlike(run, [view]):
        return None
    by_table = {table: digest_of_all(run.catalog.views_of(table)) for table in view.reads}
    refused = any(failures.refused(run.connection, table, tried) for table, tried in by_table.items())
    return outlook(view, refused=refused)


def rebuild(services: Services, view: View) -> None:
    """Rebuild one view now, whatever it holds.

    Raises BusyError while another worker builds it, BadRequestError when a table that it reads was never published, and
    PermanentError as `refresh` does.
    """
    with (
        log.bound(view=view.name),
        connect(services.settings, "materialize") as connection,
        session_locks(connection),
        translated(f"rebuilding {view.name}"),
    ):
        run = DailyRun(services, connection)
        migrations.prepare(connection, migrates=services.migrates)
        missing = sorted(set(view.reads) - publications.numbers(connection, view.reads).keys())
        if missing:
            raise BadRequestError(
                f"reads {', '.join(missing)}, never published yet", where=view.name, remedy="Import that first"
            )
        _refresh(run, [view], fresh_too=True)
        failing.settle(connection, "mv_refresh", [view.name])
        _announce(run)


def _refresh(run: DailyRun, views: Sequence[View], *, fresh_too: bool = False) -> str:
    for view in views:
        lock_or_busy(run.connection, Lock.view(view.name), session=True)
    reads = sorted({name for view in views for name in view.reads})
    for name in reads:
        await_shared_lock(run.connection, Lock.publication(name), PUBLISH_PATIENCE)
    current = publications.numbers(run.connection, reads)
    # A view that also reads a table without a publication is refreshed when that comes.
    ready = [view for view in views if current.keys() >= set(view.reads)]
    outdated = [view for view in ready if fresh_too or _outdated(run, view, current)]
    # A call that was cut off after its swap comes again, and finds nothing else to do.
    for view in ready:
        live.drop_leftovers(run, view, "10s" if outdated else "500ms")
    if not outdated:
        return "fresh"
    _refuse_dropped(run, outdated)
    with attempts.counted(run.connection, run.settings, *(_work(view, current) for view in outdated)):
        for view in outdated:
            live.refuse_unfit(run, view, swap_views.READERS_PATIENCE)
        _build(run, outdated, current)
    return "refreshed"


def _build(run: DailyRun, views: Sequence[View], current: Mapping[str, int]) -> None:
    """Build the views, and let them take their places."""
    now = datetime.now(UTC)
    told = {view.name: lineage.build(run, view, {name: current[name] for name in view.reads}, now) for view in views}
    for each in told.values():
        each.start()
    try:
        builds = build_all(run, views, current)
        try:
            swap_views.swap(run, builds)
        except (SyncError, psycopg.Error):
            drop(run, [build.name for build in builds])
            raise
    except Exception as e:
        for each in told.values():
            each.fail(e)
        raise
    for build in builds:
        told[build.view.name].of(build.rows).complete()


def _refuse_dropped(run: DailyRun, wanted: Sequence[View]) -> None:
    """Raise TargetError when a published table that they read is not there."""
    for name in sorted({name for view in wanted for name in view.reads}):
        table, seen = run.catalog.tables[name], publications.published(run.connection, name)
        if seen is not None and not columns.of_relation(run.connection, table.schema, name):
            raise TargetError(
                f"was dropped by hand, and {', '.join(view.name for view in wanted if name in view.reads)} reads it",
                where=f"{table.schema}.{name}",
                remedy=f"To bring it back: {standing.bring(name, seen.snapshot)}",
            )


def _work(view: View, current: Mapping[str, int]) -> Work:
    """The build of a view from those publications: the next ones may have fewer rows."""
    held = ", ".join(f"{table} {current[table]}" for table in sorted(view.reads))
    return Work(
        f"view {view.name} of {held}",
        f"Have its template read less, or give mv_refresh more time, and then: recosync materialize {view.name}",
    )


def _outdated(run: DailyRun, view: View, current: Mapping[str, int]) -> bool:
    if not views.exists(run.connection, run.relation(view)):
        return True  # whatever the ledger says: somebody dropped it
    held = _held(run, view)
    if any(table not in held or held[table].publication < current[table] for table in view.reads):
        return True
    return is_another(view, (build.template for build in held.values()))


def _held(run: DailyRun, view: View) -> dict[str, ViewBuild]:
    """What the live view holds of each table that it reads now."""
    builds = view_builds.of_view(run.connection, view.name)
    return {table: builds[table] for table in view.reads if table in builds}


def unlike(run: DailyRun, views: Sequence[View]) -> list[str]:
    """The tables, among those that the views read, that lack a column of the catalog or have it with another type.
    Another catalog publishes them, or this one has yet to publish them.
    """
    tables = [run.catalog.tables[name] for name in sorted({name for view in views for name in view.reads})]
    found = {table.name: columns.of_relation(run.connection, table.schema, table.name) for table in tables}
    return [table.name for table in tables if not columns.of_catalog(table).items() <= found[table.name].items()]
