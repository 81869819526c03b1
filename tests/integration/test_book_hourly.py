"""The book of disasters, hourly: each is played, told, and mended by its entry's commands, until `verify` agrees."""

import pytest

from shared.gcp.bigquery import BigQuery
from shared.operate.status import collect
from tests.kit.book import entry
from tests.kit.commands import recosync
from tests.kit.logs import at

NAME = "raw_local.past_offer_context"


@pytest.fixture
def well(log, monkeypatch):
    """Two days of hours from 10 on, with late rows in the first, all verified."""
    monkeypatch.setenv("HOURLY_START", "20260310T10")
    for hour in (10, 11, 13, 26, 34):
        log.add(hour, 5)
    log.done(11)
    log.add(10, 2)
    log.call(12)
    log.done(36)
    log.done(48)
    log.before, log.kept = log.rows(), {name: log.blob(name).download_as_bytes() for name in log.objects()}
    assert verify(log) == []
    return log


def verify(log, until="20260311"):
    """What `recosync verify` says is wrong."""
    ran = recosync("verify", log.name, "--from", "20260310", "--to", until, "--json")
    told = [line for day in ran.json["days"] for line in day["differences"]]
    assert (ran.code, ran.json["agrees"]) == ((5, False) if told else (0, True)), ran.err
    return told


def page(log, hour=61):
    """The first line of the status page, and its log."""
    report = collect.gather(log.services, at(hour))
    return report.summary, report.logs[0]


def execute(log, statement):
    log.here.bigquery_client.query(statement).result()


def counted(log):
    """The next day's call, which counts BigQuery: what it says of its hours."""
    return {hour["hour"][-2:] for hour in log.call(60)["audit_bigquery"]}


def back(log):
    """All is as it was: BigQuery, `verify`, and what the page says of BigQuery."""
    assert verify(log) == []
    told, _ = page(log)
    assert ("in BigQuery" in told, "failed" in told) == (False, False)
    assert log.bigquery().items() >= keys(log.before).items()


def keys(rows):
    found = {}
    for row in rows:
        found.setdefault((row["import_date"].day - 10) * 24 + row["import_hour"], []).append(row["id"])
    return found


def test_rows_of_an_hour(well):
    well.erase_in_bigquery(10)
    assert [told[:12] for told in verify(well)] == ["20260310T10:"]
    assert counted(well) == {"10"}
    assert "1 hour with another count in BigQuery" in page(well)[0]
    assert "restore past_offer_context --date 20260310 --hour 10" in page(well)[1].audit.restore
    entry("Rows of an hour were deleted in BigQuery").play()
    back(well)
    assert well.rows() == well.before


PARTLY = {
    "deleted": f"DELETE FROM {NAME} WHERE id = 1",
    "changed": f"UPDATE {NAME} SET id = 4 WHERE id = 3",
    "loaded twice": f"INSERT INTO {NAME} SELECT * FROM {NAME} WHERE import_hour = 10 AND import_date = '2026-03-10'",
}


@pytest.mark.parametrize("statement", PARTLY.values(), ids=PARTLY)
def test_some_rows_of_an_hour(well, statement):
    execute(well, statement)
    assert [told[:12] for told in verify(well)] == ["20260310T10:"]
    assert counted(well) == {"10"}
    entry("Some rows of an hour were deleted, changed or loaded twice in BigQuery").play()
    back(well)
    assert well.rows() == well.before


GONE = {
    "by hand": lambda log: execute(log, f"DELETE FROM {NAME} WHERE import_date = '2026-03-10'"),
    "its partition": lambda log: log.here.bigquery_client.delete_table(f"{NAME}$20260310"),
}


@pytest.mark.parametrize("strike", GONE.values(), ids=GONE)
def test_a_day(well, strike):
    strike(well)
    assert [told[9:11] for told in verify(well)] == ["10", "11", "13"]
    assert counted(well) == {"10", "11", "13"}
    entry("A day was deleted in BigQuery, or its partition was dropped").play()
    back(well)
    assert well.rows() == well.before


def test_a_correction_that_was_meant(well):
    execute(well, f"DELETE FROM {NAME} WHERE id = 1")
    assert "6 rows, 7 were verified" in verify(well)[0]
    assert counted(well) == {"10"}
    entry("The correction of an hour in BigQuery was meant").play()
    assert verify(well) == []
    told, status = page(well)
    assert "in BigQuery" not in told
    ((accepted, hours),) = status.accepted
    assert (accepted.reason, hours) == ("erased on request", ["20260310T10"])


def test_the_table(well):
    well.here.bigquery_client.delete_table(NAME)
    assert len(verify(well)) == 5
    refused = recosync("hourly")
    assert "is gone, though hours were loaded into it" in refused.err
    assert "recosync restore past_offer_context" in refused.err
    entry("A log's table was dropped in BigQuery").play()
    back(well)
    assert well.rows() == well.before
    well.done(61)


def test_bigquery_went_back(well):
    """To when hour 10 had its first batch, and nothing came after."""
    execute(well, f"DELETE FROM {NAME} WHERE import_hour <> 10 OR import_date <> '2026-03-10' OR id > 5")
    assert [told[:12] for told in verify(well)] != []
    assert "10" in counted(well)
    entry("BigQuery went back to an earlier state").play()
    back(well)
    assert well.rows() == well.before


def empty(log):
    for name in log.objects():
        log.blob(name).delete()


def test_the_bucket_and_it_is_restored(well):
    empty(well)
    assert any("there is no manifest" in told for told in verify(well))
    well.call(60)
    assert "failed" in page(well)[0]

    def restore():
        for name, content in well.kept.items():
            well.blob(name).upload_from_string(content)

    command = "gcloud storage restore 'gs://recosync-prod-hourly/cloudsql_hourly/**' --allow-overwrite"
    entry("The hourly bucket was emptied, and its objects can be restored").play({command: restore})
    back(well)
    # What was restored has other generations, and is loaded again all the same.
    well.erase_in_bigquery(10)
    entry("Rows of an hour were deleted in BigQuery").play()
    back(well)


def test_the_bucket_for_good(well):
    well.database.execute("DELETE FROM past_offer_context WHERE id < 20")
    empty(well)
    for _ in range(3):
        well.call(60)
    assert "recosync accept past_offer_context" in page(well)[1].causes[0].message
    entry("The hourly bucket was emptied for good").play()
    back(well)
    late = well.add(59)
    well.call(61)
    assert well.bigquery()[59] == late


def lose(log, kind):
    log.blob(log.parts(10, kind)[0]).delete()


@pytest.mark.parametrize("kind", ["part", "keys"])
def test_a_part_or_its_keys(well, kind):
    lose(well, kind)
    assert f"/{kind}-1-" in verify(well)[0]
    assert "is gone, or is not what was written" in verify(well)[0]
    entry("A part of an hour, or the keys beside it, was lost").play()
    back(well)


@pytest.mark.parametrize("kind", ["part", "keys"])
def test_a_part_and_its_hour(well, kind):
    lose(well, kind)
    well.erase_in_bigquery(10)
    assert len(verify(well)) == 2
    entry("A part was lost, and BigQuery lacks its hour").play()
    back(well)


@pytest.mark.parametrize("known", [True, False], ids=["while its jobs are known", "when they are forgotten"])
def test_a_manifest(well, monkeypatch, known):
    well.manifest().delete()
    assert "there is no manifest" in verify(well)[0]
    if not known:
        job, attempts = BigQuery.job, {name.split("-")[2] for hour in (10, 11, 13) for name in well.parts(hour)}

        def forgotten(*given):
            return None if any(attempt in str(given[1]) for attempt in attempts) else job(*given)

        monkeypatch.setattr(BigQuery, "job", forgotten)
        well.call(60)
        assert "the manifest was lost" in page(well)[1].causes[0].message
    entry("An hour manifest was lost").play()
    back(well)


def test_three_days(log, monkeypatch):
    monkeypatch.setenv("HOURLY_START", "20260310T10")
    for hour in range(10, 82, 7):
        log.add(hour, 3)
    assert "72 gaps" in page(log, 83)[0]
    entry("Three days without hours").play()
    assert "gap" not in page(log, 82.5)[0]
    assert sorted(key for hour in log.bigquery().values() for key in hour) == log.source()
    assert verify(log, "20260312") == []


def test_a_clock_that_is_ahead(log, monkeypatch):
    """It is five past ten, and the function takes it for five past eleven."""
    monkeypatch.setenv("HOURLY_START", "20260310T10")
    early = log.add(10)
    assert log.done(11) == {10: "exported"}
    later = log.add(10, 3)
    assert log.bigquery() == {10: early}
    log.call(12)
    assert log.bigquery() == {10: [*early, *later]}
    assert [hour.state for hour in page(log, 12.5)[1].hours if hour.rows] == ["late rows"]
    entry("The clock of hourly_export is an hour ahead").play()
    assert "20260310T10" not in "".join(verify(log))


def test_the_log_went_back(well):
    well.database.execute("DELETE FROM past_offer_context WHERE id > 2")
    assert {hour["hour"][-2:] for hour in well.call(60)["audit"]} >= {"10", "11"}
    assert "another count in the source" in page(well)[0]
    entry("A log went back with a backup of PostgreSQL").play()
    back(well)
    _, status = page(well)
    assert not {"20260310T10", "20260310T11"} & {it.hour for it in status.audit.differences}
