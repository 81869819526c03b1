"""The status page as text: small, complete, escaped, and with headers that let nothing else in."""

import base64
import hashlib
import json
import re
from datetime import date

import msgspec
import pytest

from shared.catalog import ROOT
from shared.errors import BadRequestError
from shared.operate.status import page, schema
from shared.operate.status.report import Drift, Failures, HourState, Pin, Problem, Report, ViewSource, ViewStatus
from tests.kit.reports import NOW, SNAPSHOT, failure, held, log, report, table

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&lt;"


def full() -> Report:
    """As much as the page ever shows."""
    busy = tuple(
        table(
            name,
            held=(held(name, "r" * 300),),
            drift=Drift(NOW, "d" * 400),
            pin=Pin(SNAPSHOT, NOW, "me", "recosync"),
            trouble=("t" * 400,) * 4,
        )
        for name in ("enriched_user", "recommendable_offers_raw", "non_recommendable_items_data", "iris_france")
    )
    return report(tables=busy, failures=Failures(99, (failure(),) * 20), logs=(log(state=HourState.FAILED),))


def test_it_is_under_100_kb_however_much_there_is_to_tell():
    assert len(page.render(full()).encode()) < 100_000


def test_it_fetches_nothing_and_runs_nothing():
    text = page.render(full())
    assert not re.search(r"<script|\son\w+=|javascript:|https?://|<link rel=\"stylesheet|@import|url\(|style=", text)


def test_the_policy_allows_the_style_that_is_there_and_no_other():
    body, _, headers = page.answer(report(), page.parse({}))
    style = re.search(r"<style>(.*)</style>", body.decode(), re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = headers["Content-Security-Policy"]
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"


def test_whatever_came_from_data_is_escaped():
    hostile = report(
        environment=HOSTILE,
        summary=HOSTILE,
        problems=(Problem("ledger", HOSTILE), Problem("hours", HOSTILE, HOSTILE)),
        tables=(
            table(
                HOSTILE,
                held=(held(HOSTILE, HOSTILE),),
                drift=Drift(NOW, HOSTILE),
                pin=Pin(HOSTILE, NOW, HOSTILE, HOSTILE),
                trouble=(HOSTILE,),
            ),
        ),
        failures=Failures(1, (failure(HOSTILE, table=HOSTILE, snapshot=HOSTILE),)),
        logs=(log(HOSTILE),),
    )
    text = page.render(hostile)
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;script&gt;" in text
    assert "&amp;lt;" in text


def test_all_that_could_be_read_is_a_200_and_less_is_a_503_with_the_rest():
    assert page.answer(report(), page.parse({}))[1] == 200
    problem = Problem("ledger", "there is no ledger yet. Run: recosync migrate")
    body, status, _ = page.answer(report(problems=(problem,), tables=None, views=None, failures=None), page.parse({}))
    assert status == 503
    assert b"recosync migrate" in body
    assert b"Hours of past_" in body


def test_the_details_of_a_day_are_those_asked_for_and_the_newest_by_default():
    assert "Monday 23 November 2026: " in page.render(report())
    assert "Saturday 21 November 2026: " in page.render(report(), date(2026, 11, 21))
    assert "not among the last 30" in page.render(report(), date(2020, 1, 1))


def test_held_snapshots_come_with_the_commands_that_decide():
    text = page.render(report(tables=(table(held=(held(),)),)))
    assert f"recosync approve enriched_user {SNAPSHOT}" in text
    assert f"recosync reject enriched_user {SNAPSHOT}" in text


def test_a_stage_whose_times_are_missing_is_missing_not_nothing():
    first = table().runs[0]
    stages = tuple(msgspec.structs.replace(stage, began_at=None) for stage in first.stages)
    text = page.render(report(tables=(table(runs=(msgspec.structs.replace(first, stages=stages),)),)))
    assert text.count("not known</i>") == 4
    assert "0.0 s" not in text


@pytest.mark.parametrize("query", [{"format": "xml"}, {"day": "yesterday"}, {"day": "20260230"}, {"day": ""}])
def test_what_is_asked_wrongly_is_refused(query):
    with pytest.raises(BadRequestError):
        page.parse(query)


def test_the_json_is_the_same_report():
    body, status, headers = page.answer(full(), page.parse({"format": "json"}))
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert msgspec.json.decode(body, type=Report) == full()


def test_the_json_cuts_texts_that_have_no_end():
    long = "x" * 5_000
    endless = report(
        tables=(table(held=(held(reason=long),), drift=Drift(NOW, long), trouble=(long,)),),
        failures=Failures(1, (failure(long),)),
        problems=(Problem("hours", long),),
    )
    read = msgspec.json.decode(endless.to_json(), type=Report)
    (seen,) = read.tables
    texts = (*seen.held[0].reasons, seen.drift.message, *seen.trouble, read.failures.newest[0].message)
    assert {*texts, read.problems[0].message} == {"x" * 3_999 + "…"}


def test_a_view_that_lags_and_one_that_is_overdue_are_told_apart():
    lagging, fresh = (ViewSource("iris_france", SNAPSHOT, NOW, 3.2, current) for current in (False, True))
    views = (
        ViewStatus("lagging_mv", (lagging,), (), ()),
        ViewStatus("overdue_mv", (lagging,), (), ("iris_france",)),
        ViewStatus("fresh_mv", (fresh,), (), ()),
        ViewStatus("new_mv", (), ("iris_france",), ()),
        ViewStatus("unbuilt_mv", (), ("iris_france",), ("iris_france",)),
    )
    text = page.render(report(views=views))
    assert (text.count(">behind<"), text.count(">overdue<"), text.count("not built yet")) == (1, 2, 2)


def test_what_is_wrong_with_a_table_stands_in_its_card():
    assert "its export failed: no such table" in page.render(
        report(tables=(table(trouble=("its export failed: no such table",)),))
    )


def test_the_schema_in_the_docs_is_that_of_the_report():
    assert (ROOT / "docs" / "status.schema.json").read_bytes() == schema.to_json(), (
        "run: python -m shared.operate.status.schema > docs/status.schema.json"
    )


def test_every_definition_in_the_schema_is_described():
    definitions = json.loads(schema.to_json())["$defs"]
    assert [name for name, of in definitions.items() if not of.get("description")] == []
