"""How the ledger's statements are run, and profiles written in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import LiteralString

import psycopg
from psycopg.types.json import Jsonb

from shared.db import queries
from shared.names import ObjectVersion
from shared.rows.profile import Profile


def as_json(profile: Profile | None) -> Jsonb | None:
    return Jsonb(profile.to_json()) if profile is not None else None


def as_profile(document: object) -> Profile | None:
    return None if document is None else Profile.from_json(document)


def query(name: str) -> LiteralString:
    return queries.load("ledger")[name]


def run(connection: psycopg.Connection, name: str, values: Mapping[str, object]) -> int:
    return connection.execute(query(name), values).rowcount


def row(connection: psycopg.Connection, name: str, values: Mapping[str, object]) -> tuple[object, ...] | None:
    return connection.execute(query(name), values).fetchone()


def one(connection: psycopg.Connection, name: str, values: Mapping[str, object]) -> object:
    found = row(connection, name, values)
    return None if found is None else found[0]


def of_object(version: ObjectVersion) -> dict[str, object]:
    return {"bucket": version.bucket, "name": version.name, "generation": version.generation}
