"""What becomes of edits to a catalog while the local cloud is up.

The functions have a copy, as deployed ones have theirs in their archive. When the folder has changed, and what it says
now is right, a new copy takes the place of the old one: sources and logs that are new are made, and the functions start
again with it. What is wrong is told, and the copy stays in use.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql

from local import logs
from local.cloud import Deployment
from local.logs import Log
from local.sources import InputError, Sources
from shared import catalog
from shared.catalog import FOLDER_VARIABLE, SHIPPED, Catalog, HourlyTable, Place
from shared.daily.templates import render, timestamp
from shared.errors import ConfigurationError, SyncError
from shared.words import quantity

#: Digests of what files hold, by the name that they have in a copy.
type _Contents = dict[str, str]


def named(folder: Path | None) -> Place:
    """The catalog in a folder that somebody names, or that the environment names, or the one that is shipped."""
    path = folder or os.environ.get(FOLDER_VARIABLE)
    return Place.of(Path(path).absolute()) if path else SHIPPED


def checked(place: Place) -> Catalog:
    """The catalog in a place. Raises ConfigurationError that lists every mistake in it, or in its templates."""
    found = catalog.load(place)
    mistakes = []
    for view in found.views.values():
        try:
            render(view, timestamp(datetime.now(UTC)))
        except SyncError as e:
            mistakes.append(str(e))
    if mistakes:
        where = f"{quantity(len(mistakes), 'mistake')} in the templates"
        raise ConfigurationError("\n".join(mistakes), where=where)
    return found


@dataclass(frozen=True)
class Copy:
    """A copy of a catalog, with its templates and its own input, and what it is a copy of."""

    place: Place
    contents: _Contents


def copied(place: Place, to: Path) -> Copy:
    """A copy for the functions. Here every log begins at HOURLY_START, whatever hour its block names: of the hours that
    have been since, there are no rows.
    """
    read = _read(place)
    for name, content in read.items():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_bytes(_without_starts(content) if name == _CATALOG else content)
    return Copy(Place(to / _CATALOG, to / _VIEWS), _digests(read))


def _without_starts(text: bytes) -> bytes:
    """A catalog in which no log has a first hour; its lines stay where they are."""
    lines, in_log = text.splitlines(keepends=True), False
    for number, line in enumerate(lines):
        if line.lstrip().startswith(b"["):
            in_log = re.match(rb"\s*\[\s*hourly\s*\.[^.\]]+\]", line) is not None
        elif in_log and re.match(rb"\s*start\s*=", line):
            lines[number] = b"#" + line
    return b"".join(lines)


@dataclass
class World:
    """What is in the emulated cloud beside its functions: the sources of the tables, and the logs, which `fill` adds
    rows to when they are new.
    """

    here: Deployment
    sources: Sources
    fill: Callable[[Log], None]
    logs: dict[str, HourlyTable] = field(default_factory=dict)

    def make(self) -> Iterator[str]:
        """Make what the catalog has, and is not there yet; yields what is to be told of it. Raises InputError."""
        for ref in self.sources.make():
            yield f"source {ref} was made"
        for name, log in catalog.load(self.here.place).hourly.items():
            if name not in self.logs:
                self._add(log)
                yield f"log {name} was made, and has rows"
            elif _shape(self.logs[name]) != _shape(log):
                yield f"log {name} is another now, and its table is as it was: start `make local` anew for a new one"
                continue
            self.here.make_dataset(self.here.target(log))
            self.logs[name] = log

    def _add(self, log: HourlyTable) -> None:
        added = logs.create(self.here, log)
        try:
            self.fill(added)
        except psycopg.Error as e:
            where = sql.Identifier(catalog.load(self.here.place).schema, log.name)
            with psycopg.connect(self.here.dsn) as connection:
                connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(where))
            raise InputError(f"log {log.name}: its rows could not be added: {e}") from None


def _shape(log: HourlyTable) -> object:
    """What a log's table in PostgreSQL is made of."""
    return log.time, log.key, [(column.name, column.type) for column in log.columns]


class Edits:
    """What happens to the catalog in a `place`, of which the functions have a copy in a `folder`."""

    def __init__(self, place: Place, folder: Path, copy: Copy, world: World) -> None:
        """`copy` is what the functions have; the place may have changed since."""
        self._place, self._folder, self._world = place, folder, world
        self._told = self._seen = copy.contents
        self._number = 0

    def look(self) -> Iterator[str]:
        """What is to be told since the last look. A change counts once two looks have found it the same."""
        seen, now = self._seen, _digests(_read(self._place))
        self._seen = now
        if now == self._told or now != seen:
            return
        told, self._told = self._told, now
        names = sorted(name for name in {*now, *told} if now.get(name) != told.get(name))
        changed = f"{', '.join(names)} changed"
        try:
            checked(self._place)
        except ConfigurationError as e:
            yield f"{changed}, and the functions keep the catalog that they have: {e}"
            return
        self._number += 1
        copy = copied(self._place, self._folder / str(self._number))
        if copy.contents != now:
            self._told = told  # it is being edited again
            return
        yield from self._take(copy.place, changed)

    def _take(self, place: Place, changed: str) -> Iterator[str]:
        here = self._world.here
        before, old, known = here.place, catalog.load(here.place), here.env.keys()
        here.place = place
        try:
            made = list(self._world.make())
        except InputError as e:
            here.place = before
            yield f"{changed}, and the functions keep the catalog that they have: {e}"
            return
        here.restart_functions()
        yield f"{changed}: the functions use it from the next event on."
        yield from (f"  {line}." for line in [*made, *_differences(old, catalog.load(place))])
        if added := sorted(here.env.keys() - known):
            yield f"  .local/env has {' and '.join(added)} too: read it again."


def _differences(old: Catalog, new: Catalog) -> Iterator[str]:
    """What an edit means for what is in PostgreSQL."""
    for name in new.tables.keys() - old.tables.keys():
        yield f"table {name} is new, and will be there with its first export: recosync export {name} --wait"
    for kind, before, after in (("table", old.tables, new.tables), ("view", old.views, new.views)):
        for name in before.keys() - after.keys():
            yield f"{kind} {name} left the catalog, and stays in PostgreSQL as it is"
    for name, view in new.views.items():
        other = old.views.get(name)
        if other is None or other.template.read_bytes() != view.template.read_bytes() or other.reads != view.reads:
            reads = " or ".join(view.reads)
            yield f"view {name} is built with the next publish of {reads}, and at once by: recosync materialize {name}"


_CATALOG, _VIEWS, _INPUT = "catalog.toml", "views", "input"


def _files(place: Place) -> dict[str, Path]:
    """The files of a catalog, by the name that they have in a copy."""
    own = place.file.parent / _INPUT
    found = {f"{_VIEWS}/{file.name}": file for file in sorted(place.views.glob("*.sql.jinja"))}
    found |= {f"{_INPUT}/{file.name}": file for file in sorted(own.glob("*")) if file.suffix in (".sql", ".toml")}
    return {_CATALOG: place.file, **found}


def _read(place: Place) -> dict[str, bytes]:
    """What the files hold; nothing of one that an editor is about to write anew."""
    found = {}
    for name, file in _files(place).items():
        with suppress(FileNotFoundError):
            found[name] = file.read_bytes()
    return found


def _digests(read: Mapping[str, bytes]) -> _Contents:
    return {name: hashlib.sha256(content).hexdigest() for name, content in read.items()}
