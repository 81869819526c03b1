"""`recosync catalog add`: the block of a table that is there, written after all that the catalog had."""

from __future__ import annotations

import tomllib

import pytest

from shared import catalog
from shared.db.postgres import connect
from shared.gcp.bigquery import BigQuery
from shared.operate.cli.output import Exit
from shared.rows.log_table import LogTable
from shared.services import Services
from tests.kit.commands import recosync

SOURCE = """
    CREATE OR REPLACE TABLE seed_local.offers AS SELECT
        CAST(n AS STRING) AS offer_id, n AS venue_id, DATE '2026-01-01' AS day, MOD(n, 2) = 0 AS open,
        CAST(n AS NUMERIC) AS price, [0.5, 1.5] AS embedding, STRUCT(n AS a) AS details, TIMESTAMP '2026-01-01' AS made,
        n AS `the number`
    FROM UNNEST([1, 2, 3]) AS n
"""


@pytest.fixture
def folder(here, tmp_path, monkeypatch):
    """A folder of one's own, for a deployment with a source."""
    made = tmp_path / "my-sync"
    assert recosync("init", made).code == 0
    monkeypatch.setenv(catalog.FOLDER_VARIABLE, str(made))
    here.bigquery_client.query(SOURCE).result()
    return made


def column_types(name):
    return {column.name: column.type.spelling for column in catalog.load().tables[name].columns}


def test_a_block_is_written_that_the_catalog_takes(here, folder):
    before = (folder / "catalog.toml").read_bytes()
    ran = recosync("catalog", "add", "seed_local.offers", "--json")
    assert (ran.code, ran.err) == (0, "")
    after = (folder / "catalog.toml").read_bytes()
    assert after == before + b"\n" + ran.json["block"].encode()
    assert (ran.json["name"], ran.json["key"], ran.json["rows"]) == ("offers", ["offer_id"], 3)
    assert [column["column"] for column in ran.json["left_out"]] == ["the number"]
    table = catalog.load().tables["offers"]
    assert str(table.source) == "seed_local.offers"
    assert (table.key, column_types("offers")) == (
        ("offer_id",),
        {
            "offer_id": "text",
            "venue_id": "bigint",
            "day": "date",
            "open": "boolean",
            "price": "numeric",
            "embedding": "double precision[]",
            "details": "jsonb",
            "made": "timestamptz",
        },
    )
    assert recosync("catalog", "terraform").code == recosync("catalog", "check").code == 0


def test_the_data_set_of_a_variable_is_named_by_it(here, folder):
    here.bigquery_client.query("CREATE OR REPLACE TABLE ml_reco_local.scores AS SELECT 'a' AS user_id").result()
    assert recosync("catalog", "add", f"{here.project}.ml_reco_local.scores", "--name", "my_scores").code == 0
    table = catalog.load().tables["my_scores"]
    assert str(table.source) == "{BIGQUERY_ML_RECOMMENDATION_DATASET}.scores"
    assert (
        'source = "scores"\ndataset = "BIGQUERY_ML_RECOMMENDATION_DATASET"\n' in (folder / "catalog.toml").read_text()
    )


@pytest.mark.parametrize(("ending", "joint"), [("\n", "\n"), ("", "\n\n"), ("\r\n", "\r\n")])
def test_the_catalog_before_it_stays_byte_by_byte(folder, ending, joint):
    file = folder / "catalog.toml"
    before = file.read_text().rstrip().replace("\n", ending or "\n").encode() + ending.encode()
    file.write_bytes(b"\xef\xbb\xbf" + before)
    ran = recosync("catalog", "add", "seed_local.offers", "--json")
    block = ran.json["block"].replace("\n", ending or "\n").encode()
    assert file.read_bytes() == b"\xef\xbb\xbf" + before + joint.encode() + block
    assert "offers" in catalog.load().tables


def test_a_pair_is_a_key_where_no_column_is(here, folder):
    days = "SELECT u AS user_id, DATE '2026-01-01' + d AS day, 1.5 AS score FROM UNNEST(['a', 'b']) u, UNNEST([0, 1]) d"
    here.bigquery_client.query(f"CREATE OR REPLACE TABLE seed_local.days AS {days}").result()
    assert recosync("catalog", "add", "seed_local.days", "--json").json["key"] == ["user_id", "day"]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ("SELECT n AS id FROM UNNEST([1, 1, 2]) AS n", "of 3 rows, some have the same, or NULL, in each of id"),
        ("SELECT n AS id FROM UNNEST([1, NULL]) AS n", "of 2 rows, some have the same, or NULL, in each of id"),
        ("SELECT 1 AS id FROM UNNEST(CAST([] AS ARRAY<INT64>)) AS n", "of 0 rows, some"),
        ("SELECT 1.5 AS id", "no column is of a type that tells rows apart"),
    ],
)
def test_no_key_is_proposed_that_the_rows_do_not_have(here, folder, rows, why):
    here.bigquery_client.query(f"CREATE OR REPLACE TABLE seed_local.t AS {rows}").result()
    ran = recosync("catalog", "add", "seed_local.t", "--json")
    assert (ran.code, ran.json["key"]) == (0, [])
    assert f"# no key: {why}" in ran.json["block"]


def test_a_view_is_a_source_too(here, folder):
    here.bigquery_client.query("CREATE OR REPLACE VIEW seed_local.seen AS SELECT * FROM seed_local.offers").result()
    assert recosync("catalog", "add", "seed_local.seen", "--json").json["key"] == ["offer_id"]


def test_nothing_is_counted_where_it_is_not_asked_for_or_would_bill_too_much(folder, monkeypatch):
    ran = recosync("catalog", "add", "seed_local.offers", "--no-count", "--print", "--json")
    assert (ran.json["rows"], ran.json["bytes"], ran.json["key"]) == (None, None, [])
    # Every estimate of the emulator is 0.
    monkeypatch.setattr(BigQuery, "bytes_of", lambda *_: 10_000)
    monkeypatch.setenv("MAXIMUM_BYTES_BILLED", "9999")
    ran = recosync("catalog", "add", "seed_local.offers", "--print", "--json")
    assert (ran.code, ran.json["rows"]) == (0, None)
    assert "# no key: to count would read 10,000 bytes, more than MAXIMUM_BYTES_BILLED" in ran.json["block"]


def test_what_is_only_printed_can_be_pasted(folder):
    before = (folder / "catalog.toml").read_bytes()
    ran = recosync("catalog", "add", "seed_local.offers", "--print", columns=20)
    assert (folder / "catalog.toml").read_bytes() == before
    assert tomllib.loads(ran.out)["tables"]["offers"]["key"] == ["offer_id"]
    assert ran.out.endswith("# To look for a key, BigQuery read 0 bytes.\n")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("seed_local.offers", "--name", "example"), "example: is in the catalog already. Give another --name"),
        (("seed_local.offers", "--name", "pg_offers"), "tables.pg_offers: begins with pg_, as the server's own"),
        (("seed_local.nowhere",), "seed_local.nowhere: does not exist"),
        (("{SEED_DATASET}.offers",), "{SEED_DATASET}.offers: names a variable: write the data set that it names"),
        (("offers",), "offers: should be dataset.table or project.dataset.table"),
    ],
)
def test_what_makes_no_sense_writes_nothing(folder, arguments, what):
    before = (folder / "catalog.toml").read_bytes()
    ran = recosync("catalog", "add", *arguments)
    assert (ran.code, what in ran.err) == (Exit.USAGE, True)
    assert (folder / "catalog.toml").read_bytes() == before


def test_the_shipped_catalog_is_left_alone(folder, monkeypatch):
    monkeypatch.delenv(catalog.FOLDER_VARIABLE)
    before = catalog.SHIPPED.file.read_bytes()
    ran = recosync("catalog", "add", "seed_local.offers")
    assert (ran.code, "is what ships with recosync" in ran.err) == (Exit.USAGE, True)
    assert catalog.SHIPPED.file.read_bytes() == before
    assert recosync("catalog", "add", "seed_local.offers", "--print").code == 0


EVERYTHING = """
    'a' AS c_string, 1 AS c_int64, 0.5 AS c_float64, NUMERIC '1.5' AS c_numeric, BIGNUMERIC '1e-18' AS c_bignumeric,
    TRUE AS c_bool, DATE '2026-01-01' AS c_date, TIME '12:00:00' AS c_time,
    DATETIME '2026-01-01 12:00:00' AS c_datetime, TIMESTAMP '2026-01-01 12:00:00+00' AS c_timestamp,
    INTERVAL 3 DAY AS c_interval, FROM_HEX('00ff') AS c_bytes,
    JSON '{"a": 1}' AS c_json, STRUCT(1 AS a) AS c_struct, [STRUCT(1 AS a)] AS c_structs,
    ST_GEOGPOINT(2, 48) AS c_geography, RANGE(DATE '2026-01-01', NULL) AS c_range, ['a', 'b'] AS c_strings,
    [0.5, 1.5] AS c_floats, [NUMERIC '1.5'] AS c_numerics, [TIMESTAMP '2026-01-01 12:00:00+00'] AS c_timestamps
"""


def test_what_is_proposed_for_any_type_travels(here, folder, database):
    here.bigquery_client.query(f"CREATE OR REPLACE TABLE seed_local.everything AS SELECT {EVERYTHING}").result()
    ran = recosync("catalog", "add", "seed_local.everything", "--json")
    assert (ran.code, ran.json["left_out"]) == (0, [])
    elsewhere = f"gs://{here.bucket}/elsewhere"
    ran = recosync("export", "everything", "--force", "--bucket-path", elsewhere, "--json")
    assert [each["status"] for each in ran.json["imported"]] == ["published"]
    (row,) = database.execute("SELECT * FROM everything").fetchall()
    assert None not in row


LOG = """
    CREATE TYPE mood AS ENUM ('glad', 'sad');
    CREATE TABLE visits (
        id bigserial PRIMARY KEY, shown timestamp NOT NULL, made timestamptz, mood mood, address inet,
        price numeric(10, 2), tags text[], place geometry
    );
    CREATE INDEX ON visits (made)
"""


def test_the_block_of_a_log_is_what_its_hours_need(folder, database):
    database.execute(LOG)
    before = (folder / "catalog.toml").read_bytes()
    ran = recosync("catalog", "add", "--log", "public.visits", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert (folder / "catalog.toml").read_bytes() == before + b"\n" + ran.json["block"].encode()
    assert (ran.json["key"], ran.json["rows"], ran.json["bytes"]) == (["id"], None, None)
    assert [column["column"] for column in ran.json["left_out"]] == ["place"]
    log = catalog.load().hourly["visits"]
    assert (log.time, log.key) == ("made", "id")
    assert {column.name: (column.type.spelling, column.bigquery) for column in log.columns} == {
        "id": ("bigint", "INT64"),
        "shown": ("timestamp", "DATETIME"),
        "made": ("timestamptz", "TIMESTAMP"),
        "mood": ("enum", "STRING"),
        "address": ("inet", "STRING"),
        "price": ("numeric(10,2)", "NUMERIC"),
        "tags": ("text[]", "ARRAY<STRING>"),
    }
    with connect(Services.from_environment().settings, "test") as connection:
        LogTable(connection, "public", log).check()


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("example",), "example: is in the catalog already"),
        (("public.nowhere",), "public.nowhere: does not exist"),
        (("other.visits",), "other.visits: logs are in the schema public, as the catalog says"),
        (("timeless",), "hourly.timeless.time: is missing"),
        (("visits", "--name", "other"), "--log takes no --name"),
    ],
)
def test_a_log_that_can_not_be_one_is_not_written(folder, database, arguments, what):
    database.execute(LOG)
    database.execute("CREATE TABLE timeless (id bigint PRIMARY KEY); CREATE TABLE example (id bigint)")
    before = (folder / "catalog.toml").read_bytes()
    ran = recosync("catalog", "add", "--log", *arguments)
    assert (ran.code, what in ran.err) == (Exit.USAGE, True)
    assert (folder / "catalog.toml").read_bytes() == before
