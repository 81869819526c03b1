"""What looks for a run's leftovers and what removes them, as the Cloud SDK itself understands it; and the bill."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.e2e import bill
from tests.e2e.leftovers import KINDS, commands

COMMANDS = {f"{kind.what}, {act}": getattr(kind, act) for kind in KINDS for act in ("list", "remove")}


@pytest.mark.matrix
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_gcloud_understands_what_is_asked_of_it(tmp_path, command):
    """As far as one can see without an account: 2 is its code for a command line that makes no sense."""
    name = "a@my-project.iam.gserviceaccount.com" if "service-accounts" in command else "a-name"
    words = commands(project="my-project", region="europe-west1")(command, name, "roles/viewer")
    if words[0] != "gcloud":
        pytest.skip("bq asks for an account before it looks at what it is told")
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not installed: what removes a run's leftovers is NOT TESTED")
    env = os.environ | {"CLOUDSDK_CONFIG": str(tmp_path), "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}
    ran = subprocess.run(words, env=env, capture_output=True, text=True)
    assert (ran.returncode, "Invalid" in ran.stderr) == (1, False), ran.stderr


def test_a_bill_is_time_times_price_and_what_is_paid_once():
    lines = bill.told([bill.Item("an instance", an_hour=0.5), bill.Item("a build", once=0.25)], hours=2)
    assert lines == ["    1.00 USD  an instance", "    0.25 USD  a build", "    1.25 USD  in all, for 2.00 h"]


def test_a_connector_is_paid_for_only_where_there_is_one():
    with_it, without = (sum(item.cost(1) for item in bill.items(connector=has)) for has in (True, False))
    assert with_it - without == pytest.approx(2 * 0.0092)
