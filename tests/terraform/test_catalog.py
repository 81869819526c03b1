"""A plan of somebody's own catalog: three logs, and two tables of two data sets. All follows from the catalog."""

from __future__ import annotations

import base64
import json
import re
import shutil

import pytest

from shared.catalog import Place, load
from shared.operate.cli import terraform
from tests.kit.edits import Edited
from tests.terraform.workspace import ROOT

#: One data set is of another project, one named by a variable, and one by nobody of this catalog.
GIVEN = {"ARTISTS_DATASET": "example-recommendation-dev.artists_dev", "seed": "seed_dev"}
FOLDER = ROOT / "terraform" / "tests" / "catalog"
OURS = ROOT / "tests" / "catalog"
WRITER = "serviceAccount:recosync-dev-hourly-export@example-recommendation-dev.iam.gserviceaccount.com"

READER = WRITER.replace("hourly", "bq")


@pytest.fixture(scope="module")
def plan(workspace):
    return workspace.plan("environments/dev.tfvars", catalog_folder=str(FOLDER), source_datasets=GIVEN)


def planned(plan, kind):
    """The resources of a kind, by address."""
    return {c["address"]: c["change"]["after"] for c in plan["resource_changes"] if c["type"] == kind}


def test_each_log_has_a_job_that_names_it(plan):
    jobs = [job for job in planned(plan, "google_cloud_scheduler_job").values() if "hourly" in job["name"]]
    bodies = {job["name"]: json.loads(base64.b64decode(job["http_target"][0]["body"])) for job in jobs}
    name = "export_cloudsql_tables_to_bigquery_hourly"
    assert bodies == {
        name: {"table_name": "past_offer_context", "delete_from_source": False},
        f"{name}_plays": {"table_name": "plays", "delete_from_source": True},
        f"{name}_searches": {"table_name": "searches", "delete_from_source": False},
    }
    assert {job["name"]: job["schedule"] for job in jobs} == {
        name: "5 * * * *",
        f"{name}_plays": "20 * * * *",
        f"{name}_searches": "59 * * * *",
    }


def test_each_log_may_write_its_table_and_ours_are_made(plan):
    """A table in a data set of others is theirs, with all that they have set of it."""
    tables = planned(plan, "google_bigquery_table").values()
    where = {(table["project"], table["dataset_id"], table["table_id"]): table for table in tables}
    mine = "example-recommendation-dev"
    assert where.keys() == {(mine, "raw_dev", "past_offer_context"), (mine, "raw_dev", "plays")}
    plays = where[mine, "raw_dev", "plays"]
    columns = [field["name"] for field in json.loads(plays["schema"])]
    assert columns == ["id", "at", "track_id", "import_date", "import_hour"]
    assert plays["clustering"] == ["import_hour", "track_id"]
    assert plays["time_partitioning"][0]["field"] == "import_date"
    grants = planned(plan, "google_bigquery_table_iam_member").values()
    written = {(g["project"], g["dataset_id"], g["table_id"]) for g in grants}
    assert written == {*where, ("acme-warehouse", "search_dev", "queries")}
    assert {(g["role"], g["member"]) for g in grants} == {("roles/bigquery.dataEditor", WRITER)}


def test_what_is_ours_goes_as_the_environment_says(plan):
    """It lets its own data go, after 90 days at the latest."""
    assert {
        (table["deletion_protection"], table["time_partitioning"][0].get("expiration_ms"))
        for table in planned(plan, "google_bigquery_table").values()
    } == {(False, 90 * 24 * 60 * 60 * 1000)}


def read(plan):
    """The data sets that bq_export is let read, by the addresses of the grants."""
    return {
        address: (grant["project"], grant["dataset_id"], grant["member"])
        for address, grant in planned(plan, "google_bigquery_dataset_iam_member").items()
        if grant["role"] == "roles/bigquery.dataViewer"
    }


def test_bq_export_may_read_the_data_sets_of_the_sources_and_the_functions_know_them(plan):
    mine = "example-recommendation-dev"
    assert read(plan) == {
        f'google_bigquery_dataset_iam_member.reader["{project}.{dataset}"]': (project, dataset, READER)
        for project, dataset in (("acme-music", "warehouse"), (mine, "artists_dev"))
    }
    for function in planned(plan, "google_cloudfunctions2_function").values():
        given = function["service_config"][0]["environment_variables"]
        known = {name: value for name, value in given.items() if "DATASET" in name}
        page = function["build_config"][0]["entry_point"] == "status"
        assert known == ({} if page else {"ARTISTS_DATASET": GIVEN["ARTISTS_DATASET"]})


def test_every_log_and_table_is_watched_and_its_hours_age(plan):
    alerts = planned(plan, "google_monitoring_alert_policy")

    def watched(alert, label):
        condition = alerts[f'module.monitoring.google_monitoring_alert_policy.promql["{alert}"]']["conditions"][0]
        query = condition["condition_prometheus_query_language"][0]["query"]
        return set(re.findall(rf'vector\(1\), "{label}", "(\w+)"', query))

    assert watched("hour_late", "log") == {"past_offer_context", "plays", "searches"}
    assert watched("snapshot_missing", "table") == {"artists", "tracks"}
    (bucket,) = (b for b in planned(plan, "google_storage_bucket").values() if b["name"].endswith("-recosync-hours"))
    (prefixes,) = (p for rule in bucket["lifecycle_rule"] for c in rule["condition"] if (p := c["matches_prefix"]))
    assert set(prefixes) == {f"cloudsql_hourly/{log}/date=" for log in ("past_offer_context", "plays", "searches")}


def test_one_caller_is_let_in_once_for_all_logs(plan):
    """Were it so for each log, the end of one would be the end of all."""
    invokers = [
        g["member"] for g in planned(plan, "google_cloud_run_v2_service_iam_member").values() if "hourly" in g["name"]
    ]
    assert invokers == ["serviceAccount:recosync-dev-scheduler@example-recommendation-dev.iam.gserviceaccount.com"]


def test_a_catalog_that_was_changed_since_is_refused_with_the_command_that_helps(workspace, tmp_path):
    folder = shutil.copytree(FOLDER, tmp_path / "folder")
    for spoil in (
        lambda: (folder / "catalog.toml").write_text((folder / "catalog.toml").read_text() + "# A word more\n"),
        (folder / "terraform.json").unlink,
    ):
        spoil()
        told = workspace.refusal("environments/dev.tfvars", catalog_folder=str(folder), source_datasets=GIVEN)
        assert "recosync --catalog FOLDER catalog terraform" in told


def test_a_catalog_that_we_know_nothing_of_is_planned(workspace):
    """The one that the demo is tried with: twelve tables of two projects, and three logs."""
    folder = ROOT / "tests" / "catalogs" / "stranger"
    given = {"CRM_DATASET": "acme-crm.people"}
    plan = workspace.plan("environments/dev.tfvars", catalog_folder=str(folder), source_datasets=given)
    tables = planned(plan, "google_bigquery_table").values()
    where = {f"{table['project']}.{table['dataset_id']}.{table['table_id']}" for table in tables}
    mine = "example-recommendation-dev.raw_dev"
    assert where == {f"{mine}.search", f"{mine}.basket"}
    jobs = [job["name"] for job in planned(plan, "google_cloud_scheduler_job").values() if "hourly" in job["name"]]
    assert sorted(name.rpartition("_")[2] for name in jobs) == ["basket", "click", "search"]


def without(folder, to, kind):
    """A copy of a catalog's folder, without all of one kind: its path."""
    shutil.copytree(folder, to)
    edited = Edited((to / "catalog.toml").read_text())
    for name in edited.document[kind]:
        edited = edited.without(kind, name)
    place = Place(to / "catalog.toml", to / "views")
    place.file.write_text(edited.text)
    terraform.write(load(place), place)
    return str(to)


def test_where_there_is_no_log_one_call_an_hour_finds_lost_events(workspace, tmp_path):
    folder = without(FOLDER, tmp_path / "folder", "hourly")
    plan = workspace.plan("environments/dev.tfvars", catalog_folder=folder, source_datasets=GIVEN)
    (job,) = (job for job in planned(plan, "google_cloud_scheduler_job").values() if "hourly" in job["name"])
    assert (job["name"], job["schedule"]) == ("export_cloudsql_tables_to_bigquery_hourly", "5 * * * *")
    assert json.loads(base64.b64decode(job["http_target"][0]["body"])) == {}


def test_a_catalog_of_logs_alone_is_planned(workspace, tmp_path):
    folder = without(without(FOLDER, tmp_path / "some", "views"), tmp_path / "folder", "tables")
    plan = workspace.plan("environments/dev.tfvars", catalog_folder=folder)
    assert len(planned(plan, "google_bigquery_table_iam_member")) == 3
    alerts = planned(plan, "google_monitoring_alert_policy")
    assert not [address for address in alerts if "snapshot_missing" in address]
    assert not read(plan)


def test_a_data_set_is_granted_once_whoever_names_it(workspace):
    """Two variables, with and without the project; and a variable and a source itself."""
    mine = "example-recommendation-dev"
    twice = {"ml_recommendation": "shared", "seed": f"{mine}.shared"}
    plan = workspace.plan("environments/dev.tfvars", catalog_folder=str(OURS), source_datasets=twice)
    assert read(plan) == {f'google_bigquery_dataset_iam_member.reader["{mine}.shared"]': (mine, "shared", READER)}
    both = {"ARTISTS_DATASET": "acme-music.warehouse"}
    plan = workspace.plan("environments/dev.tfvars", catalog_folder=str(FOLDER), source_datasets=both)
    assert read(plan).keys() == {'google_bigquery_dataset_iam_member.reader["acme-music.warehouse"]'}


#: What a deployment had of the only log that there could be, and of the daily job: the old address and the new one, and
#: what it is that stands there.
RAW = {"project": "example-recommendation-dev", "dataset_id": "raw_dev", "table_id": "past_offer_context"}
CALLER = {
    "role": "roles/run.invoker",
    "member": "serviceAccount:recosync-dev-scheduler@example-recommendation-dev.iam.gserviceaccount.com",
}
BEFORE = [
    (
        ("module.raw_dataset", "google_bigquery_table", "this", "past_offer_context"),
        'google_bigquery_table.log["past_offer_context"]',
        RAW,
    ),
    (
        ("module.raw_dataset", "google_bigquery_table_iam_member", "editor", "past_offer_context hourly_export"),
        'google_bigquery_table_iam_member.log["past_offer_context hourly_export"]',
        {**RAW, "role": "roles/bigquery.dataEditor", "member": WRITER},
    ),
    (
        ("module.hourly_schedule", "google_cloud_scheduler_job", "this", None),
        'module.hourly_schedule["past_offer_context"].google_cloud_scheduler_job.this[0]',
        {"name": "export_cloudsql_tables_to_bigquery_hourly", "region": "europe-west1"},
    ),
    (
        ("module.hourly_schedule", "google_cloud_run_v2_service_iam_member", "invoker", None),
        'module.function["hourly_export"].google_cloud_run_v2_service_iam_member.invoker["scheduler"]',
        {"name": "recosync-dev-hourly-export", "location": "europe-west1", **CALLER},
    ),
    (
        ("module.daily_schedule", "google_cloud_run_v2_service_iam_member", "invoker", None),
        'module.function["bq_export"].google_cloud_run_v2_service_iam_member.invoker["scheduler"]',
        {"name": "recosync-dev-bq-export", "location": "europe-west1", **CALLER},
    ),
]
#: Grants that are made anew under another address: the old one is forgotten, and revokes nothing.
FORGOTTEN = (None, "google_bigquery_dataset_iam_member", "source", "seed")


def test_what_is_deployed_stays_under_its_new_address(workspace):
    """Else a table, or the right to write it, would be taken away and made anew."""
    granted = {"project": "example-recommendation-dev", "dataset_id": "seed_dev", "member": READER}
    resources = [resource(key, there) for key, _, there in BEFORE] + [resource(FORGOTTEN, granted)]
    state = workspace.root / "terraform" / "terraform.tfstate"
    state.write_text(json.dumps({"version": 4, "serial": 1, "lineage": "l", "resources": resources}))
    try:
        plan = workspace.plan("environments/dev.tfvars", catalog_folder=str(FOLDER), source_datasets=GIVEN)
    finally:
        state.unlink()
    moved = {c["address"]: c["change"]["after"] for c in plan["resource_changes"] if "previous_address" in c}
    assert moved.keys() == {address for _, address, _ in BEFORE}
    for _, address, there in BEFORE:
        assert {name: moved[address].get(name) for name in there} == there
    assert not [c["address"] for c in plan["resource_changes"] if "delete" in c["change"]["actions"]]
    forgotten = [c["address"] for c in plan["resource_changes"] if c["change"]["actions"] == ["forget"]]
    assert forgotten == ['google_bigquery_dataset_iam_member.source["seed"]']


def resource(key, there):
    """One in a state (https://developer.hashicorp.com/terraform/internals/state-format)."""
    module, kind, name, index = key
    provider = 'provider["registry.terraform.io/hashicorp/google"]'
    attributes = {"id": "there", **there}
    instance = {"schema_version": 0, "attributes": attributes, **({"index_key": index} if index else {})}
    return {
        **({"module": module} if module else {}),
        "mode": "managed", "type": kind, "name": name, "provider": provider, "instances": [instance],
    }  # fmt: skip
