"""What is told of age and load comes of days that pass, manifests that are there, and events at once: a few of each."""

from __future__ import annotations

import subprocess
import sys

import pytest

from local import ROOT

CASES = {
    ("days", "--days", "4"): ("after 3 days", "after 4 days", "refresh of a table's views", "tables of parts"),
    ("manifests", "--manifests", "3"): ("call of the log, nothing to do, 3 days of manifests",),
    ("load", "--events", "12", "--rows", "2000", "--crowded", "1"): ("12 events", "OK"),
}


@pytest.mark.parametrize(("arguments", "told"), CASES.items(), ids=[case[0] for case in CASES])
def test_what_age_and_load_cost_is_told(arguments, told):
    command = [sys.executable, "-m", "tests.age", *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    assert [each for each in told if each not in run.stdout] == [], run.stdout
