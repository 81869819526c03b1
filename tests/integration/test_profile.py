"""A profile by PostgreSQL, whatever was expected of the rows."""

from __future__ import annotations

import pytest
from psycopg import sql

from shared.catalog import Column, PgType
from shared.rows.profile import ColumnProfile, Profile, of_table

COLUMNS = [
    Column("whole", PgType.INTEGER),
    Column("holed", PgType.VARCHAR),
    Column("at", PgType.TIMESTAMP),
    Column("list", PgType("text", array=True)),
]
FOUND = Profile(
    3,
    {
        "whole": ColumnProfile(3, 6),
        "holed": ColumnProfile(2, 6),
        "at": ColumnProfile(3),
        "list": ColumnProfile(1),
    },
)


def without_null(*names):
    return Profile(3, {column.name: ColumnProfile(3 if column.name in names else 1) for column in COLUMNS})


@pytest.mark.parametrize(
    "expected",
    [
        None,
        Profile(0),
        without_null(),
        without_null("whole", "at"),
        pytest.param(without_null("whole", "at", "list"), id="wrongly no empty list"),
        pytest.param(without_null("whole", "holed", "at"), id="wrongly no NULL at all"),
    ],
)
def test_the_server_counts_what_is_there_whatever_was_expected(database, expected):
    database.execute(
        "CREATE TABLE counted AS SELECT * FROM (VALUES (1, 'a', now()::timestamp, '{NULL}'::text[]),"
        " (2, NULL, now(), '{}'), (3, 'été', now(), NULL)) AS rows (whole, holed, at, list)"
    )
    assert of_table(database, sql.Identifier("counted"), COLUMNS, expected) == FOUND
