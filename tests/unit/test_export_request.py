"""What a body asks the export for."""

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import flask
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import catalog, entry
from shared.daily.export import FIELDS, parse
from shared.errors import BadRequestError
from shared.names import AHEAD
from tests.kit.mutations import answered, bytes_of

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
PLANNED = datetime(2026, 3, 1, 2, tzinfo=UTC)
CATALOG = SimpleNamespace(catalog=catalog.load())


def asked(body, scheduled=PLANNED):
    return parse(CATALOG, body, scheduled, NOW)


def test_an_empty_body_asks_for_every_table():
    assert [table.name for table in asked({}).tables] == list(CATALOG.catalog.tables)


def test_a_table_that_is_asked_for_twice_is_exported_once():
    assert [table.name for table in asked({"tables": ["iris_france", "iris_france"]}).tables] == ["iris_france"]


def test_a_call_by_scheduler_is_for_its_planned_instant():
    assert (asked({}).at, asked({}).day) == (PLANNED, None)


@pytest.mark.parametrize(("minutes", "at"), [(0.5, 0.5), (-30, -30), (25, 0), (14 * 60, 0)])
def test_a_job_that_is_run_by_hand_is_for_now_though_it_carries_its_next_turn(minutes, at):
    """Else a snapshot of today would take the id of tomorrow's."""
    assert asked({}, NOW + timedelta(minutes=minutes)).at == NOW + timedelta(minutes=at)


def test_any_other_call_is_for_now():
    assert asked({}, scheduled=None).at == NOW


def test_a_day_is_asked_for_by_date():
    assert asked({"date": "20260228"}).day == date(2026, 2, 28)


def test_force_makes_a_new_snapshot_from_now():
    request = asked({"date": "20260228", "force": True})
    assert (request.at, request.day, request.force) == (NOW, None, True)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ({"tables": []}, "tables should list some of enriched_user, .*; got none"),
        ({"tables": ["iris_france", "iris_germany", 3]}, "got iris_germany, …"),
        ({"tables": [["iris_france"]]}, "tables should list some of .*; got …"),
        ({"tables": ["it's\u202e"]}, "tables should list some of .*; got …$"),
        ({"date": "2026-02-28"}, "date should be a day written YYYYMMDD"),
        ({"date": "20260230"}, "date should be a day written YYYYMMDD"),
        ({"date": "20260302"}, "date is in the future"),
        ({"date": "19691231"}, "before 1970"),
    ],
)
def test_an_impossible_request_is_refused(body, what):
    with pytest.raises(BadRequestError, match=what):
        asked(body)


@pytest.mark.parametrize("year", [1, 1969, 2027, 9999])
def test_a_call_that_was_planned_in_no_time_of_ours_is_refused(year):
    with pytest.raises(BadRequestError, match="scheduled for the future, or before 1970"):
        asked({}, datetime(year, 1, 1, tzinfo=UTC))


@given(bytes_of({"tables": ["iris_france", "enriched_user"], "date": "20260228", "force": False}), st.datetimes())
def test_whatever_is_asked_for_is_of_this_catalog_and_time_or_has_an_answer(content, scheduled):
    with answered(BadRequestError):
        with flask.Flask("function").test_request_context(data=content) as context:
            body = entry.json_body(context.request, FIELDS)
        request = asked(body, scheduled.replace(tzinfo=UTC))
        assert {table.name for table in request.tables} <= CATALOG.catalog.tables.keys()
        assert datetime(1970, 1, 1, tzinfo=UTC) < request.at <= NOW + AHEAD
