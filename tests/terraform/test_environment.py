"""The variables that a function reads, those that Terraform sets and those that the README tells of are the same.

What is read is asked of the settings themselves, by an environment that keeps track. What is set is in a plan.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import pytest

from local.functions import FLEET
from shared.errors import ConfigurationError
from shared.settings import HourlySettings, Settings
from tests.terraform.workspace import ROOT

FLOWS = {"daily": Settings, "hourly": HourlySettings}
#: Where Google's client libraries find an emulator: nothing that is deployed.
EMULATORS = {"BIGQUERY_EMULATOR_HOST", "STORAGE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST"}
#: Two ways to the same.
EITHER = {"DATABASE_URL", "DATABASE_URL_FILE"}

COMPLETE = {
    "ENV_SHORT_NAME": "dev",
    "GCP_PROJECT_ID": "a-project",
    "BIGQUERY_ML_RECOMMENDATION_DATASET": "reco",
    "BIGQUERY_SEED_DATASET": "seed",
    "RECOMMENDATION_SQL_INSTANCE": "instance",
    "EXPORT_BUCKET": "exports",
    "EXPORT_PREFIX": "prefix",
    "COMPLETION_TOPIC": "published",
    "HOURLY_BUCKET": "hours",
    "HOURLY_PREFIX": "prefix",
    "DATABASE_URL": "postgresql://user@host/database",
}


class Recorder(Mapping[str, str]):
    """An environment that knows what it was asked for."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("who reads all variables reads none that can be told")

    def __len__(self) -> int:
        return len(self._values)


def flows_of(function):
    """The settings that a function's code makes."""
    text = (ROOT / "functions" / function / "main.py").read_text()
    found = set(re.findall(r"services\.(daily|hourly)\b", text))
    if "entry.answer_event" in text:
        found.add("daily")
    assert found, f"nothing in {function} makes its settings"
    return [FLOWS[name] for name in sorted(found)]


def read_by(function):
    """Every variable that it reads."""
    recorder = Recorder(COMPLETE)
    for settings in flows_of(function):
        settings.from_environment(recorder)
    return recorder.asked - EMULATORS


def needed_by(function):
    """Those that it does not do without."""

    def starts(environment):
        try:
            for settings in flows_of(function):
                settings.from_environment(environment)
        except ConfigurationError:
            return False
        return True

    return {name for name in COMPLETE if not starts({**COMPLETE, name: ""})}


def documented():
    """The variables of the README's table, and whether each is optional."""
    text = (ROOT / "README.md").read_text()
    (table,) = re.findall(r"^## Configuration\n(.*?)^(?=[^|\s])", text, re.DOTALL | re.MULTILINE)
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|$", table, re.MULTILINE)
    return {name: text.startswith("optional") for cell, text in rows for name in re.findall(r"`([A-Z_]+)`", cell)}


@pytest.fixture(scope="module")
def planned(plan):
    """What Terraform deploys of each function: its `service_config`."""
    deployed = [
        change["change"]["after"]
        for change in plan["resource_changes"]
        if change["type"] == "google_cloudfunctions2_function"
    ]
    return {one["build_config"][0]["entry_point"]: one["service_config"][0] for one in deployed}


def test_the_readme_tells_of_every_variable_that_is_read_and_of_no_other():
    assert documented().keys() == set.union(*map(read_by, FLEET))


def test_the_readme_calls_optional_what_a_function_starts_without():
    needed = set.union(*map(needed_by, FLEET)) | EITHER
    # Needed until the first manifest says so, so it is not called optional.
    assert {name for name, optional in documented().items() if not optional} == needed | {"HOURLY_START"}


def test_every_function_is_deployed_and_no_other(planned):
    assert planned.keys() == FLEET.keys()


@pytest.mark.parametrize("function", FLEET)
def test_terraform_sets_what_a_function_reads_and_nothing_else(planned, function):
    given, reads = planned[function]["environment_variables"], read_by(function)
    assert given.keys() - reads == set(), "set, and read by nobody"
    missing = reads - given.keys() - EITHER
    assert {name for name in missing if not documented()[name]} == set(), "read, and not set"
    assert len(given.keys() & EITHER) == 1


@pytest.mark.parametrize("function", FLEET)
def test_the_function_takes_what_terraform_sets(planned, function):
    given = planned[function]["environment_variables"]
    for settings in flows_of(function):
        made = settings.from_environment(given)
        assert made.function_timeout == planned[function]["timeout_seconds"]
        assert str(made.database.file) in [
            f"{volume['mount_path']}/{version['path']}"
            for volume in planned[function]["secret_volumes"]
            for version in volume["versions"]
        ]


def test_an_environment_may_have_any_short_name(workspace):
    planned = workspace.plan("environments/dev.tfvars", environment="staging")
    accounts = [r["change"]["after"] for r in planned["resource_changes"] if r["type"] == "google_service_account"]
    assert max(len(account["account_id"]) for account in accounts) == 30  # which is the longest that there may be
    assert "2 to 7 lowercase letters" in workspace.refusal("environments/dev.tfvars", environment="production")


@pytest.mark.parametrize("example", ["prod", "stg"])
def test_the_first_hour_of_an_example_can_not_be_left_in(workspace, example):
    assert "Choose the first hour" in workspace.refusal(f"environments/{example}.tfvars")
