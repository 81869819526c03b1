"""How far a log's hours have come, by the query that docs/contract.md has for BigQuery."""

from __future__ import annotations

import pytest
from google.api_core.exceptions import BadRequest

from tests.kit import promises
from tests.kit.logs import at

QUERY = promises.query("sql", "SELECT\n  hour,")


def test_the_documented_query_tells_how_far_the_hours_have_come(log):
    log.add(10, 3)
    log.add(12, 2)
    log.done(13)
    ref = log.table.target.ref(log.here.project, log.services.settings.environment)
    query = QUERY.replace("raw_prod.past_offer_context", f"{ref.dataset}.{ref.table}")
    then = query.replace("CURRENT_TIMESTAMP()", f"TIMESTAMP '{at(13.25):%Y-%m-%d %H:%M:%S}+00'")
    rows = [tuple(row.values()) for row in log.here.bigquery_client.query(then).result()]
    assert len(rows) == 48
    # Google's analyzer has looked at it here: of a column that there is not, it says so.
    with pytest.raises(BadRequest, match="import_day"):
        log.here.bigquery_client.query(then.replace("import_date", "import_day")).result()
    assert rows[:4] == [(at(12), 2, 15), (at(11), 0, 75), (at(10), 3, 135), (at(9), 0, 195)]


def test_the_rows_of_a_batch_come_by_one_job(log):
    def loads():
        return {job.job_id: job for job in log.here.bigquery_client.list_jobs() if job.job_type == "load"}

    before = loads()
    log.add(10, 300)
    log.done(11)
    assert [job.output_rows for id_, job in loads().items() if id_ not in before] == [300]
