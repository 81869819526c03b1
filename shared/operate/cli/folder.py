"""Commands about the deployment's own folder: its catalog, its templates, and what Terraform reads of it."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.catalog import FOLDER_VARIABLE
from shared.errors import BadRequestError, ConfigurationError, SyncError
from shared.names import AHEAD
from shared.operate.cli.commands import AsJson, Group, Verbose, daily_services, hourly_services
from shared.operate.cli.output import Exit, Output, reporting

if TYPE_CHECKING:
    from shared.catalog import Catalog, Place

GROUP = Group()
CATALOG = Group("catalog", "The catalog of tables, views and logs.")

#: What a new folder begins with.
_EXAMPLE = Path(__file__).parent / "example"


@CATALOG.command("check", example="recosync catalog check")
def check(
    file: Annotated[
        Path | None, typer.Option("--file", exists=True, metavar="PATH", help="Another catalog, or its folder.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Also compare it with BigQuery and PostgreSQL as they are now.")
    ] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Check the catalog, render every template, and compare what Terraform reads.

    It needs no environment and no network, unless --live asks for what differs from BigQuery and PostgreSQL.
    """
    with reporting(as_json, verbose) as output:
        from shared import catalog

        mistakes: list[str] = []
        found: Catalog | None = None
        if file:
            os.environ[FOLDER_VARIABLE] = str(file)  # as `recosync --catalog` does
        place = catalog.Place.here()
        try:
            found = catalog.load(place)
        except ConfigurationError as e:
            lines = e.what.splitlines()
            mistakes = lines if len(lines) > 1 or "mistakes" in e.where else [str(e)]
        if found is not None:
            mistakes = [*_ahead(found, place), *_unrenderable(found), *_stale(found, place)]
        for mistake in mistakes:
            output.problem(f"recosync: {mistake}")
        differences: list[str] = []
        notes: list[str] = []
        if found is not None and not mistakes:
            _summarize(output, found)
            if live:
                differences, notes = _compare(output, found, place)
        counts = {kind: list(getattr(found, kind)) if found else [] for kind in ("tables", "views", "hourly")}
        told = {"mistakes": mistakes, "differences": differences, "notes": notes}
        output.document({"valid": not mistakes, **told, **counts})
        if mistakes or differences:
            raise typer.Exit(Exit.FAILED)


@CATALOG.command("types", example="recosync catalog types")
def types(as_json: AsJson = False, verbose: Verbose = False) -> None:
    """Tell which types a column of a table or log may have, and what each is made from or becomes.

    It needs no environment and no network.
    """
    with reporting(as_json, verbose) as output:
        from shared import catalog

        tables, logs = catalog.type_table(), catalog.log_type_table()
        output.table("Types of a table's columns", ["PostgreSQL", "BigQuery"], [list(row) for row in tables])
        output.table("Types of a log's columns", ["PostgreSQL", "BigQuery"], [list(row) for row in logs])
        output.document(
            {
                kind: [{"postgresql": type_, "bigquery": others} for type_, others in known]
                for kind, known in (("types", tables), ("log_types", logs))
            }
        )


@CATALOG.command("terraform", example="recosync catalog terraform")
def terraform(as_json: AsJson = False, verbose: Verbose = False) -> None:
    """Write what Terraform reads of the catalog, as terraform.json beside it.

    The file is committed with the catalog. It needs no environment and no network.
    """
    with reporting(as_json, verbose) as output:
        from shared import catalog
        from shared.operate.cli.terraform import write

        place = catalog.Place.here()
        file = write(catalog.load(place), place)
        output.line(f"{file} is written.")
        output.document({"written": str(file)})


@GROUP.command("init", example="recosync init my-sync")
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder that is not there yet.")],
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Write a folder for a catalog of your own.

    It holds a commented catalog with an example, which passes `catalog check`.
    """
    with reporting(as_json, verbose) as output:
        from shared import catalog
        from shared.operate.cli.terraform import write

        if folder.exists():
            raise BadRequestError("is there already", where=str(folder), remedy="Name a folder that is not there yet")
        shutil.copytree(_EXAMPLE, folder)
        place = catalog.Place.of(folder)
        write(catalog.load(place), place)
        output.line(f"{folder} is written. Replace its example, and then:")
        output.command(f"recosync --catalog {folder} catalog check")
        output.document({"folder": str(folder)})


def _stale(catalog: Catalog, place: Place) -> list[str]:
    """That what Terraform would read is not what the catalog says."""
    from shared.operate.cli.terraform import COMMAND, stale

    file = stale(catalog, place)
    return [f"{file} is not what the catalog says. Write it: {COMMAND}"] if file else []


def _ahead(catalog: Catalog, place: Place) -> list[str]:
    """The logs whose first hour lies ahead, each with its line: no hour of them would be due."""
    from shared.catalog import located, text_of

    latest = datetime.now(UTC) + AHEAD
    mistakes = [
        (("hourly", log.name, "start"), "should be at most a day ahead: until then, no hour is due")
        for log in catalog.hourly.values()
        if log.start is not None and log.start.start > latest
    ]
    return list(located(place.file, text_of(place.file), mistakes))


def _unrenderable(catalog: Catalog) -> list[str]:
    """What is wrong with the templates."""
    from shared.daily.templates import render, timestamp

    mistakes = []
    for view in catalog.views.values():
        try:
            render(view, timestamp(datetime.now(UTC)))
        except SyncError as e:
            mistakes.append(str(e))
    return mistakes


def _compare(output: Output, catalog: Catalog, place: Place) -> tuple[list[str], list[str]]:
    """What differs from BigQuery and PostgreSQL, and what is worth knowing, each with its line."""
    from shared.catalog import located, text_of
    from shared.operate import live

    found = []
    with output.progress("comparing", total=len(catalog.tables) + len(catalog.hourly)) as bar:

        def done(name: str) -> None:
            bar.advance(doing=name)

        if catalog.tables:
            found.append(live.of_tables(daily_services(), done))
        if catalog.hourly:
            found.append(live.of_logs(hourly_services(), done))
    text = text_of(place.file)
    differences = list(located(place.file, text, [each for one in found for each in one.differences]))
    notes = list(located(place.file, text, [each for one in found for each in one.notes]))
    for note in notes:
        output.line(note)
    for difference in differences:
        output.problem(f"recosync: {difference}")
    if not differences:
        output.line("Nothing differs from BigQuery and PostgreSQL.")
    return differences, notes


def _summarize(output: Output, catalog: Catalog) -> None:
    readers = {name: ", ".join(view.name for view in catalog.views_of(name)) for name in catalog.tables}
    output.table(
        "Tables, from BigQuery to PostgreSQL",
        ["Table", "Source", "Columns", "Key", "Views"],
        [
            [t.name, str(t.source), len(t.columns), ", ".join(t.key) or None, readers[t.name]]
            for t in catalog.tables.values()
        ],
    )
    if catalog.hourly:
        output.table(
            "Logs, from PostgreSQL to BigQuery",
            ["Log", "Time", "Key", "Columns"],
            [[log.name, log.time, log.key, len(log.columns)] for log in catalog.hourly.values()],
        )
    output.line("The catalog is valid, and its templates render.")
