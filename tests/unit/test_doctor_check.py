"""A check of the doctor: what its account may not look at is neither well nor wrong, and a remedy is never cut off."""

from __future__ import annotations

from importlib import import_module

import pytest
from google.api_core.exceptions import Forbidden, NotFound, Unauthorized

from shared.errors import ConfigurationError
from shared.gcp.bigquery import JobError
from shared.gcp.errors import translated
from shared.gcp.rest import lacking
from shared.operate.doctor import Asked, Check, Verdict, examine
from shared.operate.doctor.check import tried, wrong

REFUSAL = "Access Denied: Table p:d.t: Permission bigquery.tables.get denied on table p:d.t (or it may not exist)."


def refused(error):
    def step():
        with translated("reading the schema of p.d.t"):
            raise error

    return tried("source of t", step)


def test_a_refusal_by_a_client_library_is_unknown_with_the_permission():
    check = refused(Forbidden(REFUSAL))
    assert check.line.startswith(
        "unknown  source of t: this account lacks bigquery.tables.get: reading the schema of p.d.t: refused (403): "
    )
    assert "terraform output operators_roles" in check.remedy


def test_a_refusal_without_a_permission_is_unknown_too():
    assert refused(Unauthorized("Sign in")).told.startswith("this account lacks a permission: ")


def test_what_is_not_there_is_wrong():
    assert refused(NotFound("Not found: Table p:d.t")).verdict is Verdict.WRONG


def test_a_job_that_its_account_may_not_run_is_unknown():
    def step():
        raise JobError("accessDenied", REFUSAL).failure("job 1", quote=True)

    check = tried("a row of every type", step)
    assert (check.verdict, "lacks bigquery.tables.get" in check.told) == (Verdict.UNKNOWN, True)


@pytest.mark.parametrize(("account", "verdict"), [("operator", Verdict.UNKNOWN), ("bq_export", Verdict.WRONG)])
def test_what_a_function_may_not_do_in_its_own_work_is_wrong(monkeypatch, account, verdict):
    forbidden = Check("source of t", Verdict.UNKNOWN, "this account lacks bigquery.tables.get", "…", forbidden=True)
    module = import_module("shared.operate.doctor.examine")  # which the function hides
    monkeypatch.setattr(module, "_examined", lambda asked, rest: iter([forbidden]))
    (check,) = examine(Asked(account))
    assert check.verdict is verdict
    assert ("terraform apply grants it to bq_export" in check.remedy) == (account == "bq_export")


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("Permission 'storage.objects.list' denied on resource (or it may not exist).", "storage.objects.list"),
        ("the caller does not have cloudscheduler.jobs.get access to it", "cloudscheduler.jobs.get"),
        ("GET https://storage.googleapis.com/storage/v1/b: no", "a permission"),
        ("Access Denied: Table acme.stock.product", "a permission"),
    ],
)
def test_the_permission_is_found_in_what_google_says(message, told):
    assert lacking(message) == f"this account lacks {told}: "


def test_a_remedy_for_hundreds_of_tables_is_whole():
    statement = f"GRANT SELECT ON {', '.join(f'public.table_{number}' for number in range(500))} TO api"

    def step():
        raise wrong("may not read", "api", statement)

    assert tried("role api", step).remedy == statement
    assert len(ConfigurationError("w", where="", remedy=statement).remedy) < len(statement)
