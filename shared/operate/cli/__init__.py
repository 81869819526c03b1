"""The command line `recosync`: one module per group of commands, over the same code that the functions call.

The command that needs a heavy module imports it itself: people wait for `--help` and for shell completion.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from shared import lineage
from shared.catalog import FOLDER_VARIABLE
from shared.errors import printable, shown
from shared.operate.cli import add, daily, decide, doctor, folder, fresh, hourly, look
from shared.operate.cli.commands import Group
from shared.operate.cli.output import Exit

DESCRIPTION = """BigQuery tables to PostgreSQL every day, the API's log back every hour.

It works on the deployment that the environment describes, with the variables that the functions have.
"""

#: The exit code of what SIGINT ended, as a shell has it.
INTERRUPTED = 130

#: For a terminal whose cursor a progress bar has hidden.
SHOW_CURSOR = "\x1b[?25h\n"

#: Every command, in the order of the help.
GROUPS: tuple[Group, ...] = (
    daily.GROUP,
    hourly.GROUP,
    look.GROUP,
    fresh.GROUP,
    doctor.GROUP,
    add.CATALOG,
    folder.GROUP,
    decide.GROUP,
)


def build() -> typer.Typer:
    """The application."""
    app = typer.Typer(
        name="recosync",
        help=DESCRIPTION,
        no_args_is_help=True,
        rich_markup_mode=None,
        # A traceback with the values of variables would show rows and secrets.
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def recosync(
        version: Annotated[
            bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Tell the version, and leave.")
        ] = False,
        catalog: Annotated[
            Path | None,
            typer.Option(
                "--catalog",
                envvar=FOLDER_VARIABLE,
                exists=True,
                metavar="FOLDER",
                help="The folder with the deployment's own catalog and the templates of its views.",
            ),
        ] = None,
    ) -> None:
        """Also holds an application of a single command to its name."""
        if catalog is not None:
            os.environ[FOLDER_VARIABLE] = str(catalog)

    for group in GROUPS:
        group.add_to(app)
    return app


def _tell_version(asked: bool) -> None:
    if not asked:
        return
    try:
        told = metadata.version("recosync")
    except metadata.PackageNotFoundError:
        told = "of a tree that is not installed"
    typer.echo(f"recosync {told}")
    raise typer.Exit


def main() -> None:
    """The console script."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    _refuse_unprintable(sys.argv[1:])
    try:
        build()(prog_name="recosync")
    finally:
        lineage.flush()


def _refuse_unprintable(arguments: Sequence[str]) -> None:
    """Leave for an argument that can't be printed: no name here is so, and what typer says would show it as it is."""
    for argument in arguments:
        if printable(argument) != argument:
            sys.stderr.write(f"recosync: an argument holds what can't be printed: {shown(argument, 200)}\n")
            sys.exit(Exit.USAGE)


def _leave(*_: object) -> None:
    """Leave at once: threads at work would be waited for, and what they do is taken up by the next call."""
    # What is written just now can't be flushed as well.
    with suppress(OSError, RuntimeError):
        if sys.stderr.isatty():
            sys.stderr.write(SHOW_CURSOR)
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(INTERRUPTED)
