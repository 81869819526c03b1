"""The emulated services refuse what Google's do, where their emulators alone would not."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import BadRequest, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud.bigquery import Client, Dataset, ExtractJobConfig, LoadJobConfig, QueryJobConfig, SchemaField

from local import LOCATION
from local.discovery import UnknownError
from local.process import answers
from local.storage import Storage

TABLE, ELSEWHERE = "seed_local.numbers", "elsewhere.numbers"
PARQUET = "parquet/numbers.parquet"


class Place:
    """A table where everything is, one in the United States, and a file to load."""

    def __init__(self, here):
        self.client, self.bucket, self.url = here.bigquery_client, here.bucket, here.cloud.bigquery.url
        self.dataset("elsewhere", "US")
        self.run(f"CREATE TABLE {TABLE} AS SELECT 1 AS n")
        self.run(f"CREATE TABLE {ELSEWHERE} AS SELECT 1 AS n", location="US")
        with here.storage_client.bucket(self.bucket).blob(PARQUET).open("wb") as file:
            pq.write_table(pa.table({"n": [1]}), file)

    def dataset(self, name, location):
        made = Dataset(f"{self.client.project}.{name}")
        made.location = location
        self.client.create_dataset(made)

    def run(self, statement, **options):
        return self.client.query(statement, **options).result()

    def extract(self, table, location):
        config = ExtractJobConfig(destination_format="PARQUET")
        uri = f"gs://{self.bucket}/extracted/*.parquet"
        return self.client.extract_table(table, uri, job_config=config, location=location).result()

    def load(self, table, location, *, uri=PARQUET, type_="INTEGER"):
        config = LoadJobConfig(source_format="PARQUET", schema=[SchemaField("n", type_)])
        uri = f"gs://{self.bucket}/{uri}"
        return self.client.load_table_from_uri(uri, table, job_config=config, location=location).result()


@pytest.fixture
def place(here):
    return Place(here)


def test_a_query_is_of_one_place(place):
    assert place.client.get_table(ELSEWHERE).location == "US"
    assert place.client.get_table(TABLE).location == LOCATION
    place.run(f"SELECT n FROM {ELSEWHERE}", location="US")
    for statement, location in (
        (f"SELECT n FROM {ELSEWHERE}", LOCATION),
        (f"SELECT n FROM {TABLE}", "US"),
        (f"CREATE TABLE seed_local.more AS SELECT n FROM {ELSEWHERE}", "US"),
        (f"CREATE TABLE elsewhere.more AS SELECT n FROM {TABLE}", "US"),
        (f"INSERT INTO {ELSEWHERE} (n) SELECT n FROM {TABLE}", LOCATION),
        (f"DELETE FROM {ELSEWHERE} WHERE TRUE", LOCATION),
    ):
        with pytest.raises(NotFound, match="was not found in location"):
            place.run(statement, location=location)


def test_a_job_is_found_where_it_is_alone(place):
    anywhere = Client(place.client.project, AnonymousCredentials(), client_options={"api_endpoint": place.url})
    job = anywhere.query(f"SELECT n FROM {TABLE}")
    assert job.location == LOCATION
    with pytest.raises(NotFound):
        anywhere.get_job(job.job_id)
    with pytest.raises(NotFound):
        anywhere.get_job(job.job_id, location="EU")
    assert anywhere.get_job(job.job_id, location=LOCATION).job_id == job.job_id
    of_default = anywhere.query("SELECT 1")
    assert anywhere.get_job(of_default.job_id).location == "US"


def test_an_extract_goes_to_a_bucket_of_its_place(place):
    place.extract(TABLE, LOCATION)
    with pytest.raises(BadRequest, match="different locations"):
        place.extract(ELSEWHERE, "US")
    with pytest.raises(NotFound, match="was not found in location"):
        place.extract(ELSEWHERE, LOCATION)
    place.dataset("around", "EU")
    place.run("CREATE TABLE around.numbers AS SELECT 1 AS n", location="EU")
    place.extract("around.numbers", "EU")


def test_a_load_comes_from_a_bucket_of_its_place(place):
    place.dataset("tokyo", "asia-northeast1")
    with pytest.raises(BadRequest, match="different locations"):
        place.load("tokyo.loaded", "asia-northeast1")
    with pytest.raises(NotFound, match="was not found in location"):
        place.load("seed_local.loaded", "US")
    place.load("seed_local.loaded", LOCATION)
    place.load("elsewhere.loaded", "US")


def test_what_a_load_can_not_have_is_refused(place):
    with pytest.raises(BadRequest, match="generation"):
        place.load("seed_local.loaded", LOCATION, uri=f"{PARQUET}#1700000000000000")
    with pytest.raises(BadRequest, match="Parquet"):
        place.load("seed_local.loaded", LOCATION, type_="JSON")
    with pytest.raises(BadRequest, match="Too many source URIs"):
        place.client.load_table_from_uri(
            [f"gs://{place.bucket}/{number}" for number in range(10_001)],
            "seed_local.loaded",
            job_config=LoadJobConfig(source_format="PARQUET"),
        ).result()


@pytest.mark.parametrize(
    "labels", [{"Table": "a"}, {"table": "A"}, {"1": "a"}, {"": "a"}, {"a" * 64: ""}, {"a": "b" * 64}]
)
def test_labels_are_small_letters(place, labels):
    with pytest.raises(BadRequest, match="Label"):
        place.run("SELECT 1", job_config=QueryJobConfig(labels=labels))


def test_a_job_has_a_name_that_jobs_can_have(place):
    for name in ("a.b", "a b", "a:b", "n" * 1025):
        with pytest.raises(BadRequest, match="Invalid job ID"):
            place.run("SELECT 1", job_id=name, job_retry=None)


def test_a_statement_has_a_greatest_length(place):
    with pytest.raises(BadRequest, match="too large"):
        place.run(f"SELECT '{'a' * 1024 * 1024}'")


@pytest.mark.parametrize(
    ("configuration", "told"),
    [
        ({"query": {"query": "SELECT 1", "useLegacySQL": False}}, "configuration.query.useLegacySQL is unknown"),
        ({"query": {"query": ["SELECT 1"]}}, "configuration.query.query should be of type string"),
        ({"jobType": "QUERY", "query": {"query": "SELECT 1"}}, "configuration.jobType is for answers only"),
        ({"dryRun": "yes", "query": {"query": "SELECT 1"}}, "configuration.dryRun should be of type boolean"),
        ({"load": {"sourceUris": [{"uri": "gs://a/b"}]}}, "configuration.load.sourceUris[0] should be of type string"),
        ({"extract": {"sourceTable": {"table": "t"}}}, "configuration.extract.sourceTable.table is unknown"),
    ],
)
def test_bigquery_refuses_fields_that_it_does_not_know(here, configuration, told):
    ask = here.bigquery_client._connection.api_request
    with pytest.raises(BadRequest, match=re.escape(told)):
        ask(method="POST", path=f"/projects/{here.project}/jobs", data={"configuration": configuration})


def test_bigquery_refuses_parameters_and_addresses_that_it_does_not_know(here):
    ask = here.bigquery_client._connection.api_request
    with pytest.raises(BadRequest, match=re.escape("bigquery.tables.list?maxResult is unknown")):
        ask(method="GET", path=f"/projects/{here.project}/datasets/seed_local/tables", query_params={"maxResult": 1})
    with pytest.raises(BadRequest, match="no method: PUT"):
        ask(method="PUT", path=f"/projects/{here.project}/jobs", data={})


PARTS = b'--of\r\ncontent-type: application/json\r\n\r\n{"name": "a", "contentTyp": "b"}\r\n--of\r\n\r\nc\r\n--of--'


@pytest.mark.parametrize(
    ("verb", "path", "body", "told"),
    [
        ("GET", "/storage/v1/b/B/o?startOfset=a", b"", "storage.objects.list?startOfset is unknown"),
        ("PATCH", "/storage/v1/b/B", b'{"labeled": {}}', "storage.buckets.patch.labeled is unknown"),
        (
            "POST",
            "/upload/storage/v1/b/B/o?name=a&ifGeneration=0",
            b"c",
            "storage.objects.insert?ifGeneration is unknown",
        ),
        (
            "POST",
            "/upload/storage/v1/b/B/o?uploadType=multipart",
            PARTS,
            "storage.objects.insert.contentTyp is unknown",
        ),
        (
            "POST",
            "/upload/storage/v1/b/B/o?uploadType=resumable",
            b'{"nam": ""}',
            "storage.objects.insert.nam is unknown",
        ),
        ("DELETE", "/storage/v1/b/B/o/a", b"{}", "storage.objects.delete takes no body"),
        ("GET", "/B/a?generation=1&part=2", b"", "no read of an object"),
    ],
    ids=["parameter", "field", "upload's parameter", "part of an upload", "resumable upload", "body", "read"],
)
def test_a_request_that_cloud_storage_does_not_know_is_not_sent(here, verb, path, body, told):
    client = here.storage_client
    with pytest.raises(UnknownError, match=re.escape(told)):
        client._http.request(verb, client.api_endpoint + path.replace("B", here.bucket), data=body)


def test_addresses_that_other_processes_ask_cloud_storage_for_are_judged_in_the_end(cloud, tmp_path):
    storage = Storage(tmp_path, "a-project", "a-topic", cloud.pubsub.host)
    try:
        storage.ready()
        for path in ("/storage/v1/b?project=a-project", "/storage/v1/b?projct=a-project"):
            assert answers(f"{storage.url}{path}")
        assert storage.refused() == ["storage.buckets.list?projct is unknown"]
    finally:
        storage.stop()
