"""What a call costs: requests to Google, answers of PostgreSQL that it waits for, and seconds of CPU on both sides."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median

from psycopg import conninfo

from local.cloud import Deployment
from local.postgres import Cluster
from local.proxy import Answer, Forward, Request, standing_before
from tests.bench.measure import timed
from tests.kit.exchanges import Exchanges, counted


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
    exchanges: Exchanges
    requests: list[str] = field(default_factory=list)
    found: dict[str, list[Cost]] = field(default_factory=lambda: defaultdict(list))

    def of[T](self, name: str, call: Callable[[], T]) -> T:
        """Make a call, and note what it cost."""
        self.requests.clear()
        self.exchanges.clear()
        with timed({"server": self.server}) as sample:
            outcome = call()
        own, server = (sample.spent[f"{who} CPU s"] * 1000 for who in ("client", "server"))
        self.found[name].append(Cost(len(self.requests), len(self.exchanges.waits), own, server))
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
    cloud, to = here.cloud, conninfo.conninfo_to_dict(here.dsn)
    assert isinstance(cloud.postgres, Cluster), "its CPU is that of a server of our own"
    with ExitStack() as stack:
        exchanges = stack.enter_context(counted(str(to["host"]), int(str(to["port"]))))
        costs = Costs(cloud.postgres.pid, exchanges)

        def note(request: Request, forward: Forward) -> Answer:
            costs.requests.append(str(request))
            return forward(request)

        ways = {
            here.dsn: here.dsn.replace(f":{to['port']}/", f":{exchanges.port}/"),
            **{url: stack.enter_context(standing_before(url)) for url in (cloud.storage.url, cloud.bigquery.url)},
        }
        for url, proxy in ways.items():
            if not isinstance(proxy, str):
                stack.enter_context(proxy.fault(note))
                ways[url] = proxy.url
        os.environ.update({name: str(ways.get(value, value)) for name, value in here.env.items()})
        yield costs
