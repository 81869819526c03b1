"""What Terraform deploys of each function starts with nothing but its requirements, and does the function's work.

The archives are those of a plan. Each is unpacked into a folder of its own, and runs in an environment that holds the
requirements in it and nothing else, with the rest of the emulated cloud around it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import urllib.request
import zipfile
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from local import context
from local.functions import FLEET, Instance, Runtime
from local.process import ProcessError
from shared.ledger import migrations
from shared.names import Hour
from tests.e2e.system import System
from tests.kit.commands import recosync
from tests.terraform.workspace import Workspace, copy_of_the_tree

CONFIGURATION = """
variable "names" {
  type = list(string)
}

variable "folder" {
  type    = string
  default = null
}

module "archive" {
  source   = "../terraform/modules/archive"
  for_each = toset(var.names)
  name     = each.key

  catalog_folder = var.folder
}

output "archives" {
  value = module.archive
}
"""
#: Of the tree, they are left out, and a change of them deploys nothing.
STRANGERS = ("shared/operate/cli/look.py", "shared/terraform.json", "sql/lint/views.cfg")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    root = copy_of_the_tree(tmp_path_factory.mktemp("tree"))
    (root / "all").mkdir()
    (root / "all" / "main.tf").write_text(CONFIGURATION)
    return Workspace(root, "all")


def archives(workspace, *names):
    """What the module says of them, by name."""
    return workspace.plan(names=names)["planned_values"]["outputs"]["archives"]["value"]


@pytest.fixture(scope="module")
def unpacked(workspace, tmp_path_factory):
    """A folder with one for each function, unpacked."""
    folder = tmp_path_factory.mktemp("unpacked")
    for name, archive in archives(workspace, *FLEET).items():
        with zipfile.ZipFile(workspace.root / "all" / archive["path"]) as file:
            assert sorted(file.namelist()) == archive["files"]
            file.extractall(folder / name)
    return folder


@pytest.fixture(scope="module")
def python(unpacked, tmp_path_factory):
    """Of an environment with the requirements of the archives. All have the same."""
    (requirements,) = {(unpacked / name / "requirements.txt").read_text() for name in FLEET}
    home = tmp_path_factory.mktemp("environment")
    (home / "requirements.txt").write_text(requirements)
    uv = Path(sys.executable).with_name("uv")
    interpreter = home / "venv" / "bin" / "python"
    for command in (
        ("venv", "--python", sys.executable, home / "venv"),
        ("pip", "install", "--python", interpreter, "--require-hashes", "-r", home / "requirements.txt"),
    ):
        subprocess.run([uv, "--quiet", "--no-config", *command], check=True, cwd=home)
    return str(interpreter)


@pytest.fixture(scope="module")
def deployed(unpacked, python, cloud):
    with cloud.deploy("archives", runtime=Runtime(python, unpacked)) as deployment:
        yield deployment


def test_a_table_goes_all_its_way(deployed):
    """bq_export, gcs_import and mv_refresh: catalog, statements, templates, and DuckDB with its extensions."""
    here = deployed
    system = System(here.bigquery_client, here.env, here.dsn, here.url("bq_export"))
    system.run(1, "iris_france")
    assert system.agrees("iris_france")


def test_an_hour_goes_all_its_way(deployed):
    hour = Hour.parse(deployed.env["HOURLY_START"]).start
    context.create(deployed.dsn)
    context.write(deployed.dsn, hour, hour + timedelta(hours=1), 20)
    answer = deployed.call("hourly_export", {"date": f"{hour:%Y%m%d}", "hour": 0})
    assert answer["failed"] == []
    assert [(hour["state"], hour["rows"]) for hour in answer["hours"]] == [("done", 20)]


def test_the_page_is_there(deployed):
    """With its template and its style."""
    with psycopg.connect(deployed.dsn, autocommit=True) as database:
        migrations.migrate(database)
    with urllib.request.urlopen(deployed.url("status"), timeout=60) as response:  # noqa: S310
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        page = response.read().decode()
    assert "Hours of past_" in page
    assert "<style>" in page


def test_nothing_comes_from_the_tree_that_this_test_lies_in(unpacked, python, tmp_path):
    """Else the others would prove nothing."""
    (tmp_path / "status").mkdir()
    shutil.copy(unpacked / "status" / "main.py", tmp_path / "status")
    alone = Instance("status", FLEET["status"], tmp_path / "log", {}, Runtime(python, tmp_path))
    with pytest.raises(ProcessError, match="No module named 'shared'"):
        alone.ready()


def test_a_change_of_code_deploys_what_has_it_and_nothing_else_does(workspace):
    def hashes():
        return {name: archive["sha256"] for name, archive in archives(workspace, "bq_export", "status").items()}

    def change(*files):
        for file in files:
            with (workspace.root / file).open("a") as text:
                text.write("\n")
        return hashes()

    before = hashes()
    assert change(*STRANGERS) == before
    own = change("functions/status/main.py")
    assert (own["bq_export"], own["status"] != before["status"]) == (before["bq_export"], True)
    after = change("sql/view.sql")
    assert all(after[name] != own[name] for name in after)


def test_a_deployments_own_folder_takes_the_place_of_the_shipped_catalog_and_its_views(workspace, tmp_path):
    folder = tmp_path / "my-sync"
    assert recosync("init", folder).code == 0
    shipped = archives(workspace, "mv_refresh")["mv_refresh"]["sha256"]
    archive = workspace.plan(names=["mv_refresh"], folder=str(folder))
    found = archive["planned_values"]["outputs"]["archives"]["value"]["mv_refresh"]
    assert found["sha256"] != shipped
    with zipfile.ZipFile(workspace.root / "all" / found["path"]) as file:
        views = {name for name in file.namelist() if name.startswith("sql/views/")}
        assert views == {"sql/views/example_mv.sql.jinja"}
        assert file.read("shared/catalog.toml") == (folder / "catalog.toml").read_bytes()
        assert "sql/ledger/1.sql" in file.namelist()
