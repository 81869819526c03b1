"""What a call costs: requests to Google, answers of PostgreSQL that it waits for, and seconds of CPU on both sides."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

from local.cloud import Deployment
from local.postgres import Cluster
from tests.bench.measure import timed
from tests.kit.exchanges import Asked, noted


@dataclass(frozen=True)
class Cost:
    """What was spent. `own` and `server` are milliseconds of CPU; `own` has that of the places where it is counted."""

    requests: float
    answers: float
    own: float
    server: float

    def __str__(self) -> str:
        return f"{self.requests:6.0f} {self.answers:8.0f} {self.own:8.0f} {self.server:8.0f}"


HEADER = "requests  answers   CPU ms  its server's"


@dataclass
class Costs:
    """The costs of calls, by name."""

    server: int
    asked: Asked
    found: dict[str, list[Cost]] = field(default_factory=lambda: defaultdict(list))

    def of[T](self, name: str, call: Callable[[], T]) -> T:
        """Make a call, and note what it cost."""
        self.asked.taken()
        with timed({"server": self.server}) as sample:
            outcome = call()
        own, server = (sample.spent[f"{who} CPU s"] * 1000 for who in ("client", "server"))
        asked = self.asked.taken()
        self.found[name].append(Cost(asked["requests"], asked["answers"], own, server))
        return outcome

    def taken(self) -> dict[str, Cost]:
        """The median cost of each since the last time."""
        taken = {
            name: Cost(*(median(getattr(cost, part) for cost in costs) for part in Cost.__dataclass_fields__))
            for name, costs in self.found.items()
        }
        self.found.clear()
        return taken


@contextmanager
def counting(here: Deployment) -> Iterator[Costs]:
    """Have this process be one of the deployment's, and its ways be counted."""
    cloud = here.cloud
    assert isinstance(cloud.postgres, Cluster), "its CPU is that of a server of our own"
    with noted(here.dsn, cloud.storage.url, cloud.bigquery.url) as asked:
        os.environ.update(asked.env(here.env))
        yield Costs(cloud.postgres.pid, asked)
