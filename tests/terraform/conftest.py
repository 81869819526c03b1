"""One plan of everything, for all that is asked of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.terraform.workspace import ROOT, Workspace, copy_of_the_tree


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The configuration, initialised once."""
    return Workspace(copy_of_the_tree(tmp_path_factory.mktemp("tree")), "terraform")


@pytest.fixture(scope="session")
def plan(workspace: Workspace) -> Any:
    """Of an environment that names everybody who can be named."""
    return planned(workspace)


@pytest.fixture(scope="session")
def iam_plan(workspace: Workspace) -> Any:
    """Of the same, in which the functions log in to PostgreSQL with their accounts."""
    return planned(workspace, database_iam={"host": "10.0.0.2", "database": "recommendation"})


def planned(workspace: Workspace, **variables: object) -> Any:
    return workspace.plan(
        "environments/dev.tfvars",
        catalog_folder=str(ROOT / "tests" / "catalog"),
        status_viewers=["group:viewers@example.com"],
        callers=["serviceAccount:airflow@other.iam.gserviceaccount.com"],
        completion_subscriptions={"cache": {"subscriber": "serviceAccount:cache@other.iam.gserviceaccount.com"}},
        **variables,
    )
