"""What a part costs whatever its size: requests to Cloud Storage, sessions of PostgreSQL, and answers waited for.

The numbers are ceilings that are met exactly, so that they only fall: who needs fewer writes down fewer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg.conninfo
import pytest

from local.cloud import Cloud, Deployment
from local.proxy import standing_before
from shared.gcp.parquet import Parquet
from shared.gcp.storage import Storage
from shared.gcp.tokens import NoToken
from shared.services import Services
from tests.kit.exchanges import Exchanges, counted
from tests.kit.snapshots import TABLE, bookings, day
from tests.kit.uploads import Upload, arrive


@dataclass
class Counted:
    """What was asked since the last look."""

    requests: list[str]
    exchanges: Exchanges

    def taken(self) -> dict[str, int]:
        found = {
            "requests": len(self.requests),
            "sessions": self.exchanges.sessions,
            "answers": len(self.exchanges.waits),
        }
        if os.environ.get("SHOW"):
            print(
                *self.requests,
                *(" | ".join(" ".join(s.split())[:110] for s in w) for w in self.exchanges.waits),
                sep="\n",
            )
        self.requests.clear()
        self.exchanges.clear()
        return found


@pytest.fixture
def asked(cloud: Cloud, here: Deployment, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Services, Counted]]:
    """Services that go by places where they are counted."""
    to = psycopg.conninfo.conninfo_to_dict(here.dsn)
    requests: list[str] = []

    def note(request, forward):
        requests.append(str(request))
        return forward(request)

    with (
        standing_before(cloud.storage.url) as proxy,
        proxy.fault(note),
        counted(str(to["host"]), int(to["port"])) as exchanges,
    ):
        services = Services.from_environment(os.environ)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        storage = Storage(here.project)
        parquet = Parquet(proxy.url, NoToken(), storage)
        dsn = here.dsn.replace(f":{to['port']}/", f":{exchanges.port}/")
        changed = {name: dsn for name, value in here.env.items() if value == here.dsn}
        for name, value in changed.items():
            monkeypatch.setenv(name, value)
        counting = Services.from_environment(os.environ)
        yield Services(**{**vars(counting), "storage": storage, "parquet": parquet}), Counted(requests, exchanges)


def test_an_event_asks_no_more_than_it_has_to(services, asked):
    counting, found = asked
    for number in (1, 2):  # the first makes the ledger, the table and the clients
        upload = Upload(services, TABLE, day(number))
        parts = [upload.part(bookings(services, ["ann", "bob"])) for _ in range(2)]
        manifest = upload.manifest()
        found.taken()
        assert arrive(counting, parts[0]) == ["staged"]
        staged = found.taken()
        assert arrive(counting, manifest) == ["published"]
        published = found.taken()
        assert arrive(counting, parts[1]) == ["repeated"]
        repeated = found.taken()
    print(staged, published, repeated)
    assert staged == {}
