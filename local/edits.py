"""What becomes of edits to a catalog while the local cloud is up.

The functions have a copy, as deployed ones have theirs in their archive. When the folder has changed, and what it says
now is right, a new copy takes the place of the old one: sources and logs that are new are made, and the functions start
again with it. What is wrong is told, and the copy stays in use.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from local import logs
from local.cloud import Deployment
from local.logs import Log
from local.sources import InputError, Sources
from shared import catalog
from shared.catalog import FOLDER_VARIABLE, SHIPPED, Catalog, HourlyTable, Place
from shared.daily.templates import render, timestamp
from shared.errors import ConfigurationError, SyncError
from shared.words import quantity

#: What files hold, by the name that they have in a copy.
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


def copied(place: Place, to: Path) -> Place:
    """A copy of a catalog, with its templates and its own input."""
    for name, file in _files(place).items():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, to / name)
    return Place(to / _CATALOG, to / _VIEWS)


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
                self.fill(logs.create(self.here, log))
                yield f"log {name} was made, and has rows"
            elif self.logs[name] != log:
                yield f"log {name} is another now, and its table is as it was: start `make local` anew for a new one"
                continue
            self.logs[name] = log


class Edits:
    """What happens to the catalog in a `place`, of which the functions have a copy in a `folder`."""

    def __init__(self, place: Place, folder: Path, world: World) -> None:
        self._place, self._folder, self._world = place, folder, world
        self._told = self._seen = _contents(world.here.place)  # which may have changed since
        self._number = 0

    def look(self) -> Iterator[str]:
        """What is to be told since the last look. A change counts once two looks have found it the same."""
        seen, now = self._seen, _contents(self._place)
        self._seen = now
        if now == self._told or now != seen:
            return
        names = sorted(name for name in {*now, *self._told} if now.get(name) != self._told.get(name))
        self._told = now
        changed = f"{', '.join(names)} changed"
        try:
            checked(self._place)
        except ConfigurationError as e:
            yield f"{changed}, and the functions keep the catalog that they have: {e}"
            return
        self._number += 1
        yield from self._take(copied(self._place, self._folder / str(self._number)), changed)

    def _take(self, place: Place, changed: str) -> Iterator[str]:
        here = self._world.here
        before, old = here.place, catalog.load(here.place)
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


def _contents(place: Place) -> _Contents:
    """A digest of each file; none of one that an editor is about to write anew."""
    found = {}
    for name, file in _files(place).items():
        with suppress(FileNotFoundError):
            found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found
