"""What the environment says."""

from datetime import timedelta

import pytest

from shared.errors import ConfigurationError
from shared.names import DatasetRef
from shared.settings import DatabaseUrl, Settings

URL = "postgresql://loader:hunter2@db.example/reco"
GOOD = {
    "ENV_SHORT_NAME": "dev",
    "GCP_PROJECT_ID": "my-project",
    "BIGQUERY_ML_RECOMMENDATION_DATASET": "ml_reco_dev",
    "BIGQUERY_SEED_DATASET": "seed_dev",
    "RECOMMENDATION_SQL_INSTANCE": "recommendation-dev",
    "EXPORT_BUCKET": "my-bucket",
    "EXPORT_PREFIX": "recommendation_exports",
    "COMPLETION_TOPIC": "published",
    "DATABASE_URL": URL,
}


DATASETS = ("BIGQUERY_ML_RECOMMENDATION_DATASET", "BIGQUERY_SEED_DATASET")


def read(**changes: str) -> Settings:
    return Settings.from_environment(GOOD | changes, datasets=DATASETS)


def test_a_complete_environment_is_read():
    limits = {"MAXIMUM_BYTES_BILLED": "1000000000000", "MAX_BUILDS": "3", "FUNCTION_TIMEOUT_SECONDS": "60"}
    settings = read(**limits, RETENTION_DAYS="7", RECONCILE_AFTER_MINUTES="90")
    assert settings.datasets == {
        "BIGQUERY_ML_RECOMMENDATION_DATASET": DatasetRef(None, "ml_reco_dev"),
        "BIGQUERY_SEED_DATASET": DatasetRef(None, "seed_dev"),
    }
    assert settings.temporary_dataset == "tmp_dev"
    assert settings.database.read() == URL
    assert (settings.maximum_bytes_billed, settings.max_builds, settings.function_timeout) == (10**12, 3, 60)
    assert (settings.retention, settings.reconcile_after) == (timedelta(days=7), timedelta(minutes=90))


@pytest.mark.parametrize("project", ["reco-sources", "example.com:reco-sources"])
def test_a_data_set_may_be_in_another_project(project):
    read_ = read(BIGQUERY_SEED_DATASET=f"{project}.seed_dev")
    assert read_.datasets["BIGQUERY_SEED_DATASET"] == DatasetRef(project, "seed_dev")
    assert read_.project == GOOD["GCP_PROJECT_ID"]


def test_exactly_the_variables_that_the_catalog_names_are_read():
    without = {name: value for name, value in GOOD.items() if name not in DATASETS}
    assert Settings.from_environment(without, datasets=()).datasets == {}
    own = Settings.from_environment({**without, "SCORES_DATASET": "scores"}, datasets=["SCORES_DATASET"])
    assert own.datasets == {"SCORES_DATASET": DatasetRef(None, "scores")}
    with pytest.raises(ConfigurationError, match=r"SCORES_DATASET is not set: it should be .*; VISITS_DATASET is not"):
        Settings.from_environment(GOOD, datasets=["SCORES_DATASET", "VISITS_DATASET"])


def test_limits_have_defaults():
    settings = read()
    assert (settings.maximum_bytes_billed, settings.max_builds, settings.function_timeout) == (None, 2, 540)
    assert (settings.retention, settings.reconcile_after) == (timedelta(days=3), timedelta(minutes=30))


@pytest.mark.parametrize(
    ("name", "malformed", "shape"),
    [
        ("ENV_SHORT_NAME", "Dev!", "a short name such as dev, stg or prod"),
        ("GCP_PROJECT_ID", "My Project", "a Google Cloud project id"),
        ("BIGQUERY_ML_RECOMMENDATION_DATASET", "a.b.c", "a BigQuery data set, dataset or project.dataset"),
        ("BIGQUERY_SEED_DATASET", "a-b", "a BigQuery data set"),
        ("RECOMMENDATION_SQL_INSTANCE", "a b", "the name of the Cloud SQL instance"),
        ("EXPORT_BUCKET", "gs://bucket", "a bucket name, without gs://"),
        ("EXPORT_PREFIX", "/exports/", "without slashes at its ends"),
        ("COMPLETION_TOPIC", "projects/p/topics/t", "the short name of a topic"),
    ],
)
def test_a_variable_that_is_missing_or_malformed_is_named_with_its_shape(name, malformed, shape):
    for value, state in (("", "is not set: it should be"), (malformed, "should be")):
        with pytest.raises(ConfigurationError) as e:
            read(**{name: value})
        assert f"{name} {state} {shape}" in e.value.what or f"{name} {state} a path" in e.value.what
        assert shape in e.value.what


@pytest.mark.parametrize(
    "name",
    ["MAXIMUM_BYTES_BILLED", "MAX_BUILDS", "FUNCTION_TIMEOUT_SECONDS", "RETENTION_DAYS", "RECONCILE_AFTER_MINUTES"],
)
@pytest.mark.parametrize("value", ["many", "-1", "0", "1.5", "9" * 30, "9" * 18 + "0", "٣", "²", "1_0", " 1", "1e1"])
def test_a_limit_that_is_no_whole_number_is_refused(name, value):
    with pytest.raises(ConfigurationError, match=f"{name} should be a whole number"):
        read(**{name: value})


@pytest.mark.parametrize(
    "name", ["RETENTION_DAYS", "RECONCILE_AFTER_MINUTES", "FUNCTION_TIMEOUT_SECONDS", "MAX_BUILDS"]
)
def test_a_time_longer_than_there_are_dates_for_is_refused(name):
    with pytest.raises(ConfigurationError, match=rf"{name} should be a whole number, \d+ or more, \d+ at most"):
        read(**{name: "9" * 18})


def test_every_mistake_is_reported_at_once():
    with pytest.raises(ConfigurationError) as e:
        Settings.from_environment({"MAX_BUILDS": "x"}, datasets=DATASETS)
    for name in (*GOOD, "DATABASE_URL_FILE", "MAX_BUILDS"):
        assert name in str(e.value)


def test_a_wrong_deployment_is_retried_until_it_is_mended():
    with pytest.raises(ConfigurationError) as e:
        Settings.from_environment({}, datasets=DATASETS)
    assert e.value.retryable


@pytest.mark.parametrize(
    "url",
    [
        *("mysql://u:hunter2@h/db", "host=h password=hunter2", "hunter2", "\n"),
        *("postgresql://u:hunter2\0@h/db", "postgresql://u:hunter2@h\n/db", "postgresql://\u202eu:hunter2@h/db"),
        "postgresql://u:hunter2@h/" + "x" * 10_000,
    ],
)
def test_a_malformed_url_is_named_but_never_shown(url, tmp_path):
    secret = tmp_path / "url"
    secret.write_text(url)
    with pytest.raises(ConfigurationError, match=r"DATABASE_URL should be postgresql://<user>") as direct:
        read(DATABASE_URL=url)
    with pytest.raises(ConfigurationError, match="DATABASE_URL_FILE") as mounted:
        DatabaseUrl(file=secret).read()
    assert "hunter2" not in str(direct.value) + str(mounted.value)


def test_the_secret_is_not_in_the_repr():
    assert "hunter2" not in repr(read())


@pytest.mark.parametrize("both", [{"DATABASE_URL": ""}, {"DATABASE_URL_FILE": "/secrets/url"}])
def test_the_url_comes_from_one_of_two_variables(both):
    with pytest.raises(ConfigurationError, match=r"set one of DATABASE_URL .* and DATABASE_URL_FILE"):
        read(**both)


@pytest.mark.parametrize(("login", "iam"), [("", False), ("password", False), ("iam", True)])
def test_the_login_is_by_a_password_unless_it_is_by_the_account(login, iam):
    assert read(DATABASE_LOGIN=login).database.iam is iam
    assert read(DATABASE_URL="", DATABASE_URL_FILE="/secrets/url", DATABASE_LOGIN=login).database.iam is iam
    with pytest.raises(ConfigurationError, match="DATABASE_LOGIN should be password or iam"):
        read(DATABASE_LOGIN="IAM")


def test_a_rotated_secret_is_read_by_the_next_connection(tmp_path):
    secret = tmp_path / "url"
    secret.write_text(f"{URL}\n")
    database = read(DATABASE_URL="", DATABASE_URL_FILE=str(secret)).database
    assert database.read() == URL
    secret.write_text(URL.replace("hunter2", "hunter3"))
    assert database.read() == URL.replace("hunter2", "hunter3")


def test_a_secret_that_is_not_mounted_is_named(tmp_path):
    database = read(DATABASE_URL="", DATABASE_URL_FILE=str(tmp_path / "url")).database
    with pytest.raises(ConfigurationError, match=r"DATABASE_URL_FILE names .*/url, which can't be read"):
        database.read()
