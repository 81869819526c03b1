"""The doctor before a first apply: what a plan needs to be there, by Google's answers in their documented shapes."""

from __future__ import annotations

import copy
import json

import pytest

from shared.errors import BadRequestError
from shared.operate.doctor import Verdict, before, planned
from tests.kit.commands import recosync
from tests.kit.google import Google, incomplete

PLAN = {
    "format_version": "1.2",
    "variables": {
        "project_id": {"value": "p"},
        "region": {"value": "europe-west1"},
        "cloud_sql": {"value": {"instance": "reco", "connection_limit": 100, "reserved_connections": 30}},
        "vpc": {"value": {"direct": {"subnetwork": "functions", "network": None, "tags": []}, "connector": None}},
        "database_iam": {"value": None},
        "environment": {"value": "prod"},
    },
}
INSTANCE = f"{planned.INSTANCES}/projects/p/instances/reco"
APIS = f"{planned.SERVICES}/projects/p/services:batchGet"
SUBNETWORK = f"{planned.COMPUTE}/projects/p/regions/europe-west1/subnetworks/functions"
PERMISSIONS = f"{planned.PROJECTS}/projects/p:testIamPermissions"
PROJECT = f"{planned.PROJECTS}/projects/p"
POLICY = f"{PROJECT}:getIamPolicy"
SECRET = f"{planned.SECRETS}/projects/p/secrets/reco_database_url/versions/latest"

WELL = {
    APIS: {
        "services": [{"name": f"projects/1/services/{api}.googleapis.com", "state": "ENABLED"} for api in planned.APIS]
    },
    PERMISSIONS: {"permissions": list(planned.PERMISSIONS)},
    PROJECT: {"projectId": "p", "projectNumber": "17"},
    POLICY: {
        "bindings": [
            {"role": "roles/owner", "members": ["user:ann@example.com"]},
            {"role": planned.AGENTS_ROLE, "members": [f"serviceAccount:{planned.AGENT.format(17)}"]},
        ]
    },
    INSTANCE: {
        "databaseVersion": "POSTGRES_17",
        "state": "RUNNABLE",
        "region": "europe-west1",
        "ipAddresses": [{"type": "PRIMARY"}, {"type": "PRIVATE", "ipAddress": "10.0.0.2"}],
        "settings": {"databaseFlags": [{"name": "max_connections", "value": "100"}]},
    },
    SUBNETWORK: {"ipCidrRange": "10.1.0.0/26"},
    SECRET: {"state": "ENABLED"},
}


@pytest.fixture
def google():
    google = Google(WELL)
    yield google
    assert google.refused == []


def checks(google, plan=PLAN):
    return list(before(json.dumps(plan).encode(), "plan.json", google))


def test_where_all_is_there_each_line_says_so(google):
    assert [check.line for check in checks(google) if check.verdict is not Verdict.OK] == []
    # The status page's secret comes with the apply.
    assert checks(google)[-1].told == "has no version yet: give database_urls with the apply"


def changed(url, *path, to):
    def change(google):
        at = google.documents[url]
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = to

    return change


BROKEN = {
    "an API that is off": (
        lambda google: google.documents[APIS]["services"].pop(),
        "APIs to begin with",
        "serviceusage is off",
        "gcloud services enable cloudresourcemanager.googleapis.com serviceusage.googleapis.com --project=p",
    ),
    "no rights": (
        lambda google: google.documents.update({PERMISSIONS: {}}),
        "your permissions",
        "lacks artifactregistry.repositories.create",
        "roles/owner",
    ),
    "no agent": (
        changed(
            POLICY, "bindings", 1, "members", to=["serviceAccount:service-18@gcp-sa-eventarc.iam.gserviceaccount.com"]
        ),
        "Eventarc's service agent",
        "lacks roles/eventarc.serviceAgent",
        "--member=serviceAccount:service-17@gcp-sa-eventarc.iam.gserviceaccount.com --role=roles/eventarc.serviceAgent",
    ),
    "an agent under a condition": (
        changed(POLICY, "bindings", 1, "condition", to={"expression": "false"}),
        "Eventarc's service agent",
        "lacks roles/eventarc.serviceAgent",
        "gcloud beta services identity create",
    ),
    "no instance": (
        lambda google: google.documents.pop(INSTANCE),
        "instance reco",
        "does not exist",
        "cloud_sql.instance",
    ),
    "an old one": (changed(INSTANCE, "databaseVersion", to="POSTGRES_14"), "instance reco", "POSTGRES_14", "Upgrade"),
    "another kind": (changed(INSTANCE, "databaseVersion", to="MYSQL_8_0"), "instance reco", "MYSQL_8_0", "Upgrade"),
    "one that is off": (changed(INSTANCE, "state", to="SUSPENDED"), "instance reco", "SUSPENDED", "Start it"),
    "one elsewhere": (changed(INSTANCE, "region", to="us-east1"), "instance reco", "is in us-east1", "Set region"),
    "no private address": (
        changed(INSTANCE, "ipAddresses", to=[{"type": "PRIMARY"}]),
        "instance reco",
        "no private address",
        "--network=",
    ),
    "another limit": (
        changed(INSTANCE, "settings", "databaseFlags", 0, "value", to="50"),
        "instance reco",
        "max_connections is 50",
        "Set cloud_sql.connection_limit = 50",
    ),
    "no subnetwork": (lambda google: google.documents.pop(SUBNETWORK), "subnetwork functions", "not exist", "direct"),
    "a small one": (changed(SUBNETWORK, "ipCidrRange", to="10.1.0.0/28"), "subnetwork functions", "/28", "/26"),
    "a secret that is off": (
        changed(SECRET, "state", to="DESTROYED"),
        "secret reco_database_url",
        "DESTROYED",
        "gcloud secrets versions add reco_database_url --project=p --data-file=-",
    ),
}


@pytest.mark.parametrize(("strike", "about", "told", "remedy"), BROKEN.values(), ids=BROKEN)
def test_what_an_apply_would_stop_at(google, strike, about, told, remedy):
    strike(google)
    (found,) = [check for check in checks(google) if check.verdict is Verdict.WRONG]
    assert (found.about, told in found.told, remedy in found.remedy) == (about, True, True), found.line
    assert incomplete(found.remedy) == []


def test_an_instance_that_takes_no_logins_of_accounts(google):
    plan = copy.deepcopy(PLAN)
    plan["variables"]["database_iam"] = {"value": {"host": "10.0.0.2", "database": "reco"}}
    (found,) = [check for check in checks(google, plan) if check.verdict is not Verdict.OK]
    assert "takes no logins of accounts" in found.told
    patch = "gcloud sql instances patch reco --project=p --database-flags="
    assert found.remedy == f"{patch}max_connections=100,cloudsql.iam_authentication=on"
    google.documents[INSTANCE]["settings"]["databaseFlags"].append({"name": "pgaudit.log", "value": "ddl,write"})
    (found,) = [check for check in checks(google, plan) if check.verdict is not Verdict.OK]
    listed = "'^~^max_connections=100~pgaudit.log=ddl,write~cloudsql.iam_authentication=on'"
    assert found.remedy == f"{patch}{listed}"


def test_a_subnetwork_of_a_host_project_in_another_region(google):
    plan = copy.deepcopy(PLAN)
    path = "projects/host/regions/us-east1/subnetworks/functions"
    plan["variables"]["vpc"]["value"]["direct"]["subnetwork"] = path
    google.documents[f"{planned.COMPUTE}/{path}"] = {"ipCidrRange": "10.1.0.0/24"}
    (found,) = [check for check in checks(google, plan) if check.verdict is not Verdict.OK]
    assert "is not in europe-west1" in found.told


def test_an_instance_without_the_flag_is_told_to_be_looked_at(google):
    google.documents[INSTANCE]["settings"] = {}
    (found,) = [check for check in checks(google) if check.about == "instance reco"]
    assert (found.verdict, "SHOW max_connections says 100" in found.told) == (Verdict.OK, True)


def test_what_this_account_may_not_look_at_is_unknown(google):
    google.status[INSTANCE] = 403
    assert [check.about for check in checks(google) if check.verdict is Verdict.UNKNOWN] == ["instance reco"]


@pytest.mark.parametrize("text", [b"{}", b"no JSON", b'{"variables": {"project_id": {"value": 1}}}'])
def test_another_file_is_refused(text):
    with pytest.raises(BadRequestError, match="terraform show -json"):
        list(before(text, "plan.json"))


def test_the_command_takes_a_plan_alone(tmp_path):
    file = tmp_path / "plan.json"
    file.write_text("{}")
    assert "terraform show -json" in recosync("doctor", "--plan", file).err
    ran = recosync("doctor", "--plan", file, "--rehearse")
    assert (ran.code, "--plan takes no other option" in ran.err) == (2, True)
