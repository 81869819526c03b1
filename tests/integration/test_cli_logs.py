"""The command line and the status page with several logs: each is worked on, counted and shown by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from shared import catalog
from shared.catalog import FOLDER_VARIABLE
from shared.ledger import migrations
from shared.operate.cli.output import Exit
from shared.operate.status import gather, page
from shared.services import HourlyServices
from tests.kit.commands import recosync
from tests.kit.logs import at, block, create, open_log, with_tables

#: The second log begins later than the first: it came to the catalog when that was at work.
STARTS = {"plays": 10, "searches": 12}


@pytest.fixture
def logs(here, database, monkeypatch, tmp_path):
    """Two logs with the same columns and keys, of which none is the default. Each has a row in hours 11 to 13."""
    monkeypatch.setenv("HOURLY_START", f"{at(10):%Y%m%dT%H}")
    blocks = "".join(block(name, {"words": "varchar STRING"}) for name in STARTS)
    blocks = blocks.replace("[hourly.searches]\n", f'[hourly.searches]\nstart = "{at(12):%Y%m%dT%H}"\n')
    known = with_tables(tmp_path, blocks)
    text = (tmp_path / "catalog.toml").read_text()
    (tmp_path / "catalog.toml").write_text(text[: text.index("[hourly.past_offer_context]")] + blocks)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    (tmp_path / "views").symlink_to(catalog.ROOT / "tests" / "catalog" / "views")
    assert catalog.load().hourly.keys() < known.hourly.keys()
    with open_log(here, database, create=False) as log:
        log.services = replace(log.services, catalog=catalog.load())
        found = {name: replace(log, name=name) for name in STARTS}
        for one in found.values():
            create(one)
            for hour in (11, 12, 13):
                one.add(hour)
        yield found


def hours(ran):
    return {hour["hour"][-2:]: hour["status"] for hour in ran.json["hours"]}


def day(hour):
    return f"{at(hour):%Y%m%d}"


def test_a_command_means_one_log_and_leaves_the_others(logs):
    asked = recosync("hourly", "--date", day(11), "--hour", 11)
    assert (asked.code, asked.out) == (Exit.USAGE, "")
    assert "table_name is missing: it should be one of plays, searches" in asked.err
    ran = recosync("hourly", "--table-name", "searches", "--date", day(12), "--hour", 12, "--json")
    assert (ran.json["table"], hours(ran)) == ("searches", {"12": "exported"})
    ran = recosync("backfill", "plays", "--from", f"{day(11)}T11", "--until", f"{day(11)}T13", "--json")
    assert (ran.json["table"], hours(ran)) == ("plays", {"11": "exported", "12": "exported"})
    assert {name: list(log.bigquery()) for name, log in logs.items()} == {"plays": [11, 12], "searches": [12]}


def test_a_recount_counts_each_log(logs):
    for name in STARTS:
        recosync("backfill", name, "--from", f"{day(12)}T12", "--until", f"{day(12)}T14")
    logs["searches"].erase_in_bigquery(13)
    ran = recosync("verify", "plays", "searches", "--from", day(12), "--to", day(12), "--json")
    assert ran.code == Exit.DIFFERS
    assert {each["log"]: (each["manifest_rows"], each["bigquery_rows"]) for each in ran.json["days"]} == {
        "plays": (2, 2),
        "searches": (2, 1),
    }
    assert [
        each["log"] for each in recosync("verify", "plays", "--from", day(12), "--to", day(12), "--json").json["days"]
    ] == ["plays"]


def test_the_page_shows_each_log_from_its_own_first_hour(logs, database):
    migrations.migrate(database)
    for name in STARTS:
        recosync("backfill", name, "--from", f"{day(12)}T12", "--until", f"{day(12)}T13")
    report = gather(HourlyServices.from_environment(), at(14.5))
    assert report.problems == ()
    told = {log.name: {hour.hour[-2:]: str(hour.state) for hour in log.days[0].hours} for log in report.logs}
    of = {name: [states[f"{number}"] for number in (10, 11, 12, 13)] for name, states in told.items()}
    assert of == {"plays": ["gap", "gap", "done", "due"], "searches": ["not owned", "not owned", "done", "due"]}
    shown = page.render(report, datetime.now(UTC).date()).replace("<wbr>", "")
    assert all(f"Hours of {name}" in shown for name in STARTS)
    assert "2 gaps of plays" in report.summary


def test_a_call_brings_the_gaps_of_its_log_from_its_own_first_hour(logs):
    assert logs["searches"].done(14) == {12: "exported", 13: "exported"}
    assert logs["plays"].done(14) == {10: "empty", 11: "exported", 12: "exported", 13: "exported"}
