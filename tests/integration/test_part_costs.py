"""What a part costs whatever its size: requests to Cloud Storage, sessions of PostgreSQL, and answers waited for.

The numbers are ceilings that are met exactly, so that they only fall: who needs fewer writes down fewer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from local.cloud import Cloud, Deployment
from shared.daily import arrival
from shared.db import kept as kept_sessions
from shared.db.kept import kept
from shared.db.locks import Lock
from shared.errors import IncompleteError
from shared.gcp.parquet import Parquet
from shared.gcp.storage import Storage
from shared.gcp.tokens import NoToken
from shared.services import Services
from tests.kit.exchanges import Asked, noted
from tests.kit.sessions import held
from tests.kit.snapshots import TABLE, bookings, day
from tests.kit.uploads import Upload


@pytest.fixture
def asked(cloud: Cloud, here: Deployment, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Services, Asked]]:
    """Services that go by places where they are counted."""
    with noted(here.dsn, cloud.storage.url) as seen:
        # A busy machine may take long, and a session that is not used again would be counted.
        monkeypatch.setattr(kept_sessions, "PATIENCE", 60)
        monkeypatch.setattr(kept_sessions, "IDLE", 600)
        for name, value in seen.env(here.env).items():
            monkeypatch.setenv(name, value)
        storage = Storage(here.project)
        parquet = Parquet(seen.places[cloud.storage.url], NoToken(), storage)
        counting = Services.from_environment(os.environ)
        yield Services(**{**vars(counting), "storage": storage, "parquet": parquet}), seen
        while kept_sessions._left:
            kept_sessions._left.pop().session.close()


#: By what an event is about. A session that is kept has two more answers than statements of the work: it is cleaned
#: when it is left, and asked whether it is still there.
CEILINGS = {
    "a part": {"requests": 5, "sessions": 0, "answers": 29},  # five of which prepare a statement
    "the last part": {"requests": 5, "sessions": 0, "answers": 48},
    "a manifest of staged parts": {"requests": 2, "sessions": 0, "answers": 45},
    "a part again": {"requests": 0, "sessions": 0, "answers": 7},
}


def test_an_event_asks_no_more_than_it_has_to(here, services, asked):
    counting, seen = asked

    def costs(version):
        seen.taken()
        try:
            outcome = arrival.handle(counting, version, 1, kept)
        except IncompleteError:
            outcome = None
        return outcome, seen.taken()

    for number in (1, 2, 3):  # the first ones make the ledger, the table and the clients, and have statements prepared
        upload = Upload(services, TABLE, day(2 * number))
        parts = [upload.part(bookings(services, ["ann", "bob"])) for _ in range(2)]
        manifest = upload.manifest()
        assert [outcome for outcome, _ in map(costs, parts)] == ["staged", "staged"]
        published = costs(manifest)
        late = Upload(services, TABLE, day(2 * number + 1))
        parts = [late.part(bookings(services, ["ann", "bob"])) for _ in range(2)]
        staged = costs(parts[0])
        # The manifest's own event finds that the last part is somebody else's.
        with held(here.dsn, Lock.part(parts[1])):
            assert costs(late.manifest())[0] is None
        costs(parts[0])  # that event failed, and so left no session
        last = costs(parts[1])
        again = costs(parts[1])
    found = {"a part": staged, "the last part": last, "a manifest of staged parts": published, "a part again": again}
    assert {what: outcome for what, (outcome, _) in found.items()} == {
        "a part": "staged",
        "the last part": "published",
        "a manifest of staged parts": "published",
        "a part again": "repeated",
    }
    assert found.keys() == CEILINGS.keys()
    beyond = [
        (what, name, count)
        for what, (_, counts) in found.items()
        for name, count in counts.items()
        if count > CEILINGS[what][name]
    ]
    assert beyond == []
