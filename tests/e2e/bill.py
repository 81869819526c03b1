"""What a run against a real project costs: an estimate before it, the time that things stood times their price after.

In USD, from Google's lists for Iowa and Belgium; other regions differ by up to a third. Free tiers and rebates are not
counted. docs/cost.md names the pages, and https://cloud.google.com/sql/pricing has the instance's.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Assumed: a quarter of an hour for the instance, as much for the suite, the tests, and the removal.
EXPECTED_HOURS = 1.25
_HOURS_OF_A_MONTH = 730


@dataclass(frozen=True)
class Item:
    """One line of the bill: what it costs while it stands, and what it costs whatever the time."""

    what: str
    an_hour: float = 0
    once: float = 0

    def cost(self, hours: float) -> float:
        return self.an_hour * hours + self.once


def items(*, connector: bool) -> list[Item]:
    """What a run is billed for."""
    return [
        Item("Cloud SQL, db-f1-micro", an_hour=0.0105),
        Item("its disk, 10 GB of SSD", an_hour=10 * 0.17 / _HOURS_OF_A_MONTH),
        *([Item("connector of the network, 2 e2-micro", an_hour=2 * 0.0092)] if connector else []),
        Item("alert policies, at the announced charge", an_hour=10 * 1.5 / _HOURS_OF_A_MONTH),
        Item("builds of five functions, 3 min each, assumed", once=5 * 3 * 0.006),
        Item("Scheduler jobs, secrets", once=2 * 0.10 + 4 * 0.06),
        Item("queries: 300 of 10 MiB, assumed", once=300 * 10 / 1024**2 * 6.25),
        Item("calls of functions, objects, images, traffic, assumed", once=0.05),
    ]


def told(bill: list[Item], hours: float) -> list[str]:
    """The bill, line by line, and its sum."""
    lines = [f"  {item.cost(hours):6.2f} USD  {item.what}" for item in bill]
    return [*lines, f"  {sum(item.cost(hours) for item in bill):6.2f} USD  in all, for {hours:.2f} h"]
