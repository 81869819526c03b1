"""The functions may do what Terraform grants to their accounts, and no more; and what is lacking is told."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from google.api_core.exceptions import Forbidden
from google.cloud import bigquery

from local import context
from local.eventarc import Faults
from local.roles import ROLES, granted
from shared.names import Hour
from shared.services import Services
from shared.upkeep import reconcile
from tests.e2e.system import scheduled
from tests.kit.background import wait_for
from tests.kit.commands import recosync

TABLE = "iris_france"
#: Grants of what is not emulated, and so used by nobody here; and the one for jobs of others, which has its own test.
OTHERWISE = {"roles/secretmanager.secretAccessor", "roles/cloudsql.instanceUser", "roles/bigquery.resourceViewer"}


@contextmanager
def without(emulated, account, role, on=""):
    """A grant is missing for a while."""
    of = emulated.accounts[account]
    before = of.grants
    of.grants = [grant for grant in before if grant.role != role or on not in grant.on]
    assert len(of.grants) < len(before)
    try:
        yield
    finally:
        of.grants = before


@pytest.fixture(scope="module")
def hours(emulated):
    """Hours that have ended, each for one test, the log's first one first: an export takes what is before it too."""
    first = Hour.parse(emulated.env["HOURLY_START"])
    return (first.plus(number).start for number in range(18))


@pytest.fixture(scope="module", autouse=True)
def log(emulated):
    context.create(emulated.dsn)


def fill(system, day):
    """The rows of a day, of which none is so unlike the one before that a snapshot is held."""
    system.fill(20 + day)


def told(emulated, function):
    lines = [json.loads(line) for line in emulated.log(function).splitlines()]
    return [line["message"] for line in lines if line["severity"] in ("WARNING", "ERROR")]


def wait_told(emulated, function, lacks):
    wait_for(lambda: any(f"{function} does not have {lacks}" in line for line in told(emulated, function)), 120)


def hourly(emulated, at):
    """Call hourly_export after an hour; status and answer."""
    request = urllib.request.Request(  # noqa: S310 - our own
        emulated.url("hourly_export"),
        json.dumps({"table_name": "past_offer_context"}).encode(),
        {
            "content-type": "application/json",
            "X-CloudScheduler-ScheduleTime": (at + timedelta(hours=1, minutes=5)).isoformat(),
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310 - our own
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()


@pytest.fixture
def as_hourly_export(emulated, monkeypatch):
    """The services in this process, where it has no other rights than hourly_export: to run a step at another time."""
    for name, value in {**emulated.env, **emulated.guarded["hourly_export"]}.items():
        monkeypatch.setenv(name, value)
    return Services.from_environment()


def unused(here):
    """What no request has needed so far."""
    return {
        (account.name, grant.role, grant.on.rpartition("/")[2].removeprefix(f"{here.project}-"))
        for account in here.accounts.values()
        for grant in account.grants
        if grant not in account.used and grant.role not in OTHERWISE and account.name != "operator"
    }


def test_every_grant_is_needed_by_the_flows(emulated, system, days, hours, as_hourly_export):
    """Least privilege: an account that could do its work with fewer roles has too many."""

    def sent():
        """What hourly_export would send again, in an hour."""
        return {each["sent"] for each in reconcile.run(as_hourly_export, datetime.now(UTC) + timedelta(hours=1))}

    day = next(days)
    fill(system, day)
    with without(emulated, "mv_refresh", "roles/pubsub.publisher"):
        snapshots = system.schedule(scheduled(day), TABLE)
        wait_told(emulated, "mv_refresh", "pubsub.topics.publish")
        assert "owed messages of views" in sent()
    system.wait_refreshed(snapshots)
    emulated.eventarc.wait_idle()
    emulated.eventarc.faults = Faults(drop=lambda event: "messagePublished" in event.type)
    day = next(days)
    fill(system, day)
    snapshots = system.schedule(scheduled(day))
    emulated.eventarc.wait_idle()
    emulated.eventarc.faults = Faults()
    assert sent() == {"message"}
    system.wait_refreshed(snapshots)
    at = next(hours)
    context.write(emulated.dsn, at, at + timedelta(hours=1), 50)
    assert hourly(emulated, at)[0] == 200
    with urllib.request.urlopen(emulated.url("status")) as page:  # noqa: S310 - our own
        assert page.status == 200
    # Its role there is for logs with columns of JSON, of which this catalog has none.
    assert unused(emulated) == {("hourly_export", "roles/bigquery.dataEditor", "tmp_local")}


@pytest.mark.parametrize(
    ("role", "on", "lacks"),
    [
        ("roles/bigquery.jobUser", "", "bigquery.jobs.create access to projects/"),
        ("roles/bigquery.dataViewer", "seed_local", "bigquery.tables.get access to"),
        ("roles/bigquery.dataEditor", "tmp_local", "bigquery.tables.create access to"),
        ("roles/storage.objectUser", "exports", "storage.objects.get access to buckets/"),
    ],
)
def test_bq_export_lacks_a_role(emulated, system, days, role, on, lacks):
    at = scheduled(next(days))
    fill(system, at.day)
    with without(emulated, "bq_export", role, on):
        status, answer = system.call({"tables": [TABLE]}, {"X-CloudScheduler-ScheduleTime": at.isoformat()})
        assert status == 500
        assert f"bq_export does not have {lacks}" in answer
        assert "grant the function's account the role it lacks" in answer
        assert any(lacks in line for line in told(emulated, "bq_export"))
    system.wait_refreshed(system.schedule(at, TABLE))


def test_gcs_import_lacks_a_role_and_goes_on_once_it_is_granted(emulated, system, days):
    at = scheduled(next(days))
    fill(system, at.day)
    with without(emulated, "gcs_import", "roles/storage.objectViewer"):
        snapshots = system.schedule(at, TABLE)
        wait_told(emulated, "gcs_import", "storage.objects")
        assert not system.refreshed(snapshots)
    system.wait_refreshed(snapshots)


def test_a_publication_that_may_not_be_told_is_owed(emulated, system, days):
    at = scheduled(next(days))
    fill(system, at.day)
    with without(emulated, "gcs_import", "roles/pubsub.publisher"):
        snapshots = system.schedule(at, TABLE)
        wait_told(emulated, "gcs_import", "pubsub.topics.publish")
        assert not system.refreshed(snapshots)
    system.wait_refreshed(snapshots)


@pytest.mark.parametrize(
    ("role", "on", "lacks"),
    [
        ("roles/bigquery.jobUser", "", "bigquery.jobs.create"),
        ("roles/bigquery.dataEditor", "past_offer_context", "bigquery."),
        ("roles/storage.objectUser", "hourly", "storage.objects."),
        ("roles/storage.legacyBucketReader", "hourly", "storage.buckets.get"),
    ],
)
def test_hourly_export_lacks_a_role(emulated, hours, role, on, lacks):
    at = next(hours)
    context.write(emulated.dsn, at, at + timedelta(hours=1), 20)
    with without(emulated, "hourly_export", role, on):
        status, answer = hourly(emulated, at)
        assert status == 500, answer
        assert f"hourly_export does not have {lacks}" in answer
    status, answer = hourly(emulated, at)
    assert status == 200, answer


def test_numbers_that_may_not_be_written_stop_nothing(emulated, hours):
    with without(emulated, "hourly_export", "roles/monitoring.metricWriter"):
        assert hourly(emulated, next(hours))[0] == 200
    assert any("Grant roles/monitoring.metricWriter" in line for line in told(emulated, "hourly_export"))


def test_the_status_page_says_what_it_may_not_read(emulated):
    with (
        without(emulated, "status", "roles/storage.objectViewer"),
        pytest.raises(urllib.error.HTTPError) as page,
    ):
        urllib.request.urlopen(emulated.url("status"))  # noqa: S310 - our own
    assert "status does not have storage.objects" in page.value.read().decode()
    page.value.close()


def test_a_function_that_looks_for_itself_is_told_what_its_account_lacks(emulated, system, day):
    fill(system, day)
    about = [f"permissions on {emulated.bucket}", f"source of {TABLE}"]

    def looked():
        checks = emulated.call("bq_export", {"doctor": True})["checks"]
        return {check["about"]: check for check in checks if check["about"] in about}

    assert [looked()[name]["verdict"] for name in about] == ["ok", "ok"]
    with without(emulated, "bq_export", "roles/bigquery.dataViewer", "seed_local"):
        lacking = looked()[about[1]]
    assert (lacking["verdict"], lacking["remedy"]) == ("wrong", "terraform apply grants it to bq_export")
    assert "this account lacks bigquery.tables.get: " in lacking["told"]


@pytest.fixture
def as_operator(emulated, monkeypatch):
    """Commands in this process have the rights that Terraform's output operators_roles names."""
    for name, value in {**emulated.env, **emulated.guarded["operator"]}.items():
        monkeypatch.setenv(name, value)


def test_an_export_that_an_operator_began_is_gone_on_with(emulated, system, days, as_operator):
    """Its jobs are the operator's: whether they are done is for bq_export to find out."""
    at = scheduled(next(days))
    fill(system, at.day)
    emulated.eventarc.faults = Faults(drop=lambda event: "manifest" in str(event.subject))
    ran = recosync("export", TABLE, "--date", f"{at:%Y%m%d}", "--json")
    assert ran.code == 0, ran.err
    emulated.eventarc.wait_idle()
    emulated.eventarc.faults = Faults()
    snapshot = f"{at:%Y%m%d}T000000Z"
    # As if it had been interrupted before its last step.
    emulated.storage_client.bucket(emulated.bucket).blob(
        f"{emulated.env['EXPORT_PREFIX']}/{TABLE}/{snapshot}/manifest.json"
    ).delete()
    status, answer = system.call({"tables": [TABLE], "date": f"{at:%Y%m%d}"})
    assert status == 200, answer
    system.wait_refreshed({TABLE: snapshot})
    jobs = [job for job in emulated.accounts["operator"].jobs if f"{TABLE}-{snapshot}" in job]
    assert "operator" in {emulated.accounts["operator"].jobs[job] for job in jobs}
    assert "roles/bigquery.resourceViewer" in {grant.role for grant in emulated.accounts["bq_export"].used}


def test_an_operator_has_the_roles_for_every_command(emulated, system, days, hours, as_operator):
    at, hour = scheduled(next(days)), next(hours)
    fill(system, at.day)
    system.wait_refreshed(system.schedule(at, TABLE))
    context.write(emulated.dsn, hour, hour + timedelta(hours=1), 20)
    day = f"{hour:%Y%m%d}"
    for command in (
        ("export", TABLE, "--date", f"{at:%Y%m%d}", "--wait"),
        ("import", TABLE),
        ("verify", TABLE),
        ("backfill", "past_offer_context", "--from", f"{hour:%Y%m%dT%H}", "--until", f"{hour:%Y%m%dT%H}"),
        ("verify", "past_offer_context", "--from", day, "--to", day),
        ("status",),
    ):
        ran = recosync(*command)
        assert "does not have" not in ran.out + ran.err, (command, ran.out + ran.err)
        assert "lacks" not in ran.out + ran.err, (command, ran.out + ran.err)
    lines = [check for check in recosync("doctor", "--json").json["checks"] if "this account lacks" in check["told"]]
    assert lines == []


def test_nobody_may_do_what_no_role_of_its_own_permits(emulated):
    """The judge itself: refresh needs no role but PostgreSQL's, and a role on one data set is none on another."""
    asked = emulated.guarded  # as the functions find the emulators
    for account, table in (("mv_refresh", "seed_local.iris_france"), ("hourly_export", "seed_local.iris_france")):
        client = bigquery.Client(
            emulated.project,
            emulated.bigquery_client._credentials,
            client_options={"api_endpoint": asked[account]["BIGQUERY_EMULATOR_HOST"]},
        )
        with pytest.raises(Forbidden, match=f"{account} does not have bigquery.tables.get"):
            client.get_table(table)
        with pytest.raises(Forbidden, match=f"{account} does not have bigquery.tables.create"):
            client.create_table(bigquery.Table(f"{emulated.project}.{table}_more"))


def test_every_role_of_a_function_is_written_down():
    functions = {"bq_export", "gcs_import", "mv_refresh", "hourly_export", "status"}
    assert functions <= granted().keys()
    assert {grant.role for name in (*functions, "operator") for grant in granted()[name]} == ROLES.keys()
