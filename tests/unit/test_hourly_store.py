"""What a listing of hour manifests tells. The emulator has no metageneration: the service's answer is made up here."""

from datetime import date

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from shared.gcp.storage import Storage
from shared.hourly.names import LogFolder
from shared.hourly.store import Store


@pytest.mark.parametrize(
    ("metadata", "metageneration", "settled"),
    [
        ({"settled": "true"}, "1", True),
        ({"settled": "true"}, "2", False),
        ({"settled": "false"}, "1", False),
        ({"settled": "TRUE"}, "1", False),
        ({}, "1", False),
        (None, None, False),
    ],
)
def test_a_day_is_settled_by_its_writers_word_that_nobody_edited(monkeypatch, metadata, metageneration, settled):
    described = {
        "name": "hourly/log/manifests/20260310.json",
        "generation": "7",
        "size": "9",
        "timeCreated": "2026-03-10T00:00:00Z",
        "metadata": metadata,
        "metageneration": metageneration,
    }
    client = storage.Client(project="p", credentials=AnonymousCredentials())
    blob = storage.Blob(described["name"], client.bucket("bucket"))
    blob._properties.update(described)
    monkeypatch.setattr(client, "list_blobs", lambda *_, **__: [blob])
    monkeypatch.setitem((made := Storage("p")).__dict__, "_client", client)
    assert Store(made, "bucket", LogFolder("hourly", "log")).listing() == {date(2026, 3, 10): settled}
