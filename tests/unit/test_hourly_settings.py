"""What the environment says to the hourly flow."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ConfigurationError
from shared.names import Hour
from shared.settings import HourlySettings
from tests.kit.mutations import answered, texts

URL = "postgresql://loader:hunter2@db.example/reco"
GOOD = {
    "ENV_SHORT_NAME": "dev",
    "GCP_PROJECT_ID": "my-project",
    "RECOMMENDATION_SQL_INSTANCE": "recommendation-dev",
    "HOURLY_BUCKET": "my-bucket",
    "HOURLY_PREFIX": "cloudsql_hourly",
    "DATABASE_URL": URL,
}


def read(**changes: str) -> HourlySettings:
    return HourlySettings.from_environment(GOOD | changes)


def test_a_complete_environment_is_read():
    settings = read(HOURLY_START="20260101T05", HOURLY_LATE_HOURS="0", HOURLY_MAX_HOURS="7", HOURLY_PREFIX="a/b")
    assert (settings.bucket, settings.prefix) == ("my-bucket", "a/b")
    assert (settings.start, settings.late_hours, settings.max_hours) == (Hour.parse("20260101T05"), 0, 7)
    assert settings.database.read() == URL


def test_a_start_is_optional_and_limits_have_defaults():
    settings = read()
    assert (settings.start, settings.late_hours, settings.max_hours, settings.function_timeout) == (None, 6, 24, 540)


@pytest.mark.parametrize(
    ("name", "malformed", "shape"),
    [
        ("ENV_SHORT_NAME", "Dev!", "a short name such as dev, stg or prod"),
        ("GCP_PROJECT_ID", "My Project", "a Google Cloud project id"),
        ("RECOMMENDATION_SQL_INSTANCE", "a b", "the name of the Cloud SQL instance"),
        ("HOURLY_BUCKET", "gs://bucket", "a bucket name, without gs://"),
        ("HOURLY_PREFIX", "/hourly/", "a path such as cloudsql_hourly, without slashes at its ends"),
    ],
)
def test_a_variable_that_is_missing_or_malformed_is_named_with_its_shape(name, malformed, shape):
    for value, state in (("", "is not set: it should be"), (malformed, "should be")):
        with pytest.raises(ConfigurationError) as e:
            read(**{name: value})
        assert e.value.what == f"{name} {state} {shape}"


@pytest.mark.parametrize(
    "value", ["20260101", "20260101T24", "2026-01-01T05", "20260101T05Z", "now", "20260230T00", "00010101T00"]
)
def test_a_start_that_is_no_hour_is_refused(value):
    with pytest.raises(
        ConfigurationError, match="HOURLY_START should be an hour in UTC since 1970, written YYYYMMDDTHH"
    ):
        read(HOURLY_START=value)


@pytest.mark.parametrize(("name", "least"), [("HOURLY_LATE_HOURS", 0), ("HOURLY_MAX_HOURS", 1)])
@pytest.mark.parametrize("value", ["many", "-1", "1.5", "9" * 30, "9" * 18, "٣", "10000"])
def test_a_limit_that_is_no_whole_number_or_too_many_is_refused(name, least, value):
    with pytest.raises(ConfigurationError, match=f"{name} should be a whole number, {least} or more"):
        read(**{name: value})


@pytest.mark.parametrize(
    "value", ["99991231T23", pytest.param(f"{datetime.now(UTC) + timedelta(days=3):%Y%m%dT%H}", id="soon")]
)
def test_a_start_that_lies_ahead_is_refused_because_no_hour_would_be_due(value):
    with pytest.raises(
        ConfigurationError, match="HOURLY_START should be an hour in UTC that is not more than a day ahead"
    ):
        read(HOURLY_START=value)


def test_a_start_may_be_todays():
    value = f"{datetime.now(UTC) + timedelta(hours=2):%Y%m%dT%H}"
    assert str(read(HOURLY_START=value).start) == value


@given(
    st.dictionaries(
        st.sampled_from([*GOOD, "HOURLY_START", "HOURLY_LATE_HOURS", "HOURLY_MAX_HOURS"]), texts, min_size=1
    )
)
def test_whatever_the_environment_says_is_within_its_limits_or_has_an_answer(changes):
    with answered(ConfigurationError, where="environment: "):
        settings = read(**changes)
        assert settings.late_hours + settings.max_hours < 20_000
        assert settings.start is None or settings.start.plus(-settings.late_hours)
        assert str(settings.project + settings.bucket + settings.prefix).isascii()


def test_a_call_must_be_allowed_an_hour():
    with pytest.raises(ConfigurationError, match="HOURLY_MAX_HOURS should be a whole number, 1 or more"):
        read(HOURLY_MAX_HOURS="0")


def test_every_mistake_is_reported_at_once():
    with pytest.raises(ConfigurationError) as e:
        HourlySettings.from_environment({"HOURLY_START": "x", "HOURLY_MAX_HOURS": "x", "HOURLY_LATE_HOURS": "x"})
    for name in (*GOOD, "DATABASE_URL_FILE", "HOURLY_START", "HOURLY_MAX_HOURS", "HOURLY_LATE_HOURS"):
        assert name in str(e.value)


def test_the_daily_flows_variables_are_not_asked_for():
    assert not {name for name in GOOD if name.startswith(("EXPORT", "COMPLETION", "BIGQUERY"))}
    assert read().project == "my-project"


def test_the_secret_is_not_in_the_repr():
    assert "hunter2" not in repr(read())
