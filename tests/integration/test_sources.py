"""Sources in several data sets and projects, under ids that are no identifiers, are read by jobs of our project."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from google.cloud.bigquery import Dataset

from shared import catalog
from shared.daily import export
from shared.names import DatasetRef
from shared.services import Services
from tests.kit.uploads import arrive

OTHER = "recosync-of-another-team"

#: A table, where it comes from as the catalog says it, and as GoogleSQL does.
SOURCES = {
    "said": ('source = "said"\ndataset = "SCORES_DATASET"', f"`{OTHER}`.`scores`.`said`"),
    "near": ('source = "ml_reco_local.scores of today-é"', "`ml_reco_local`.`scores of today-é`"),
    "far": (f'source = "{OTHER}.scores.far-1"', f"`{OTHER}`.`scores`.`far-1`"),
}
BLOCK = '[tables.{name}]\n{source}\n[tables.{name}.columns]\nwho = "text"\n'
VIEW = '[views.{name}_mv]\ntemplate = "{name}_mv.sql.jinja"\nreads = ["{name}"]\n'


@pytest.fixture
def other(here) -> Iterator[None]:
    """Another project, with a data set."""
    here.bigquery_client.create_dataset(f"{OTHER}.scores")
    yield
    here.bigquery_client.delete_dataset(f"{OTHER}.scores", delete_contents=True)


@pytest.fixture
def own(services, tmp_path) -> Services:
    """The services of a deployment with these tables."""
    for name in SOURCES:
        (tmp_path / f"{name}_mv.sql.jinja").touch()
    file = tmp_path / "catalog.toml"
    blocks = [BLOCK.format(name=name, source=source) + VIEW.format(name=name) for name, (source, _) in SOURCES.items()]
    file.write_text("\n".join(blocks))
    settings = replace(services.settings, datasets={"SCORES_DATASET": DatasetRef(OTHER, "scores")})
    return replace(services, settings=settings, catalog=catalog.load(catalog.Place(file, tmp_path)))


def test_tables_come_from_any_data_set_of_any_project(here, other, own, database):
    for name, (_, quoted) in SOURCES.items():
        here.bigquery_client.query(f"CREATE TABLE {quoted} AS SELECT '{name}' AS who").result()
    answer, status = export.run(own, export.parse(own, {}, datetime(2026, 3, 1, tzinfo=UTC), datetime.now(UTC)))
    assert (status, answer["failed"]) == (200, [])
    bucket, prefix = own.settings.bucket, f"{own.settings.prefix}/"
    arrive(own, *(stored.version for stored in own.storage.objects(bucket, prefix)))
    for name in SOURCES:
        assert database.execute(f"SELECT who FROM {name}").fetchall() == [(name,)]
    # Nothing of ours is in the other project.
    assert [job.job_id for job in here.bigquery_client.list_jobs(project=OTHER)] == []
    assert {table.table_id for table in here.bigquery_client.list_tables(f"{OTHER}.scores")} == {"said", "far-1"}


def test_a_source_that_is_not_there_is_told_with_its_project_and_what_to_correct(other, own):
    answer, status = export.run(own, export.parse(own, {}, datetime(2026, 3, 1, tzinfo=UTC), datetime.now(UTC)))
    assert status == 200
    told = {failed["table"]: failed["error"] for failed in answer["failed"]}
    assert told["said"] == f"{OTHER}.scores.said: does not exist. Make it, or correct SCORES_DATASET"
    assert told["far"] == f"{OTHER}.scores.far-1: does not exist. Make it, or correct the catalog"
    assert told["near"].startswith(f"{own.settings.project}.ml_reco_local.scores of today-")


def test_a_source_in_another_place_is_told_with_both(here, own):
    elsewhere = Dataset(f"{OTHER}.scores")
    elsewhere.location = "US"
    here.bigquery_client.create_dataset(elsewhere)
    try:
        query = f"CREATE TABLE `{OTHER}`.scores.said AS SELECT 'a' AS who"
        here.bigquery_client.query(query, location="US").result()
        answer, status = export.run(own, export.parse(own, {}, datetime(2026, 3, 1, tzinfo=UTC), datetime.now(UTC)))
    finally:
        here.bigquery_client.delete_dataset(elsewhere, delete_contents=True)
    assert status == 500
    told = {failed["table"]: failed["error"] for failed in answer["failed"]}
    assert "tmp_local was not found in location US" in told["said"]
