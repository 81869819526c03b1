"""Rows of any length leave: they are read by their bytes, not by their number."""

import pytest

from shared.db import postgres
from shared.names import Hour
from shared.rows import log_table
from shared.rows.log_table import Range
from tests.kit.logs import START, at, block, create, place


def add_long(log, rows, length):
    """Rows of so many bytes, several at the same time."""
    log.database.execute(
        "INSERT INTO past_offer_context (date, call_id, context) SELECT"
        " '2026-03-10 10:00'::timestamp + i / 7 * interval '1 s', repeat(md5(i::text), %s), '{\"a\": 1}'"
        " FROM generate_series(1, %s) AS i",
        [length // 32, rows],
    )


def lengths(log):
    query = "SELECT id, LENGTH(call_id) AS length FROM raw_local.past_offer_context"
    return {row["id"]: row["length"] for row in log.here.bigquery_client.query(query).result()}


def test_many_long_rows_leave(log):
    add_long(log, 2_500, 150_000)
    log.database.execute("UPDATE past_offer_context SET call_id = 'short' WHERE id = 1000")
    assert log.done(START + 1) == {START: "exported"}
    entry = log.entry(START)
    assert (entry["state"], entry["batches"][0]["export"]["content"]["rows"]) == ("done", 2_500)
    assert lengths(log) == {n: 5 if n == 1000 else 149_984 for n in range(1, 2_501)}


def test_a_row_that_is_longer_than_what_is_read_at_once_leaves(log):
    log.add(START, call_id="x" * 60_000_000)
    log.add(START, 5)
    assert log.done(START + 1) == {START: "exported"}
    assert [len(row["call_id"] or "") for row in log.rows()] == [60_000_000, 0, 0, 0, 0, 0]


def test_a_row_that_is_too_long_to_leave_is_named_by_its_key(log, monkeypatch):
    monkeypatch.setattr(log_table, "MAX_ROW_BYTES", 150_000_000)
    log.add(START, 3)
    log.add(START, call_id="x" * 200_000_000)
    error = log.failures(START + 1)[START]
    assert (
        "past_offer_context, the row with id 4: is 200000100 bytes long; at most 150000000 can leave. Shorten" in error
    )
    assert log.entry(START)["failure"]["error"] == error


@pytest.mark.parametrize("piece_bytes", [1, 2_000, 50_000])
def test_pieces_are_the_same_rows_and_near_the_length_that_is_wanted(log, monkeypatch, piece_bytes):
    monkeypatch.setattr(log_table, "PIECE_BYTES", piece_bytes)
    add_long(log, 100, 960)
    with postgres.connect(log.services.settings, "test") as connection:
        opened = log_table.LogTable(connection, "public", log.table)
        pieces = opened.pieces(Range.of(Hour(at(START))))
        counts = [opened.content(piece)[0] for piece in pieces]
    assert sum(counts) == 100
    assert max(counts) <= piece_bytes // 1_000 + 1


def test_pieces_of_any_types_are_the_same_rows(cloud, tmp_path, monkeypatch):
    monkeypatch.setattr(log_table, "PIECE_BYTES", 1)
    columns = {"at": "timestamptz TIMESTAMP", "c": "bytea BYTES", "d": "char(9) STRING", "e": "bytea[] ARRAY<BYTES>"}
    with place(cloud, "hourly-pieces", tmp_path, block("pieced", columns)) as log:
        log.name = "pieced"
        create(log)
        log.add(START, c=b"1", d="a", e=[b"1", b"2"])
        log.add(START, 2)
        with postgres.connect(log.services.settings, "test") as connection:
            opened = log_table.LogTable(connection, "public", log.table)
            assert [opened.content(piece)[0] for piece in opened.pieces(Range.of(Hour(at(START))))] == [1, 1, 1]


def test_text_is_as_long_as_it_leaves_with_the_spaces_that_fill_it_up(cloud, tmp_path):
    columns = {"c": "char(150000) STRING"}
    with place(cloud, "hourly-padded", tmp_path, block("padded", columns)) as log:
        log.name = "padded"
        create(log)
        log.add(START, 2_500, c="a")
        with postgres.connect(log.services.settings, "test") as connection:
            opened = log_table.LogTable(connection, "public", log.table)
            pieces = opened.pieces(Range.of(Hour(at(START))))
            counts = [opened.content(piece)[0] for piece in pieces]
        assert sum(counts) == 2_500
        assert max(counts) <= log_table.PIECE_BYTES // 150_000 + 1
        assert log.done(START + 1) == {START: "exported"}
        lengths = "SELECT DISTINCT LENGTH(c) AS length FROM raw_local.padded"
        assert [row["length"] for row in log.here.bigquery_client.query(lengths).result()] == [150_000]
