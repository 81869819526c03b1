"""What a body asks the export for."""

from datetime import UTC, date, datetime
from types import SimpleNamespace

import pytest

from shared import catalog
from shared.daily.export import parse
from shared.errors import BadRequestError

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
        ({"tables": ["iris_france", "iris_germany", 3]}, "got iris_germany, 3"),
        ({"tables": [["iris_france"]]}, "tables should list some of"),
        ({"date": "2026-02-28"}, "date should be a day written YYYYMMDD"),
        ({"date": "20260230"}, "date should be a day written YYYYMMDD"),
        ({"date": "20260302"}, "date is in the future"),
        ({"date": "19691231"}, "before 1970"),
    ],
)
def test_an_impossible_request_is_refused(body, what):
    with pytest.raises(BadRequestError, match=what):
        asked(body)
