"""The variables that a function reads and those that Terraform sets are the same.

What is read is asked of the settings themselves, by an environment that keeps track. What is set is in a plan.
"""

from __future__ import annotations

import json

import pytest
from psycopg.conninfo import conninfo_to_dict

from local.functions import ARENAS, FLEET
from shared.operate.doctor import deployed
from shared.operate.doctor import planned as planned_of
from tests.kit.environment import EITHER, EMULATORS, made_by, needed_by, read_by

#: What no code of ours reads (https://man7.org/linux/man-pages/man3/mallopt.3.html).
OF_LIBRARIES = {"MALLOC_ARENA_MAX": ARENAS}


def services_of(plan):
    """What Terraform deploys of each function: its `service_config`."""
    deployed = [
        change["change"]["after"]
        for change in plan["resource_changes"]
        if change["type"] == "google_cloudfunctions2_function"
    ]
    return {one["build_config"][0]["entry_point"]: one["service_config"][0] for one in deployed}


@pytest.fixture(scope="module")
def planned(plan):
    return services_of(plan)


def test_every_function_is_deployed_and_no_other(planned):
    assert planned.keys() == FLEET.keys()


@pytest.mark.parametrize("function", FLEET)
def test_terraform_sets_what_a_function_reads_and_nothing_else(planned, function):
    given, reads = planned[function]["environment_variables"], read_by(function) - EMULATORS
    assert given.keys() - reads - OF_LIBRARIES.keys() == set(), "set, and read by nobody"
    assert OF_LIBRARIES.items() <= given.items()
    needed = needed_by(function) | ({"HOURLY_START"} & reads)
    assert needed - given.keys() - EITHER == set(), "needed, and not set"
    assert len(given.keys() & EITHER) == 1


@pytest.mark.parametrize("function", FLEET)
def test_the_function_takes_what_terraform_sets(planned, function):
    given = planned[function]["environment_variables"]
    for made in made_by(function, given):
        assert made.function_timeout == planned[function]["timeout_seconds"]
        assert str(made.database.file) in [
            f"{volume['mount_path']}/{version['path']}"
            for volume in planned[function]["secret_volumes"]
            for version in volume["versions"]
        ]


@pytest.mark.parametrize("function", FLEET)
def test_the_function_logs_in_with_its_account_where_it_shall(iam_plan, function):
    service = services_of(iam_plan)[function]
    assert not service["secret_volumes"]
    (made, *_) = made_by(function, service["environment_variables"])
    assert made.database.iam
    url = conninfo_to_dict(made.database.read())
    account = service["service_account_email"].removesuffix(".gserviceaccount.com")
    role = "status" if function == "status" else "loader"
    assert url == {
        "user": account,
        "host": "10.0.0.2",
        "dbname": "recommendation",
        "options": f"-crole={role}",
    }
    users = [c["change"]["after"]["name"] for c in iam_plan["resource_changes"] if c["type"] == "google_sql_user"]
    assert account in users


def test_an_environment_may_have_any_short_name(workspace):
    planned = workspace.plan("environments/dev.tfvars", environment="eu-staging-2")
    accounts = [r["change"]["after"] for r in planned["resource_changes"] if r["type"] == "google_service_account"]
    assert max(len(account["account_id"]) for account in accounts) == 30  # which is the longest that there may be
    functions = [r["change"]["after"] for r in planned["resource_changes"] if r["type"].endswith("functions2_function")]
    for function in functions:
        given = function["service_config"][0]["environment_variables"]
        for made in made_by(function["build_config"][0]["entry_point"], given):
            assert made.temporary_dataset == "tmp_eu_staging_2"
    assert "1 to 12 lowercase letters" in workspace.refusal("environments/dev.tfvars", environment="staging-europe")


@pytest.mark.parametrize("example", ["prod", "stg"])
def test_the_first_hour_of_an_example_can_not_be_left_in(workspace, example):
    assert "Choose the first hour" in workspace.refusal(f"environments/{example}.tfvars")


def test_the_doctor_reads_what_terraform_prints(plan):
    change = plan["output_changes"]["deployment"]
    printed = json.dumps(known(change["after"], change["after_unknown"])).encode()
    found = deployed.read(printed, "the output")
    assert found.functions.keys() == FLEET.keys()
    assert {schedule.function for schedule in found.schedules} == {"bq_export", "hourly_export"}
    assert found.functions["gcs_import"].archive.startswith("gcs_import-")
    policies = [c["change"]["after"] for c in plan["resource_changes"] if c["type"] == "google_monitoring_alert_policy"]
    assert sorted(found.alerts) == sorted(policy["display_name"] for policy in policies)


def test_the_doctor_reads_a_plan(plan):
    found = planned_of.read(json.dumps(plan).encode(), "the plan")
    assert (found.project, found.region) == ("example-recommendation-dev", "europe-west1")
    assert (found.cloud_sql.instance, found.subnetwork, found.iam) == (
        "recommendation-dev",
        "recommendation-dev",
        False,
    )


def known(value, unknown):
    """A planned value, with some text for each value that only the apply tells."""
    if unknown is True:
        return "after the apply"
    if isinstance(unknown, dict):
        return {name: known((value or {}).get(name), unknown.get(name)) for name in {*(value or {}), *unknown}}
    if isinstance(unknown, list):
        return [known(of, its) for of, its in zip(value, unknown, strict=True)]
    return value
