"""What the parts of the demo share: how they call a function, how they fail, and what their tables look like."""

import urllib.error
from collections.abc import Mapping
from datetime import datetime

from rich.table import Table

from local.cloud import Deployment


class FailedError(Exception):
    """The job did not get through."""


def call(here: Deployment, function: str, at: datetime, body: object = None) -> Mapping[str, object]:
    """Call a function as Cloud Scheduler does at a planned time; its answer. Raises FailedError when it failed."""
    try:
        answer = here.call(function, body, {"X-CloudScheduler-ScheduleTime": at.isoformat()})
    except urllib.error.HTTPError as error:
        raise FailedError(f"{function} answered {error.code}: {error.read().decode()}") from None
    if not isinstance(answer, dict) or answer.get("failed"):
        raise FailedError(f"{function} answered {answer}")
    return answer


def new_table(*columns: str, text: tuple[str, ...] = ()) -> Table:
    """A table without lines: numbers to the right, the first column and those of `text` to the left."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, justify="left" if name in (columns[0], *text) else "right", no_wrap=True)
    return table


def verdict(agree: bool, facts: str) -> str:
    """The line that a part ends with."""
    return f"{'[bold green]All counts agree.' if agree else '[bold red]The counts do not agree.'}[/] {facts}"
