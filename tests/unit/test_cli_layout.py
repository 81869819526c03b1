"""What stands on a terminal: lines that fit, in which no name and no id is broken."""

import re

import pytest

from shared.operate.cli import layout, screen
from shared.operate.cli.output import Output
from shared.operate.status.report import Failures, HourState, Pin
from tests.kit import reports

LONG = "non_recommendable_items_data"
SNAPSHOT = "20260101T050000Z"
COLUMNS = ["Table", "Fresh", "Snapshot", "Rows", "Why"]
ROWS = [
    [LONG, "yes", SNAPSHOT, 8_460_250, None],
    ["iris_france", "no", None, 3, "a long story, told in words that do not fit beside a name and an id of a snapshot"],
]
FAILURE = (
    "gs://recosync-prod-exports/recommendation_exports/enriched_user/20261117T050002Z/2/part-000000000003.parquet#1795"
    ": its footer counts 400,514 rows, the manifest 400,515. Export the snapshot again with force"
)


@pytest.fixture
def told(capsys, monkeypatch):
    """What a report shows where lines are so long."""

    def show(report, columns: int) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        screen.show(Output(as_json=False), report)
        return capsys.readouterr().out

    return show


def test_where_there_is_room_a_table_has_one_line_for_each_row():
    head, rule, *lines = layout.table(COLUMNS, ROWS, 200)
    assert head == "Table                         Fresh  Snapshot               Rows  Why"
    assert set(rule) == {"─"}
    assert lines[0] == f"{LONG}  yes    {SNAPSHOT}  8,460,250  -"
    assert lines[1].endswith("3  a long story, told in words that do not fit beside a name and an id of a snapshot")


def test_what_finds_no_room_stands_below_its_row_with_its_name():
    head, _, *lines = layout.table(COLUMNS, ROWS, 80)
    assert head == "Table                         Fresh  Snapshot               Rows"
    assert lines == [
        f"{LONG}  yes    {SNAPSHOT}  8,460,250",
        "iris_france                   no     -                         3",
        "    Why: a long story, told in words that do not fit beside a name and an id of",
        "        a snapshot",
    ]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, None])
def test_no_name_and_no_id_is_broken_however_narrow_it_is(width):
    lines = layout.table(COLUMNS, ROWS, width)
    assert any(LONG in line for line in lines)
    assert any(SNAPSHOT in line for line in lines)
    words = re.findall(r"\S+", " ".join(str(cell) for row in ROWS for cell in row if isinstance(cell, str)))
    assert set(words) <= set(re.findall(r"\S+", "\n".join(lines)))


def test_what_moves_the_cursor_does_not_reach_the_terminal():
    assert layout.wrapped("a\x1b[2Jb\rc\n", 80) == [r"a\u001b[2Jb\rc"]
    assert "\x1b" not in "".join(layout.table(["A"], [["\x1b[31m"]], 80))


def test_a_pipe_has_no_width(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    Output(as_json=False).line("word " * 100)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_table_without_rows_is_not_shown(capsys):
    Output(as_json=False).table("Exported", ["Table", "Snapshot"], [])
    assert capsys.readouterr().out == ""


def test_a_command_stands_whole_on_a_line_of_its_own(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    command = f"recosync import {LONG} --snapshot {SNAPSHOT} --bucket-path gs://elsewhere/exports"
    Output(as_json=False).problem("recosync: it stood there before, so its event has come already", [command])
    assert f"\n    {command}\n" in capsys.readouterr().err


def test_a_report_in_trouble_fits_80_columns(told):
    names = ("enriched_user", "recommendable_offers_raw", LONG)
    pin = Pin(SNAPSHOT, reports.NOW, "an.operator", f"recosync rollback {LONG} --unpin")
    trouble = f"snapshot {SNAPSHOT} failed: {FAILURE}"
    tables = (
        reports.table(names[0], trouble=(trouble,)),
        reports.table(names[1], held=(reports.held(names[1], "1,134,650 rows, 61.0% fewer than the 2,909,359"),)),
        reports.table(names[2], pin=pin, published=None),
    )
    failures = Failures(7, tuple(reports.failure(FAILURE, table=name) for name in names))
    report = reports.report(tables=tables, failures=failures, logs=(reports.log(state=HourState.FAILED),))
    text = told(report, 80)
    # What is longer than a line, such as an object's name, has one of its own.
    assert all(len(line) <= 80 or len(line.split()) == 1 for line in text.splitlines())
    for word in (*names, reports.SNAPSHOT, SNAPSHOT, pin.unpin, FAILURE.split()[0]):
        assert word in text
    for command in (reports.held(names[1]).approve, reports.held(names[1]).reject, pin.unpin):
        assert f"\n    {command}\n" in text
