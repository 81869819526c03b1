"""What a request needs to be permitted, and who has it: the judge of accounts before the emulated services."""

from __future__ import annotations

import gzip
import json

import pytest

from local.proxy import Answer, Request
from local.roles import ROLES, Account, Grant, Need, _needs, granted

PROJECT, DATASET = "projects/p", "projects/p/datasets/d"
TABLE, SOURCE, BUCKET = f"{DATASET}/tables/t", "projects/p/datasets/s/tables/t", "buckets/b"
BIGQUERY = "/bigquery/v2/projects/p"
JOB = Need("bigquery.jobs.create", PROJECT)


def there(request):
    return Answer(200, b"{}")


def gone(request):
    return Answer(404, b"{}")


def needs(method, path, body=None, forward=there, account=None):
    content = b"" if body is None else json.dumps(body).encode()
    return list(_needs(account or Account("me", ()), Request(method, path, {}, content), forward))


@pytest.mark.parametrize(
    ("method", "path", "permission", "on"),
    [
        ("GET", "/storage/v1/b/b", "storage.buckets.get", BUCKET),
        ("GET", "/storage/v1/b/b/o?prefix=a/", "storage.objects.list", BUCKET),
        ("GET", "/storage/v1/b/b/o/a%2Fb?generation=1", "storage.objects.get", BUCKET),
        ("GET", "/download/storage/v1/b/b/o/a?alt=media", "storage.objects.get", BUCKET),
        ("GET", "/b/a/b.parquet?generation=1", "storage.objects.get", BUCKET),
        ("HEAD", "/b/a/b.parquet", "storage.objects.get", BUCKET),
        ("DELETE", "/storage/v1/b/b/o/a", "storage.objects.delete", BUCKET),
        ("PATCH", "/storage/v1/b/b/o/a", "storage.objects.update", BUCKET),
        ("GET", f"{BIGQUERY}/datasets/d", "bigquery.datasets.get", DATASET),
        ("GET", f"{BIGQUERY}/datasets/d/tables", "bigquery.tables.list", DATASET),
        ("POST", f"{BIGQUERY}/datasets/d/tables", "bigquery.tables.create", DATASET),
        ("GET", f"{BIGQUERY}/datasets/d/tables/t", "bigquery.tables.get", TABLE),
        ("PATCH", f"{BIGQUERY}/datasets/d/tables/t", "bigquery.tables.update", TABLE),
        ("DELETE", f"{BIGQUERY}/datasets/d/tables/t$20260101", "bigquery.tables.delete", TABLE),
        ("POST", "/v3/projects/p/timeSeries", "monitoring.timeSeries.create", PROJECT),
    ],
)
def test_a_request_needs_a_permission(method, path, permission, on):
    assert needs(method, path) == [Need(permission, on)]


@pytest.mark.parametrize(
    ("path", "forward", "replaces"),
    [
        ("/upload/storage/v1/b/b/o?uploadType=resumable&name=a", there, True),
        ("/upload/storage/v1/b/b/o?uploadType=resumable&name=a", gone, False),
        ("/upload/storage/v1/b/b/o?uploadType=resumable&name=a&ifGenerationMatch=0", there, False),
        ("/storage/v1/b/b/o/a/copyTo/b/b/o/c", there, True),
        ("/storage/v1/b/b/o/a/rewriteTo/b/b/o/c?ifGenerationMatch=0", there, False),
    ],
)
def test_who_replaces_an_object_deletes_one(path, forward, replaces):
    found = needs("POST", path, {}, forward)
    assert Need("storage.objects.create", BUCKET) in found
    assert (Need("storage.objects.delete", BUCKET) in found) == replaces


def test_an_upload_that_goes_on_was_permitted_when_it_began():
    assert needs("PUT", "/upload/storage/v1/b/b/o?upload_id=1") == []


READ, CREATE = Need("bigquery.tables.getData", SOURCE), Need("bigquery.tables.create", DATASET)
CHANGE, OWN = Need("bigquery.tables.updateData", TABLE), Need("bigquery.tables.getData", TABLE)


@pytest.mark.parametrize(
    ("statement", "more"),
    [
        ("SELECT 1", []),
        ("SELECT n FROM `p.s.t` AS t, UNNEST(t.more)", [READ]),
        ("SELECT n FROM s.t FOR SYSTEM_TIME AS OF TIMESTAMP '2026-01-01'", [READ]),
        ("WITH t AS (SELECT 1 AS n) SELECT n FROM t", []),
        ("CREATE TABLE d.t AS SELECT n FROM s.t", [CREATE, READ]),
        ("CREATE OR REPLACE TABLE d.t AS SELECT 1 AS n", [CREATE, CHANGE]),
        ("INSERT INTO d.t (n) SELECT n FROM s.t", [CHANGE, READ]),
        ("DELETE FROM d.t WHERE n IN (SELECT n FROM s.t)", [CHANGE, OWN, READ]),
        ("UPDATE d.t SET n = 1 WHERE TRUE", [CHANGE, OWN]),
        ("MERGE d.t AS a USING s.t AS b ON a.n = b.n WHEN NOT MATCHED THEN INSERT (n) VALUES (n)", [CHANGE, OWN, READ]),
        ("DROP TABLE d.t", [Need("bigquery.tables.delete", TABLE)]),
    ],
)
def test_a_statement_needs_what_it_reads_and_changes(statement, more):
    found = needs("POST", f"{BIGQUERY}/jobs", {"configuration": {"query": {"query": statement}}})
    assert sorted(found, key=str) == sorted([JOB, *more], key=str)
    found = needs("POST", f"{BIGQUERY}/queries", {"query": statement})
    assert sorted(found, key=str) == sorted([JOB, *more], key=str)


REFERENCE = {"projectId": "p", "datasetId": "d", "tableId": "t$20260101"}


@pytest.mark.parametrize("disposition", ["CREATE_NEVER", "CREATE_IF_NEEDED"])
def test_a_load_looks_at_the_bucket_and_changes_the_table(disposition):
    load = {"destinationTable": REFERENCE, "sourceUris": ["gs://b/1", "gs://b/2"], "createDisposition": disposition}
    found = needs("POST", f"{BIGQUERY}/jobs", {"configuration": {"load": load}})
    permissions = ("storage.buckets.get", "storage.objects.get", "storage.objects.list")
    assert {Need(permission, BUCKET) for permission in permissions} | {JOB, CHANGE} <= set(found)
    assert (CREATE in found) == (disposition == "CREATE_IF_NEEDED")


def test_an_extract_may_replace_what_a_killed_one_left():
    extract = {"sourceTable": REFERENCE, "destinationUris": ["gs://b/part-*.parquet"]}
    assert needs("POST", f"{BIGQUERY}/jobs", {"configuration": {"extract": extract}}) == [
        JOB,
        Need("bigquery.tables.export", TABLE),
        Need("storage.objects.create", BUCKET),
        Need("storage.objects.delete", BUCKET),
    ]


def test_what_nobody_wrote_down_is_refused():
    account = Account("me", [Grant(role, PROJECT) for role in ROLES])
    answer = account.guard(Request("DELETE", "/storage/v1/b/b", {}, b""), there)
    assert (answer.status, b"nobody wrote down what storage.buckets.delete needs" in answer.body) == (403, True)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_job_is_looked_at_by_whoever_made_it(zipped):
    def made(request):
        body = json.dumps({"jobReference": {"jobId": "j"}}).encode()
        return Answer(200, gzip.compress(body), {"Content-Encoding": "gzip"}) if zipped else Answer(200, body)

    jobs = {}
    ours, theirs = (Account(name, [Grant("roles/bigquery.jobUser", PROJECT)], jobs) for name in ("ours", "theirs"))
    body = json.dumps({"configuration": {"query": {"query": "SELECT 1"}}}).encode()
    assert ours.guard(Request("POST", f"{BIGQUERY}/jobs", {}, body), made).status == 200
    for path in ("jobs/j", "queries/j"):
        look = Request("GET", f"{BIGQUERY}/{path}", {}, b"")
        assert ours.guard(look, there).status == 200
        assert b"theirs does not have bigquery.jobs.get access to projects/p" in theirs.guard(look, there).body
    # What nobody has made is not found, which is for the service to say.
    assert theirs.guard(Request("GET", f"{BIGQUERY}/jobs/k", {}, b""), gone).status == 404


def test_a_grant_is_for_what_is_below_its_resource_alone():
    editor = Grant("roles/bigquery.dataEditor", DATASET)
    assert editor.permits(CHANGE)
    assert editor.permits(CREATE)
    assert not editor.permits(READ)
    assert not editor.permits(JOB)
    assert not Grant("roles/bigquery.dataEditor", f"{DATASET[:-1]}").permits(CHANGE)


def test_the_grants_are_those_of_the_table_in_the_terraform_folder():
    assert Grant("roles/pubsub.publisher", "completion topic") in granted()["gcs_import"]
    assert {grant.role for grant in granted()["mv_refresh"]} == {
        "roles/pubsub.publisher",
        "roles/secretmanager.secretAccessor",
        "roles/cloudsql.instanceUser",
    }
