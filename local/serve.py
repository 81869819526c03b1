"""The emulated cloud in the foreground, to point curl, psql and the client libraries at: `make local`."""

import shlex
import signal
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from rich.console import Console

from local import ROOT, context, data
from local.cloud import Cloud, Deployment
from local.prerequisites import MissingError
from local.process import ProcessError
from shared.ledger import migrations

_ENV_FILE = ROOT / ".local" / "env"
_ROWS = 10_000
_HOURS = 3
_ROWS_PER_HOUR = 2_000
_WHAT_TO_TRY = """
The cloud is up, with {rows:,} offers and their users, bookings and IRIS zones in BigQuery, and the API's log of this
hour and the {hours} before it in PostgreSQL. How things stand is told by

  {status}

In another shell, in this folder:

  . .local/env
  recosync export --wait           # the daily job, until readers see it
  curl -X POST "$HOURLY_EXPORT_URL" -H 'Content-Type: application/json' -d '{{}}'
  recosync status
  psql "$DATABASE_URL" -c 'SELECT * FROM recosync.publication'
  psql "$API_DATABASE_URL" -c 'SELECT * FROM recommendable_offers_raw_mv LIMIT 3'
  tail -f {logs}/*.log

Ctrl-C stops everything.
"""


def main() -> int:
    console = Console()
    stop = threading.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: stop.set())
    now = datetime.now(UTC)
    first_hour = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=_HOURS)
    env = {"HOURLY_START": f"{first_hour:%Y%m%dT%H}"}
    try:
        with Cloud(rows_per_part=2_000) as cloud, cloud.deploy(env=env) as here:
            data.load(here.bigquery_client, cloud.folder, _ROWS)
            context.create(here.dsn)
            context.write(here.dsn, first_hour, now, int(_ROWS_PER_HOUR * (now - first_hour) / timedelta(hours=1)))
            with psycopg.connect(here.dsn, autocommit=True) as database:
                migrations.migrate(database)  # the status page only reads it
            _ENV_FILE.parent.mkdir(exist_ok=True)
            _ENV_FILE.write_text(environment(here))
            logs = cloud.folder.relative_to(ROOT)
            message = _WHAT_TO_TRY.format(rows=_ROWS, hours=_HOURS, logs=logs, status=here.url("status"))
            console.print(message, markup=False, highlight=False, soft_wrap=True)
            stop.wait()
            console.print("Stopping …")
    except (MissingError, ProcessError) as error:
        console.print(str(error), markup=False, soft_wrap=True)
        return 1
    finally:
        _ENV_FILE.unlink(missing_ok=True)
    return 0


def environment(here: Deployment) -> str:
    """What a shell reads: where everything is, and `recosync` and the client libraries' Python on PATH."""
    urls = {f"{name.upper()}_URL": here.url(name) for name in here.instances}
    api = {"API_DATABASE_URL": here.cloud.postgres.dsn(here.name, "api")}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in {**here.env, **urls, **api}.items()]
    return "\n".join([*lines, f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"']) + "\n"


if __name__ == "__main__":
    sys.exit(main())
