"""Whoever deploys this edits the catalog that is shipped. Terraform deploys what they made of it; its tests pass."""

from __future__ import annotations

import json

import pytest

from tests.kit.edits import EDITS, edited_tree
from tests.terraform.workspace import Workspace


@pytest.mark.matrix
@pytest.mark.parametrize("edit", EDITS)
def test_it_is_planned(tmp_path, edit):
    tree = edited_tree(tmp_path / "edited", EDITS[edit])
    plan = Workspace(tree, "terraform").plan("environments/dev.tfvars")
    jobs = [c for c in plan["resource_changes"] if c["type"] == "google_cloud_scheduler_job" and "hour" in c["address"]]
    # Without a log, there is still one call an hour: it finds lost events.
    assert len(jobs) == max(1, len(json.loads((tree / "shared" / "terraform.json").read_text())["logs"]))


def test_terraforms_own_tests_have_a_catalog_of_their_own(tmp_path):
    Workspace(edited_tree(tmp_path / "edited", EDITS["nothing is as it was"]), "terraform").test()
