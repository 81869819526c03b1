"""What the commands are made of: their spellings and examples, and the options that many of them share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from shared.errors import BadRequestError
from shared.names import Hour, SnapshotId, parse_day

if TYPE_CHECKING:
    from shared.catalog import Table, View
    from shared.services import HourlyServices, Services


#: Seconds that a command may be at work: no platform ends it, as it ends a function.
OPERATORS_LIFE = 86_400


@dataclass(frozen=True)
class Command:
    """One command under its name and its old spellings, which no list shows, and which work."""

    name: str
    run: Callable[..., None]
    example: str
    aliases: tuple[str, ...] = ()

    @property
    def spellings(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)

    @property
    def epilog(self) -> str:
        old = f"\n\nAlso spelled {', '.join(self.aliases)}." if self.aliases else ""
        return f"Example: {self.example}{old}"


@dataclass(frozen=True)
class Group:
    """Commands that belong together: under a heading of the help, or with a `name`, under a command of that name."""

    name: str | None = None
    help: str | None = None
    commands: list[Command] = field(default_factory=list)

    def command[F: Callable[..., None]](self, name: str, *aliases: str, example: str) -> Callable[[F], F]:
        """Register a function as a command."""

        def register(function: F) -> F:
            self.commands.append(Command(name, function, example, aliases))
            return function

        return register

    def add_to(self, app: typer.Typer) -> None:
        into = app
        if self.name is not None:
            into = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
            app.add_typer(into, name=self.name, help=self.help)

            @into.callback()
            def several() -> None:
                """Hold a group of a single command to that command's name."""

        for command in self.commands:
            for spelling in command.spellings:
                into.command(spelling, epilog=command.epilog, hidden=spelling != command.name)(command.run)


@dataclass(frozen=True)
class BucketPath:
    """A place in Cloud Storage that stands for a bucket and a prefix of the environment."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, text: str) -> BucketPath:
        """`gs://bucket/prefix`. Raises typer.BadParameter."""
        match = re.fullmatch(r"gs://([a-z0-9][a-z0-9._-]+[a-z0-9])/([A-Za-z0-9_.=-]+(?:/[A-Za-z0-9_.=-]+)*)/?", text)
        if match is None:
            raise typer.BadParameter("write it gs://bucket/prefix")
        return cls(match[1], match[2])

    def __str__(self) -> str:
        return f"gs://{self.bucket}/{self.prefix}"


def daily_services(path: BucketPath | None = None) -> Services:
    """The daily flow's services, at the given place in Cloud Storage in place of the environment's. Commands with these
    services leave an older ledger as it is: only `migrate` brings it up to date.
    """
    from shared.services import Services

    services = Services.from_environment(_environment("EXPORT", path))
    return replace(services, settings=replace(services.settings, life=OPERATORS_LIFE), migrates=False)


def hourly_services(path: BucketPath | None = None) -> HourlyServices:
    """The hourly flow's services, at the given place in Cloud Storage in place of the environment's."""
    from shared.services import HourlyServices

    services = HourlyServices.from_environment(_environment("HOURLY", path))
    return replace(services, settings=replace(services.settings, life=OPERATORS_LIFE))


def fires_events(path: BucketPath | None) -> bool:
    """Whether the functions import what is written there: events fire for EXPORT_BUCKET, below EXPORT_PREFIX."""
    place = (os.environ.get("EXPORT_BUCKET"), os.environ.get("EXPORT_PREFIX"))
    return path is None or (path.bucket, path.prefix) == place


def chosen(given: list[str] | None, option: str | None) -> list[str]:
    """The names given as arguments and by the old option, each once."""
    return list(dict.fromkeys([*(given or []), *([option] if option else [])]))


def known_tables(services: Services, given: list[str] | None, option: str | None = None) -> list[Table]:
    """The tables asked for; all when none is. Raises BadRequestError for one that the catalog does not have."""
    tables = services.catalog.tables
    return [_known(name, tables, "table") for name in chosen(given, option) or tables]


def known_views(services: Services, given: list[str] | None, option: str | None = None) -> list[View]:
    """The views asked for; all when none is. Raises BadRequestError for one that the catalog does not have."""
    views = services.catalog.views
    return [_known(name, views, "view") for name in chosen(given, option) or views]


def operator() -> str:
    """Who is at the keyboard, for the ledger."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"  # a container's user may have no name


def _known[T](name: str, known: Mapping[str, T], kind: str) -> T:
    if name not in known:
        raise BadRequestError(f"is no {kind} of the catalog, which has {', '.join(known)}", where=name)
    return known[name]


def _environment(flow: str, path: BucketPath | None) -> Mapping[str, str]:
    if path is None:
        return os.environ
    return {**os.environ, f"{flow}_BUCKET": path.bucket, f"{flow}_PREFIX": path.prefix}


def _tables() -> list[str]:
    return _names(lambda catalog: catalog.tables)


def _views() -> list[str]:
    return _names(lambda catalog: catalog.views)


def _logs() -> list[str]:
    return _names(lambda catalog: catalog.hourly)


def _tables_and_logs() -> list[str]:
    return [*_tables(), *_logs()]


def _tables_and_views() -> list[str]:
    return [*_tables(), *_views()]


def _names(of: Callable[..., Mapping[str, object]]) -> list[str]:
    """Names for the shell to complete: none when the catalog can't be read, because nobody would see why."""
    from shared import catalog
    from shared.errors import SyncError

    try:
        return list(of(catalog.load()))
    except SyncError:
        return []


def parse_day_option(text: str) -> date:
    try:
        return parse_day(text)
    except ValueError:
        raise typer.BadParameter("write it YYYYMMDD") from None


def _snapshot(text: str) -> SnapshotId:
    try:
        return SnapshotId.parse(text)
    except ValueError:
        raise typer.BadParameter("write it YYYYMMDDTHHMMSSZ") from None


def parse_hour(text: str) -> Hour:
    """An hour, or the first of a day. Raises typer.BadParameter."""
    try:
        return Hour.parse(text if "T" in text else f"{text}T00")
    except ValueError:
        raise typer.BadParameter("write it YYYYMMDD or YYYYMMDDTHH, in UTC") from None


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, for scripts.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the log on standard error.")]
TableArgument = Annotated[str, typer.Argument(metavar="TABLE", help="A table.", autocompletion=_tables)]
TableArguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="TABLE", help="Tables; all when none is named.", autocompletion=_tables),
]
TableOrLogArguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME", help="Tables and logs; all when none is named.", autocompletion=_tables_and_logs),
]
TableOption = Annotated[
    str | None, typer.Option("--table-name", metavar="TABLE", help="One table.", autocompletion=_tables)
]
ViewOption = Annotated[str | None, typer.Option("--view-name", metavar="VIEW", help="One view.", autocompletion=_views)]
ViewArguments = Annotated[
    list[str] | None, typer.Argument(metavar="VIEW", help="Views; all when none is named.", autocompletion=_views)
]
TableOrViewArguments = Annotated[
    list[str],
    typer.Argument(metavar="NAME", help="Tables and views.", autocompletion=_tables_and_views),
]
LogArgument = Annotated[str, typer.Argument(metavar="LOG", help="A log.", autocompletion=_logs)]
LogOption = Annotated[
    str | None,
    typer.Option(
        "--table-name", metavar="LOG", help="The log; may be left out if it is the only one.", autocompletion=_logs
    ),
]
BucketOption = Annotated[
    BucketPath | None,
    typer.Option(
        "--bucket-path",
        parser=BucketPath.parse,
        metavar="gs://BUCKET/PREFIX",
        help="Instead of the environment's bucket and prefix.",
    ),
]
DayOption = Annotated[
    date | None, typer.Option("--date", parser=parse_day_option, metavar="YYYYMMDD", help="A day, in UTC.")
]
SnapshotOption = Annotated[
    SnapshotId | None,
    typer.Option("--snapshot", parser=_snapshot, metavar="YYYYMMDDTHHMMSSZ", help="That snapshot."),
]
SnapshotArgument = Annotated[
    SnapshotId | None, typer.Argument(parser=_snapshot, metavar="SNAPSHOT", help="A snapshot, YYYYMMDDTHHMMSSZ.")
]
