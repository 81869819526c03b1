"""What alerts count is what the functions log, and every alert has its entry in the runbook."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime

import pytest

from shared import catalog
from shared.hourly.manifest import State
from shared.hourly.schema import schema
from shared.operate.status.gauges import gauges
from shared.operate.status.report import DayStatus, Failures, HourState, HourStatus, LogStatus, Report, TableStatus
from tests.kit.book import BOOK
from tests.terraform.workspace import ROOT

METRICS = (ROOT / "terraform" / "modules" / "monitoring" / "metrics.tf").read_text()


def texts(kind):
    """The `messages` or `beginnings` that metrics look for."""
    return [
        text for found in re.findall(rf"\b{kind}\s*=\s*\[(.*?)\]", METRICS) for text in re.findall(r'"(.*?)"', found)
    ]


@pytest.fixture(scope="module")
def logged():
    """The first text of every call that logs, as far as it is constant, and whether that is all of it; what a failure
    says follows it.
    """
    code = "\n".join(file.read_text() for file in (ROOT / "shared").rglob("*.py"))
    calls = re.findall(r"(?:log\.\w+\)?|_tell)\(\s*f?\"([^\"{]*)(\"(?:, (?:e|error|failure)\b)?|\{)", code)
    return {f"{text}: " if "," in end else text: end == '"' for text, end in calls}


@pytest.mark.parametrize("message", texts("messages"))
def test_a_message_is_logged(logged, message):
    assert logged.get(message) is True


@pytest.mark.parametrize("beginning", texts("beginnings"))
def test_messages_begin_so(logged, beginning):
    assert [text for text in logged if text.startswith(beginning)]


def test_there_are_metrics():
    assert texts("messages")
    assert texts("beginnings")


def test_an_hour_has_the_states_that_are_counted():
    (states,) = re.findall(r"jsonPayload\.state=\((.*?)\)\"", METRICS)
    assert {State(name) for name in re.findall(r'\\"(\w+)\\"', states)} == {State.DONE, State.EMPTY, State.DELETED}


def test_every_alert_has_an_entry_in_the_runbook(plan):
    headings = re.findall(r"^## (.+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    alerts = plan["planned_values"]["outputs"]["alerts"]["value"].values()
    assert sorted([*alerts, BOOK]) == sorted(headings)


def test_an_alert_names_its_entry(plan):
    policies = [c["change"]["after"] for c in plan["resource_changes"] if c["type"] == "google_monitoring_alert_policy"]
    for policy in policies:
        title = policy["display_name"].removeprefix("recosync dev: ")
        assert policy["documentation"][0]["content"].endswith(f"docs/runbook.md#{title.lower().replace(' ', '-')}")


def test_every_table_of_the_catalog_is_expected_daily(plan):
    (query,) = (
        condition["query"]
        for change in plan["resource_changes"]
        if change["address"].endswith('alert_policy.promql["snapshot_missing"]')
        for condition in change["change"]["after"]["conditions"][0]["condition_prometheus_query_language"]
    )
    assert set(re.findall(r'vector\(1\), "table", "(\w+)"', query)) == catalog.load().tables.keys()


def test_every_gauge_that_an_alert_reads_is_written_with_its_labels(plan):
    hour = HourStatus("20260302T10", HourState.DONE)
    report = Report(
        made_at=datetime(2026, 3, 2, 12, tzinfo=UTC),
        environment="dev",
        summary="",
        attention=False,
        problems=(),
        tables=(TableStatus("offers", "source", True, None, (), None, None, (), ()),),
        views=(),
        failures=Failures(0, ()),
        logs=(LogStatus("clicks", None, (DayStatus(date(2026, 3, 2), (hour,)),), None),),
    )
    written = {gauge.name: {"environment", *gauge.labels} for gauge in gauges(report)}
    policies = [c["change"]["after"] for c in plan["resource_changes"] if c["type"] == "google_monitoring_alert_policy"]
    told = json.dumps(policies).replace('\\"', '"').replace("\\", "")
    read = re.findall(r"custom_googleapis_com:recosync_(\w+)\{(.*?)\}", told)
    assert {name for name, _ in read} == written.keys()
    for name, labels in read:
        assert set(re.findall(r'(\w+)="', labels)) <= written[name]
    by = re.findall(r"(?:max|min) by \((\w+)\) \(\w+\(custom_googleapis_com:recosync_(\w+)", told)
    assert by
    assert [(label, name) for label, name in by if label not in written[name]] == []


def test_every_log_of_the_catalog_has_its_table(plan):
    made = {
        change["change"]["after"]["table_id"]: change["change"]["after"]
        for change in plan["resource_changes"]
        if change["type"] == "google_bigquery_table"
    }
    logs = catalog.load().hourly
    assert made.keys() == logs.keys()
    for name, log in logs.items():
        assert tuple(made[name]["clustering"]) == log.target.cluster_by
        assert made[name]["time_partitioning"][0]["field"] == "import_date"
        assert json.loads(made[name]["schema"]) == schema(log)
