"""The status page as text: small, complete, escaped, and with headers that let nothing else in."""

import base64
import hashlib
import json
import re
from datetime import date

import msgspec
import pytest
from msgspec.structs import replace

from shared.catalog import ROOT
from shared.errors import BadRequestError
from shared.operate.status import page, schema
from shared.operate.status.report import (
    AuditStatus,
    Cause,
    Difference,
    Drift,
    Failure,
    HourState,
    Outcome,
    Pin,
    Problem,
    Report,
    Run,
    Undeleted,
    ViewSource,
    ViewStatus,
)
from tests.kit.reports import NOW, SNAPSHOT, failure, failures, held, log, report, table

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&lt;"


def _cause(number: int) -> Failure:
    return failure(chr(ord("a") + number) * 400, over=number > 9)


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
    found = failures(*map(_cause, range(20)), total=99)
    return report(tables=busy, failures=found, logs=(replace(log(state=HourState.FAILED), causes=(cause("h" * 900),)),))


def test_it_is_under_100_kb_however_much_there_is_to_tell():
    assert len(page.render(full()).encode()) < 100_000


def test_what_no_call_does_by_itself_is_told_with_its_command():
    late, undeleted = "recosync backfill a --from 1", "recosync backfill a --delete-from-source"
    audit = AuditStatus(NOW, (Difference("20261120T05", 8, 9),), 0, 0, 0, export=late)
    told = replace(log(), audit=audit, undeleted=Undeleted(("20261120T04",), undeleted))
    text = page.render(report(logs=(told,)))
    assert [line for line in (late, undeleted) if f"<code>{line}</code>" not in text] == []
    assert "(20 Nov 4 h)" in text


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
        failures=failures(failure(HOSTILE, kind=HOSTILE, table=HOSTILE, snapshot=HOSTILE)),
        logs=(replace(log(HOSTILE), causes=(cause(HOSTILE),)),),
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
        failures=failures(failure(long)),
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


#: Too long to be shown as it is; it ends in what to do.
LONG = "a column is not what it should be; " * 60 + "Drop it and import again"


def cause(message: str = LONG, subjects: tuple[str, ...] = ("20261121T03", "20261121T04", "20261120T23")) -> Cause:
    again = "recosync backfill past_offer_context --from 20261120T23 --until 20261121T05"
    return Cause("Hour", message, len(subjects), subjects, NOW, NOW, False, again)


def test_a_message_that_is_cut_keeps_what_to_do():
    drifted = Run(NOW, Outcome.SOURCE_CHANGED, None, LONG, ())
    text = page.render(
        report(
            problems=(Problem("hours", LONG, "other"),),
            tables=(table(held=(held(reason=LONG),), drift=Drift(NOW, LONG), trouble=(LONG,), runs=(drifted,)),),
            failures=failures(failure(LONG), failure(LONG + " ", over=True)),
            logs=(replace(log(), causes=(cause(),), days=(replace(log().days[0], damaged=LONG),)),),
        )
    )
    assert text.count("Drop it and import again") == 9
    assert len(LONG) > 2_000
    assert LONG not in text


def test_hours_that_failed_for_one_reason_are_told_once_beside_the_days_table():
    names = tuple(f"20261121T{n:02d}" for n in range(24))
    told = replace(log(state=HourState.FAILED), causes=(cause(subjects=names),))
    text = page.render(report(logs=(told,)), NOW.date())
    assert text.count("Drop it and import again") == 1
    assert "24 hours failed:" in text
    assert f"21 Nov {', '.join(map(str, range(24)))} h" in text
    assert "recosync backfill past_offer_context <span>--from</span> 20261120T23" in text
    (day,) = re.findall(r"<caption>Monday 23.*?</table>", text, re.DOTALL)
    assert "Drop it" not in day


def test_failures_of_one_cause_are_one_with_their_number_and_tables():
    names = [f"table_of_offers_{n}" for n in range(11)]
    text = page.render(report(failures=failures(*(failure(f"{name}: another owner", table=name) for name in names))))
    assert text.count("another owner") == 1
    assert "DataError × 11" in text
    assert text.count("table_<wbr>of_<wbr>offers_<wbr>") == 8
    assert "and 3 more" in text


def test_failures_that_are_over_come_last_and_closed():
    text = page.render(report(failures=failures(failure("cut off", over=True), failure("cut off", over=True))))
    assert text.index("None that is not over") < text.index("<details>") < text.index("cut off")
    assert "2 past errors in 14 days" in text
    assert text.index("Tables</h2>") < text.index("Permanent errors</h2>")
    both = page.render(report(failures=failures(failure("cut off", over=True), failure("another owner"))))
    assert both.index("another owner") < both.index("Tables</h2>")
    assert both.count("Permanent errors</h2>") == 1


def test_the_tables_that_need_somebody_come_first_and_the_others_as_in_the_catalog():
    seen = (table("b"), table("a"), table("c", fresh=False), table("d", trouble=("cut off",)))
    assert re.findall(r'<h3 id="t\d">(\w)<', page.render(report(tables=seen))) == ["d", "c", "b", "a"]


def test_a_source_that_drifted_does_not_read_like_a_snapshot_that_waits_for_a_decision():
    text = page.render(report(tables=(table(drift=Drift(NOW, "venue_id is STRING")),)))
    assert "There is nothing to approve. Correct the source" in text
    assert re.search(r"badge warn\">drifted<", text)
    assert "held" not in re.sub("<style>.*?</style>", "", text, flags=re.DOTALL)


def test_a_snapshot_that_came_while_the_table_was_pinned_says_what_it_waits_for():
    came = Run(NOW, Outcome.WAITING, "20261123T090000Z", None, table().runs[0].stages)
    text = page.render(report(tables=(table(runs=(came, *table().runs)),)))
    assert "<code>20261123T090000Z</code> is complete and waits to be published" in text
    pinned = page.render(report(tables=(table(runs=(replace(came, outcome=Outcome.PINNED),)),)))
    assert "kept back by the pin" in pinned
    assert "under way" not in text + pinned


def test_the_schema_in_the_docs_is_that_of_the_report():
    assert (ROOT / "docs" / "status.schema.json").read_bytes() == schema.to_json(), (
        "run: python -m shared.operate.status.schema > docs/status.schema.json"
    )


def test_every_definition_in_the_schema_is_described():
    definitions = json.loads(schema.to_json())["$defs"]
    assert [name for name, of in definitions.items() if not of.get("description")] == []
