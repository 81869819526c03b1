"""The jobs of Cloud Scheduler that a plan makes are such as the service takes."""

from __future__ import annotations

from tests.kit.scheduler import job, refusals

PROJECT = "example-recommendation-dev"


def jobs(plan):
    return [
        job(change["change"]["after"], PROJECT)
        for change in plan["resource_changes"]
        if change["type"] == "google_cloud_scheduler_job"
    ]


def test_the_service_takes_each_job(plan):
    assert len(jobs(plan)) == 2
    assert [refusals(each) for each in jobs(plan)] == [[], []]


def test_the_service_takes_the_jobs_of_the_longest_and_the_shortest_calls(workspace):
    plan = workspace.plan(
        "environments/dev.tfvars",
        limits={"bq_export": {"timeout_seconds": 15}, "hourly_export": {"timeout_seconds": 1800}},
        schedules={"daily": "*/20 4-7 * * MON-FRI", "hourly": "5 * * * *", "time_zone": "Europe/Paris"},
    )
    assert [refusals(each) for each in jobs(plan)] == [[], []]
