"""The messages that a view stands, from the swap that makes them due until Pub/Sub took them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.types.json import Jsonb

from shared.db import queries


@dataclass(frozen=True)
class RefreshedView:
    """A build that readers get: the publication of each table that it read, its rows, and how long it took."""

    view: str
    publications: Mapping[str, int]
    rows: int
    seconds: float


@dataclass(frozen=True)
class Owed:
    """A message that is owed, and `message_id` is the same however often it is sent. `tables` are (table, publication,
    snapshot id).
    """

    id: int
    message_id: str
    view: str
    views: tuple[str, ...]
    rows: int
    seconds: float
    refreshed_at: datetime
    traceparent: str | None
    tables: tuple[tuple[str, int, str], ...]


def owe(connection: psycopg.Connection, builds: Sequence[RefreshedView], traceparent: str | None) -> None:
    """Owe a message of each of these, which readers get with this transaction."""
    documents = [
        {"view": each.view, "publications": dict(each.publications), "rows": each.rows, "seconds": each.seconds}
        for each in builds
    ]
    values = {
        "views": sorted(each.view for each in builds),
        "builds": Jsonb(documents),
        "traceparent": traceparent,
    }
    connection.execute(queries.load("refreshed")["owe"], values)


def owed(connection: psycopg.Connection) -> list[Owed]:
    """The messages that Pub/Sub has not taken yet, of each view in the order of its builds."""
    return [
        Owed(
            id_,
            message_id,
            view,
            tuple(views),
            rows,
            seconds,
            at,
            traceparent,
            tuple((each["table"], each["publication"], each["snapshot_id"]) for each in tables or ()),
        )
        for id_, message_id, view, views, rows, seconds, at, traceparent, tables in connection.execute(
            queries.load("refreshed")["owed"]
        )
    ]


def sent(connection: psycopg.Connection, message: Owed) -> None:
    connection.execute(queries.load("refreshed")["sent"], {"id": message.id})
