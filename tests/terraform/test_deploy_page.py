"""docs/deploy.md names what there is to be taken over, by the addresses that it has."""

from __future__ import annotations

import re

from tests.terraform.workspace import ROOT

PAGE = (ROOT / "docs" / "deploy.md").read_text()
#: What there is in a project where a job like this one ran before.
KINDS = {
    "google_bigquery_dataset",
    "google_bigquery_table",
    "google_cloud_scheduler_job",
    "google_secret_manager_secret",
    "google_storage_bucket",
}
#: Nobody can have had them before.
OURS = {"module.source_bucket.google_storage_bucket.this", "module.status_secret[0].google_secret_manager_secret.this"}


def test_everything_that_can_be_there_already_has_an_import_block(plan):
    documented = re.findall(r"^  to = (\S+)$", PAGE, re.MULTILINE)
    there = {change["address"] for change in plan["resource_changes"] if change["type"] in KINDS}
    assert set(documented) == there - OURS
    assert len(documented) == len(set(documented))
