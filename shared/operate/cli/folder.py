"""Commands about the deployment's own folder: its catalog, its templates, and what Terraform reads of it."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.errors import BadRequestError, ConfigurationError, SyncError
from shared.operate.cli.commands import AsJson, Group, Verbose
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
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Check the catalog, render every template, and compare what Terraform reads.

    It needs no environment and no network.
    """
    with reporting(as_json, verbose) as output:
        from shared import catalog

        mistakes: list[str] = []
        found: Catalog | None = None
        place = catalog.Place.of(file) if file else catalog.Place.here()
        try:
            found = catalog.load(place)
        except ConfigurationError as e:
            lines = e.what.splitlines()
            mistakes = lines if len(lines) > 1 or "mistakes" in e.where else [str(e)]
        if found is not None:
            mistakes = [*_unrenderable(found), *_stale(found, place)]
        for mistake in mistakes:
            output.problem(f"recosync: {mistake}")
        if found is not None and not mistakes:
            _summarize(output, found)
        counts = {kind: list(getattr(found, kind)) if found else [] for kind in ("tables", "views", "hourly")}
        output.document({"valid": not mistakes, "mistakes": mistakes, **counts})
        if mistakes:
            raise typer.Exit(Exit.FAILED)


@CATALOG.command("types", example="recosync catalog types")
def types(as_json: AsJson = False, verbose: Verbose = False) -> None:
    """Tell which types a column of a table may have, and what each is made from.

    It needs no environment and no network.
    """
    with reporting(as_json, verbose) as output:
        from shared import catalog

        known = catalog.type_table()
        output.table("Types of a table's columns", ["PostgreSQL", "BigQuery"], [list(row) for row in known])
        output.document({"types": [{"postgresql": type_, "bigquery": sources} for type_, sources in known]})


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
