"""Who is granted what by a plan is what the table in terraform/README.md says, and nothing else."""

from __future__ import annotations

import re

import pytest

from tests.terraform.workspace import ROOT

README = ROOT / "terraform" / "README.md"

#: What a kind of grant is granted on: the attribute that names it.
RESOURCES = {
    "google_project_iam_member": "project",
    "google_storage_bucket_iam_member": "bucket",
    "google_bigquery_dataset_iam_member": "dataset_id",
    "google_bigquery_table_iam_member": "table_id",
    "google_pubsub_topic_iam_member": "topic",
    "google_pubsub_subscription_iam_member": "subscription",
    "google_secret_manager_secret_iam_member": "secret_id",
    "google_cloud_run_v2_service_iam_member": "name",
    "google_artifact_registry_repository_iam_member": "repository",
}
#: The README's words for what the example environment names.
WORDS = {
    "example-recommendation-dev": "project",
    "example-recommendation-dev-recosync-exports": "export bucket",
    "example-recommendation-dev-recosync-hours": "hourly bucket",
    "example-recommendation-dev-recosync-source": "source bucket",
    "ml_reco_dev": "the source data sets",
    "seed_dev": "the source data sets",
    "tmp_dev": "tmp_{env}",
    "past_offer_context": "each log's table",
    "recosync-dev": "image repository",
    "recosync-dev-published": "completion topic",
    "recosync-dev-refreshed": "refreshed topic",
    "recosync-dev-hour-done": "hour-done topic",
    "cache": "its subscription",
    "cache-dead-letter": "its dead letter topic",
    "recommendation-dev_database_url": "{instance}_database_url",
    "recommendation-dev_status_database_url": "{instance}_status_database_url",
}
PEOPLE = {
    "group:viewers@example.com": "status_viewers",
    "serviceAccount:airflow@other.iam.gserviceaccount.com": "callers",
    "serviceAccount:cache@other.iam.gserviceaccount.com": "a subscriber",
}


def documented():
    rows = re.findall(r"^\| ([^|`]+) \| `(roles/[^`]+)` \| ([^|]+) \| [^|]+ \|$", README.read_text(), re.MULTILINE)
    assert len(rows) == len(set(rows)), "a row stands there twice"
    return set(rows)


def grants(plan):
    """Every resource of the plan that grants a role, as Terraform names its kind, with its attributes."""
    return [
        (change["type"], change["change"]["after"])
        for change in plan["resource_changes"]
        if re.search(r"_iam_(member|binding|policy)$|_access$", change["type"])
    ]


def account(member):
    if member in PEOPLE:
        return PEOPLE[member]
    if own := re.fullmatch(r"serviceAccount:recosync-dev-([a-z-]+)@example-recommendation-dev\.iam.*", member):
        return own[1].replace("-", "_")
    agents = {"gs-project-accounts": "Cloud Storage's agent", "gcp-sa-pubsub": "Pub/Sub's agent"}
    (agent,) = (name for sign, name in agents.items() if f"@{sign}." in member)
    return agent


def resource(kind, attributes):
    named = attributes[RESOURCES[kind]]
    if kind == "google_cloud_run_v2_service_iam_member":
        return f"function {named.removeprefix('recosync-dev-').replace('-', '_')}"
    return WORDS[named]


@pytest.fixture(scope="module")
def granted(plan, iam_plan):
    found = [*grants(plan), *grants(iam_plan)]
    return {(account(a["member"]), a["role"], resource(kind, a)) for kind, a in found}


def test_every_role_stands_in_the_table(granted):
    assert granted - documented() == set()


def test_every_row_of_the_table_is_granted(granted):
    assert documented() - granted == set()


def test_the_table_has_every_role_that_is_written_anywhere():
    """Also those of variables that the plan leaves alone; and where there is no Terraform to plan with."""
    written = {
        role
        for file in (ROOT / "terraform").rglob("*.tf")
        # What is printed for people grants nothing.
        if "tests" not in file.parts and file.name != "outputs.tf"
        for role in re.findall(r'"(roles/[^"]+)"', file.read_text())
    }
    assert written == {role for _, role, _ in documented()}


def test_an_account_logs_in_or_reads_a_secret_and_never_both(plan, iam_plan):
    ways = ({"roles/secretmanager.secretAccessor"}, {"roles/cloudsql.instanceUser"})
    for of, way in zip((plan, iam_plan), ways, strict=True):
        assert {a["role"] for _, a in grants(of)} & set.union(*ways) == way


def test_roles_are_added_one_by_one(plan):
    """A binding or a policy would take away what others have granted."""
    assert {kind for kind, _ in grants(plan)} <= RESOURCES.keys()


def test_nobody_is_granted_a_role_without_being_named(plan):
    assert not [a for _, a in grants(plan) if a["member"] in ("allUsers", "allAuthenticatedUsers")]


def test_no_account_has_a_key(plan):
    assert not [c["address"] for c in plan["resource_changes"] if c["type"] == "google_service_account_key"]


def test_each_function_runs_and_is_built_as_an_account_made_here(plan):
    functions = [
        c["change"]["after"] for c in plan["resource_changes"] if c["type"] == "google_cloudfunctions2_function"
    ]
    runs_as = {one["service_config"][0]["service_account_email"] for one in functions}
    assert len(runs_as) == len(functions) == 5
    assert all(email.startswith("recosync-dev-") for email in runs_as)
    (builder,) = {one["build_config"][0]["service_account"] for one in functions}
    assert builder.rsplit("/", 1)[1].startswith("recosync-dev-build@")


def test_on_the_project_is_only_what_can_be_nowhere_else(granted):
    assert {role for _, role, where in granted if where == "project"} == {
        "roles/bigquery.jobUser",
        "roles/bigquery.resourceViewer",
        "roles/cloudsql.instanceUser",
        "roles/eventarc.eventReceiver",
        "roles/logging.logWriter",
        "roles/monitoring.metricWriter",
        "roles/pubsub.publisher",
        "roles/storage.objectViewer",
    }
