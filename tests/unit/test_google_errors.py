"""What Google's services say becomes one of our failures, by what may mend it."""

import pytest
import requests
from google.api_core import exceptions as api
from google.auth.exceptions import DefaultCredentialsError

from shared.errors import ConfigurationError, PermanentError, RetryableError, SourceError
from shared.gcp.bigquery import JobError
from shared.gcp.errors import translated


def refused(kind: type[api.GoogleAPICallError], reason: str) -> api.GoogleAPICallError:
    return kind("said so", errors=[{"reason": reason, "message": "said so"}])


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (refused(api.Forbidden, "quotaExceeded"), RetryableError),
        (refused(api.Forbidden, "rateLimitExceeded"), RetryableError),
        (refused(api.Forbidden, "accessDenied"), ConfigurationError),
        (api.Forbidden("said so"), ConfigurationError),
        (refused(api.NotFound, "notFound"), ConfigurationError),
        (refused(api.BadRequest, "invalid"), PermanentError),
        (refused(api.Conflict, "duplicate"), PermanentError),
        (refused(api.Conflict, "conflict"), RetryableError),
        (api.Conflict("said so"), RetryableError),
        (api.ServiceUnavailable("said so"), RetryableError),
        (api.from_http_status(408, "said so"), RetryableError),
        (requests.exceptions.ChunkedEncodingError("cut off"), RetryableError),
    ],
)
def test_a_failure_is_of_the_kind_that_may_mend_it(error, failure):
    with pytest.raises(failure) as e, translated("looking"):
        raise error
    assert type(e.value) is failure
    assert e.value.where == "looking"


def test_who_has_no_credentials_is_told_where_to_get_them():
    with pytest.raises(ConfigurationError, match="gcloud auth application-default login"), translated("looking"):
        raise DefaultCredentialsError("none were found")


@pytest.mark.parametrize(
    ("reason", "failure"),
    [
        ("rateLimitExceeded", RetryableError),
        ("backendError", RetryableError),
        ("accessDenied", ConfigurationError),
        ("notFound", ConfigurationError),
        ("invalidQuery", SourceError),
    ],
)
def test_a_jobs_failure_is_of_the_kind_that_may_mend_it(reason, failure):
    assert type(JobError(reason, "said so").failure("job 1", quote=True)) is failure


@pytest.mark.parametrize("what", ["Could not serialize access to table p:d.t", "Transaction is aborted"])
def test_a_statement_that_met_another_at_its_table_can_succeed_later(what):
    error = JobError("invalidQuery", f"{what} due to concurrent update")
    assert type(error.failure("job 1", quote=False)) is RetryableError
