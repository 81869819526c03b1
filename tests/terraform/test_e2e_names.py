"""What a run of the end-to-end tests makes in a project: every name carries the run's, so that no two runs meet, nor a
run and a deployment; and nothing of it is protected from being removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e import leftovers
from tests.e2e import run as runs
from tests.terraform.workspace import Workspace

RUN = runs.Run("e2eabc234", "example-project", "europe-west1", direct=False, postgres=15, begun=1767225600)
MADE = {
    "instance": {"name": "recosync-e2eabc234", "connection_limit": 50},
    "subnetwork": "recosync-e2eabc234",
    "source_datasets": {
        "BIGQUERY_ML_RECOMMENDATION_DATASET": "ml_reco_e2eabc234",
        "BIGQUERY_SEED_DATASET": "seed_e2eabc234",
    },
}
#: What a thing is called in the project, by the attributes that say so; a grant is called by whom and on what.
NAMES = ("name", "account_id", "dataset_id", "secret_id", "repository_id", "display_name", "dashboard_json", "bucket")
GRANTED = (*NAMES, "member", "secret", "repository", "topic", "subscription")
#: What is in no project, what stays as it is, and what is a part of the run's network.
NAMELESS = ("google_project_service", "time_sleep", "terraform_data", "google_service_networking_connection")
#: What has its name within the instance.
WITHIN = ("google_sql_database", "google_sql_user")


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of both configurations, in the copy that a run has of them."""
    with pytest.MonkeyPatch.context() as once:
        once.setattr(runs, "RUNS", tmp_path_factory.mktemp("runs"))
        RUN.folder.mkdir()
        RUN.write()
        return {
            "project": Workspace(RUN.tree, "tests/e2e/project").plan(**RUN.project_variables()),
            "suite": Workspace(RUN.tree, "terraform").plan(**RUN.suite_variables(MADE, "user:me@example.com")),
        }


def resources(module: Any) -> Iterator[Any]:
    yield from module.get("resources", ())
    for child in module.get("child_modules", ()):
        yield from resources(child)


@pytest.mark.parametrize("plan", ["project", "suite"])
def test_every_name_carries_the_runs(plans, plan):
    strangers = []
    found = [one for one in resources(plans[plan]["planned_values"]["root_module"]) if one["mode"] == "managed"]
    for one in found:
        names = GRANTED if one["type"].endswith("_iam_member") else ("instance",) if one["type"] in WITHIN else NAMES
        called = [str(one["values"].get(name, "")) for name in names]
        if one["type"] not in NAMELESS and not any(RUN.suffix in name for name in called):
            strangers.append(one["address"])
    assert len(found) > 8
    # The role of Cloud Storage's own agent, which a removal leaves.
    assert strangers == ([runs.SHARED] if plan == "suite" else [])


def test_what_terraform_may_forget_is_looked_for(plans):
    """But for what goes with another: a grant with what it is on, what is in the instance with that."""
    looked_for = {kind.type for kind in leftovers.KINDS}
    for plan in plans.values():
        found = {one["type"] for one in resources(plan["planned_values"]["root_module"]) if one["mode"] == "managed"}
        grants = {type_ for type_ in found if type_.endswith("_iam_member") and type_ != "google_project_iam_member"}
        assert found - looked_for - grants - {*NAMELESS, *WITHIN} <= PARTS


#: What goes with a bucket, a data set and a secret.
PARTS = {"google_storage_bucket_object", "google_bigquery_table", "google_secret_manager_secret_version"}


def test_nothing_of_the_suite_is_protected(plans):
    for one in resources(plans["suite"]["planned_values"]["root_module"]):
        values = one["values"]
        assert not values.get("deletion_protection"), one["address"]
        assert values.get("force_destroy", True), one["address"]
        assert values.get("delete_contents_on_destroy", True), one["address"]


def test_a_suffix_is_an_environments_name_and_never_the_same():
    made = {runs.new("example-project", "europe-west1").suffix for _ in range(100)}
    assert len(made) == 100
    assert all(runs.SUFFIX.fullmatch(suffix) for suffix in made)
