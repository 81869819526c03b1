"""The emulated cloud in the foreground, to point curl, psql and the client libraries at: `make local`."""

import argparse
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from rich.console import Console

from local import ROOT
from local.cloud import Cloud, Deployment
from local.edits import Edits, World, checked, copied, named
from local.functions import WARM
from local.logs import Log
from local.prerequisites import MissingError
from local.process import ProcessError
from local.roles import granted
from local.sources import InputError, Sources
from shared import catalog
from shared.catalog import FOLDER_VARIABLE, SHIPPED, Place
from shared.errors import ConfigurationError
from shared.ledger import migrations

_ENV_FILE = ROOT / ".local" / "env"
_ROWS = 10_000
_HOURS = 3
_ROWS_PER_HOUR = 2_000
_LOOK = 0.5
_WHAT_TO_TRY = """
The cloud is up, with {offers} in BigQuery, and in PostgreSQL this hour and the {hours} before it of {logs}.
How things stand is told by

  {status}

In another shell, in this folder:

  . .local/env
{commands}
  tail -f {folder}/*.log

An edit to the catalog, {catalog}, or to a template is told here, and needs no restart.
Ctrl-C stops everything.
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make local", description=__doc__)
    parser.add_argument("--catalog", type=Path, help="the folder of a catalog of your own")
    asked = parser.parse_args(arguments)
    console = Console()
    stop = threading.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: stop.set())
    place = named(asked.catalog)
    try:
        with Cloud(rows_per_part=2_000, runtime=WARM) as cloud, serving(cloud, place) as (here, edits, told):
            _ENV_FILE.parent.mkdir(exist_ok=True)
            _ENV_FILE.write_text(environment(here, place))
            console.print(told, markup=False, highlight=False, soft_wrap=True)
            while not stop.wait(_LOOK):
                for line in edits.look():
                    console.print(line, markup=False, highlight=False, soft_wrap=True)
                    _ENV_FILE.write_text(environment(here, place))
            console.print("Stopping …")
    except (ConfigurationError, InputError, MissingError, ProcessError) as error:
        console.print(str(error), markup=False, soft_wrap=True)
        return 1
    finally:
        _ENV_FILE.unlink(missing_ok=True)
    return 0


@contextmanager
def serving(cloud: Cloud, place: Place, name: str = "local") -> Iterator[tuple[Deployment, Edits, str]]:
    """A project with the sources and logs of a catalog, what becomes of edits to it, and what to tell of it. Raises
    ConfigurationError or InputError when the catalog makes none.
    """
    checked(place)
    now = datetime.now(UTC)
    first_hour = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=_HOURS)

    def fill(log: Log) -> None:
        log.write(here.dsn, first_hour, now, int(_ROWS_PER_HOUR * (now - first_hour) / timedelta(hours=1)))

    copy = copied(place, cloud.folder / f"{name}-catalog")
    env = {FOLDER_VARIABLE: str(copy.place.file), "HOURLY_START": f"{first_hour:%Y%m%dT%H}"}
    with cloud.deploy(name, env=env, granted=granted()) as here:
        sources = Sources(here, _ROWS)
        world = World(here, sources, fill)
        list(world.make())
        with psycopg.connect(here.dsn, autocommit=True) as database:
            migrations.migrate(database)  # the status page only reads it
        edits = Edits(place, cloud.folder / f"{name}-catalogs", copy, world)
        yield here, edits, _what_to_try(here, place, sources.told())


def _what_to_try(here: Deployment, place: Place, offers: str) -> str:
    of = catalog.load(here.place)
    commands = ["recosync export --wait           # the daily job, until readers see it"]
    commands += [
        f"""curl -X POST "$HOURLY_EXPORT_URL" -H 'Content-Type: application/json' -d '{{"table_name": "{log}"}}'"""
        for log in of.hourly
    ]
    commands += ["recosync status", """psql "$DATABASE_URL" -c 'SELECT * FROM recosync.publication'"""]
    for view in list(of.views.values())[:1]:
        commands.append(f"""psql "$API_DATABASE_URL" -c 'SELECT * FROM {view.schema}."{view.name}" LIMIT 3'""")
    return _WHAT_TO_TRY.format(
        offers=offers,
        hours=_HOURS,
        logs=" and ".join(of.hourly) or "no log",
        status=here.url("status"),
        commands="\n".join(f"  {command}" for command in commands),
        folder=here.cloud.folder.relative_to(ROOT),
        catalog=place.file,
    )


def environment(here: Deployment, place: Place) -> str:
    """What a shell reads: where everything is, and `recosync` and the client libraries' Python on PATH. Commands read
    the catalog in `place`, of which the functions may have a copy.
    """
    urls = {f"{name.upper()}_URL": here.url(name) for name in here.instances}
    api = {"API_DATABASE_URL": here.cloud.postgres.dsn(here.name, "api")}
    env = {**here.env, **urls, **api, FOLDER_VARIABLE: str(place.file) if place != SHIPPED else ""}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in env.items()]
    return "\n".join([*lines, f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"']) + "\n"


if __name__ == "__main__":
    sys.exit(main())
