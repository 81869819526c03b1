"""Whoever deploys this edits the catalog that is shipped. Nothing of ours may mind, whatever they do to it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared import catalog
from shared.catalog import FOLDER_VARIABLE
from shared.ledger import migrations
from shared.operate.status import gather, page
from shared.services import HourlyServices
from tests.kit.edits import EDITS, edited_tree

#: As somebody runs it who has a catalog in the tree, and none of their own besides.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != FOLDER_VARIABLE and "PYTEST" not in name}


@pytest.fixture(params=EDITS, scope="module")
def tree(request, tmp_path_factory) -> Path:
    """The whole tree, with another catalog in it."""
    tree = edited_tree(tmp_path_factory.mktemp("tree") / "edited", EDITS[request.param])
    run(tree, "shared.operate", "catalog", "terraform")
    return tree


def run(tree: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=tree,
        env={**ENVIRONMENT, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]


@pytest.mark.matrix
def test_it_passes_its_check(tree):
    run(tree, "shared.operate", "catalog", "check")


@pytest.mark.matrix
def test_the_page_shows_it(tree, services, database):
    migrations.migrate(database)
    edited = catalog.load(catalog.Place(tree / "shared" / "catalog.toml", tree / "sql" / "views"))
    report = gather(replace(HourlyServices.from_environment(), catalog=edited))
    shown = page.render(report, datetime.now(UTC).date())
    for name in (*edited.tables, *edited.views, *edited.hourly):
        assert name in shown.replace("<wbr>", "")


@pytest.mark.matrix
def test_the_unit_tests_pass(tree):
    run(tree, "pytest", "tests/unit", "-q", "-p", "no:cacheprovider")
