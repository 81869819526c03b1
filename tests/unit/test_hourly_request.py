"""What a body asks the hourly flow for: which hours, and never one that has not ended."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace

import flask
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import catalog, entry
from shared.errors import BadRequestError
from shared.hourly.request import FIELDS, parse
from shared.names import EPOCH
from tests.kit.mutations import answered, bytes_of

NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
CATALOG = SimpleNamespace(catalog=catalog.load())


def asked(body, scheduled=None, now=NOW):
    return parse(CATALOG, body, scheduled, now)


def hours(body, scheduled=None, now=NOW):
    return [str(hour) for hour in asked(body, scheduled, now).hours]


def test_an_empty_body_asks_for_the_last_hour_that_ended_and_keeps_the_rows():
    request = asked({})
    assert (request.table.name, request.explicit) == ("past_offer_context", False)
    assert (request.delete, request.recover) == (False, True)
    assert hours({}) == ["20260310T11"]


def logs(*names):
    """Services whose catalog has these logs."""
    of = CATALOG.catalog.hourly["past_offer_context"]
    return SimpleNamespace(catalog=replace(CATALOG.catalog, hourly={name: replace(of, name=name) for name in names}))


@pytest.mark.parametrize(
    ("names", "meant"),
    [
        (["visits"], "visits"),
        (["visits", "past_offer_context"], "past_offer_context"),
        (["past_offer_context"], "past_offer_context"),
    ],
)
def test_a_call_that_names_no_log_means_the_only_one_or_the_one_that_calls_never_named(names, meant):
    assert parse(logs(*names), {}, None, NOW).table.name == meant


@pytest.mark.parametrize(
    ("names", "body", "told"),
    [
        (["visits", "searches"], {}, "table_name is missing: it should be one of visits, searches"),
        (["visits", "searches"], {"table_name": "past_offer_context"}, "table_name should be one of visits, searches"),
        ([], {}, "the catalog has no log"),
    ],
)
def test_a_log_that_can_not_be_meant_is_told_with_those_that_can(names, body, told):
    with pytest.raises(BadRequestError, match=f"^{told}$"):
        parse(logs(*names), body, None, NOW)


def test_the_flags_are_the_callers():
    request = asked({"delete_from_source": True, "recover_missed": False, "table_name": "past_offer_context"})
    assert (request.delete, request.recover) == (True, False)


@pytest.mark.parametrize(
    ("scheduled", "hour"),
    [
        (datetime(2026, 3, 10, 11, 5, tzinfo=UTC), "20260310T10"),
        (datetime(2026, 3, 10, 12, 0, tzinfo=UTC), "20260310T11"),
        (datetime(2026, 3, 9, 0, 5, tzinfo=UTC), "20260308T23"),
        (datetime(2026, 3, 10, 11, 5, tzinfo=timezone(timedelta(hours=2))), "20260310T08"),
    ],
)
def test_schedulers_planned_time_decides_the_hour_however_late_its_call_comes(scheduled, hour):
    assert hours({}, scheduled) == [hour]


def test_a_date_and_hour_are_that_hour_whatever_scheduler_planned():
    request = asked({"date": "20260309", "hour": 23}, NOW)
    assert ([str(hour) for hour in request.hours], request.explicit) == (["20260309T23"], True)


def test_a_date_alone_is_that_day():
    assert hours({"date": "20260309"}) == [f"20260309T{number:02d}" for number in range(24)]


def test_today_is_its_hours_that_have_ended():
    assert hours({"date": "20260310"}) == [f"20260310T{number:02d}" for number in range(12)]


def test_a_range_ends_before_its_until():
    assert hours({"date": "20260309", "hour": 22, "until": "20260310T01"}) == [
        "20260309T22",
        "20260309T23",
        "20260310T00",
    ]


def test_a_range_without_an_hour_begins_at_midnight():
    assert hours({"date": "20260310", "until": "20260310T02"}) == ["20260310T00", "20260310T01"]


def test_a_range_may_reach_up_to_the_hour_that_runs():
    assert hours({"date": "20260310", "hour": 11, "until": "20260310T12"}) == ["20260310T11"]


@pytest.mark.parametrize("clock", [datetime(2026, 3, 10, 12, tzinfo=UTC), NOW, NOW.replace(minute=59, second=59)])
def test_the_hour_that_runs_has_not_ended_at_any_of_its_instants(clock):
    assert hours({}, now=clock) == ["20260310T11"]
    with pytest.raises(BadRequestError, match="hour 20260310T12 has not ended yet"):
        asked({"date": "20260310", "hour": 12}, now=clock)


@given(
    st.fixed_dictionaries(
        {}, optional={"date": st.dates().map("{:%Y%m%d}".format), "hour": st.integers(-1, 25), "until": st.text()}
    ),
    st.none() | st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 2)),
)
def test_whatever_is_asked_for_has_ended(body, scheduled):
    try:
        request = asked(body, scheduled)
    except BadRequestError:
        return
    assert all(hour.end <= NOW for hour in request.hours)
    assert request.hours


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ({"table_name": "enriched_user"}, "table_name should be one of past_offer_context"),
        ({"table_name": ""}, "table_name should be one of"),
        ({"hour": 3}, "hour needs a date"),
        ({"until": "20260310T03"}, "until needs a date"),
        ({"hour": 3, "until": "20260310T03"}, "needs a date"),
        ({"date": "2026-03-09"}, "date should be a day written YYYYMMDD"),
        ({"date": "20260230"}, "date should be a day written YYYYMMDD"),
        ({"date": ""}, "date should be a day written YYYYMMDD"),
        ({"date": "19691231"}, "before 1970"),
        ({"date": "20260309", "hour": 24}, "hour should be a whole number from 0 to 23"),
        ({"date": "20260309", "hour": -1}, "hour should be a whole number from 0 to 23"),
        ({"date": "20260311"}, "hour 20260311T00 has not ended yet"),
        ({"date": "20260310", "hour": 12}, "hour 20260310T12 has not ended yet"),
        ({"date": "20260310", "hour": 13}, "hour 20260310T13 has not ended yet"),
        ({"date": "99991231", "hour": 23}, "hour 99991231T23 has not ended yet"),
        ({"date": "20260309", "hour": 5, "until": "20260309T05"}, "until should be after 20260309T05"),
        ({"date": "20260309", "hour": 5, "until": "20260309T04"}, "until should be after 20260309T05"),
        ({"date": "20260309", "until": "20260310T13"}, "until should be 20260310T12 at most"),
        ({"date": "20260309", "until": "99991231T23"}, "until should be 20260310T12 at most"),
        ({"date": "20260309", "until": "20260310"}, "until should be an hour written YYYYMMDDTHH"),
        ({"date": "20260309", "until": "20260310T24"}, "until should be an hour written YYYYMMDDTHH"),
    ],
)
def test_an_impossible_request_is_refused(body, what):
    with pytest.raises(BadRequestError, match=what):
        asked(body)


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=1)])
def test_a_job_that_is_run_by_hand_is_for_the_last_hour_though_it_carries_its_next_turn(ahead):
    assert hours({}, NOW + ahead) == hours({}, None)


def test_just_after_midnight_today_has_no_hours_yet():
    midnight = datetime(2026, 3, 10, 0, 5, tzinfo=UTC)
    assert hours({}, now=midnight) == ["20260309T23"]
    with pytest.raises(BadRequestError, match="hour 20260310T00 has not ended yet"):
        asked({"date": "20260310"}, now=midnight)


WHOLE = {
    "table_name": "past_offer_context",
    "date": "20260309",
    "hour": 3,
    "until": "20260310T00",
    "delete_from_source": False,
    "recover_missed": True,
}


@given(bytes_of(WHOLE) | bytes_of({}), st.none() | st.datetimes(timezones=st.just(UTC)))
def test_whatever_is_asked_for_is_hours_that_have_ended_or_has_an_answer(content, scheduled):
    with answered(BadRequestError):
        with flask.Flask("function").test_request_context(data=content) as context:
            body = entry.json_body(context.request, FIELDS)
        request = asked(body, scheduled)
        assert all(hour.day >= EPOCH and hour.end <= NOW for hour in request.hours)
