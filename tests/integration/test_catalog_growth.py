"""A table and its view are added by one block of TOML and one SQL template, without touching code."""

import os
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from shared.catalog import FOLDER_VARIABLE

ROOT = Path(__file__).parents[2]

BLOCKS = """
[tables.venue_h3_mapping]
source = "venue_h3"
dataset = "BIGQUERY_ML_RECOMMENDATION_DATASET"

[tables.venue_h3_mapping.columns]
venue_id = "integer"
latitude = "decimal"
longitude = "decimal"
h3_res5 = "varchar"
h3_res6 = "varchar"
h3_res7 = "varchar"
h3_res8 = "varchar"
h3_res9 = "varchar"

[views.venue_h3_mapping_mv]
template = "venue_h3_mapping_mv.sql.jinja"
reads = ["venue_h3_mapping"]

[tables.similar_artist]
source = "similar_artist"
dataset = "BIGQUERY_ML_RECOMMENDATION_DATASET"

[tables.similar_artist.columns]
artist_id = "varchar"
similar_artists_json = "json"

[views.similar_artist_mv]
template = "similar_artist_mv.sql.jinja"
reads = ["similar_artist"]
"""

TEMPLATES = {
    "venue_h3_mapping_mv": """
        CREATE MATERIALIZED VIEW {{ view | identifier }} AS
        SELECT venue_id, latitude, longitude, h3_res5, h3_res6, h3_res7, h3_res8, h3_res9 FROM venue_h3_mapping;
        CREATE UNIQUE INDEX "{{ ts_nodash }}_venue_h3_mapping_mv_venue_id" ON {{ view | identifier }} (venue_id);
    """,
    "similar_artist_mv": """
        CREATE MATERIALIZED VIEW {{ view | identifier }} AS
        SELECT artist_id, similar_artists_json FROM similar_artist;
        CREATE UNIQUE INDEX "{{ ts_nodash }}_similar_artist_mv_artist_id" ON {{ view | identifier }} (artist_id);
    """,
}

SOURCES = {
    "venue_h3": """
        SELECT 7 AS venue_id, 'extra' AS name, NUMERIC '48.856614' AS latitude, NUMERIC '2.3522219' AS longitude,
            'a5' AS h3_res5, 'a6' AS h3_res6, 'a7' AS h3_res7, 'a8' AS h3_res8, 'a9' AS h3_res9
    """,
    "similar_artist": """
        SELECT 'ar-1' AS artist_id, 0.5 AS extra, JSON '["ar-2", "ar-3"]' AS similar_artists_json
        UNION ALL SELECT 'ar-2', 0.25, NULL
    """,
}

ROWS = {
    "venue_h3_mapping": [(7, Decimal("48.856614"), Decimal("2.3522219"), "a5", "a6", "a7", "a8", "a9")],
    "similar_artist": [("ar-1", ["ar-2", "ar-3"]), ("ar-2", None)],
}

#: Each function's own main.py in the framework that serves it, called as Scheduler, Cloud Storage and Pub/Sub do.
DRIVER = """
import os

from functions_framework import create_app
from google.cloud.storage import Client

def function(name, signature):
    return create_app(name, f"functions/{name}/main.py", signature).test_client()

def send(function, data):
    event = {"ce-id": "1", "ce-type": "t", "ce-source": "s", "ce-specversion": "1.0"}
    answer = function.post("/", json=data, headers=event)
    assert answer.status_code == 204, answer.text

export, load = function("bq_export", "http"), function("gcs_import", "cloudevent")
refresh = function("mv_refresh", "cloudevent")
bucket = Client(os.environ["GCP_PROJECT_ID"]).bucket(os.environ["EXPORT_BUCKET"])
answer = export.post("/", json={"tables": ["venue_h3_mapping", "similar_artist"]})
for table in answer.get_json()["tables"]:
    blob = bucket.get_blob(f"{os.environ['EXPORT_PREFIX']}/{table['table']}/{table['snapshot_id']}/manifest.json")
    send(load, {"bucket": bucket.name, "name": blob.name, "generation": str(blob.generation), "size": str(blob.size)})
    send(refresh, {"message": {"attributes": {"table": table["table"], "publication": "1"}}})
"""


@pytest.fixture
def source_tree(tmp_path: Path) -> Path:
    """A copy of what is deployed, with the two tables added."""
    for folder in ("functions", "shared", "sql"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "shared" / "catalog.toml").open("a") as catalog:
        catalog.write(BLOCKS)
    for view, template in TEMPLATES.items():
        (tmp_path / "sql" / "views" / f"{view}.sql.jinja").write_text(template)
    return tmp_path


def test_two_tables_and_their_views_are_added_without_code(here, database, source_tree):
    for table, query in SOURCES.items():
        here.bigquery_client.query(f"CREATE TABLE ml_reco_local.{table} AS {query}").result()
    environment = {**os.environ, "PYTHONPATH": str(source_tree), FOLDER_VARIABLE: ""}
    driver = [sys.executable, "-c", DRIVER]
    done = subprocess.run(driver, cwd=source_tree, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for table, rows in ROWS.items():
        for relation in (table, f"{table}_mv"):
            assert database.execute(f"SELECT * FROM {relation} ORDER BY 1").fetchall() == rows
        unique = "SELECT indkey::text FROM pg_index WHERE indrelid = %s::regclass AND indisunique"
        assert database.execute(unique, [f"{table}_mv"]).fetchall() == [("1",)]
