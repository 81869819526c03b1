"""The daily and the hourly path with the faults that a user can cause, in the emulated cloud and in a real project:
`make e2e` runs this module there. Each test leaves readers with what BigQuery holds.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg import conninfo, sql

from local import context
from shared.names import SnapshotId
from shared.services import Services
from tests.e2e.hourly_system import HOUR, Log
from tests.e2e.places import DEPLOYMENT, Emulated, Real
from tests.e2e.sources import SOURCES
from tests.e2e.system import CATALOG, System
from tests.kit.commands import recosync
from tests.kit.uploads import Upload, rows

#: The one that has no key, and whose rows nothing else depends on.
TABLE = "non_recommendable_items_data"


@pytest.fixture(scope="module")
def place(request):
    if DEPLOYMENT in os.environ:
        yield Real()
        return
    cloud = request.getfixturevalue("cloud")
    first_hour = f"{datetime.now(UTC) - 3 * HOUR:%Y%m%dT%H}"
    with cloud.deploy("e2epaths", env={"HOURLY_START": first_hour}) as here, pytest.MonkeyPatch.context() as once:
        for name, value in here.env.items():
            once.setenv(name, value)
        context.create(here.dsn)
        yield Emulated(here)


@pytest.fixture(scope="module")
def system(place, days):
    """With every table published once."""
    made = System(place.bigquery_client, place.env, place.dsn)
    done("migrate", "--reader", "status")
    made.fill(next(days))
    done("export", "--force", "--wait")
    return made


@pytest.fixture(scope="module")
def services(place):
    return Services.from_environment(os.environ)


@pytest.fixture(scope="module")
def log(place, system):
    """The API's log, in hours that have ended."""
    this_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return Log(place, None, None, this_hour - 2 * HOUR)


@pytest.fixture(autouse=True)
def another_second(system):
    """A snapshot's id is of a second: two that are made in one are one."""
    time.sleep(1)


def done(*arguments):
    """Run a command that has to succeed."""
    ran = recosync(*arguments)
    assert ran.code == 0, ran.out + ran.err
    return ran


def newest(system, table):
    return system.publications(table)[-1]


def test_the_scheduled_job_brings_every_row_to_the_views(place, system, days):
    before = {table: newest(system, table) for table in CATALOG.tables}
    system.fill(next(days))
    place.call("bq_export")
    place.wait(lambda: all(newest(system, table) > snapshot for table, snapshot in before.items()))
    snapshots = {table: newest(system, table) for table in CATALOG.tables}
    place.wait(lambda: system.refreshed(snapshots))
    assert system.agrees()


def test_a_forced_export_is_followed_to_the_readers_and_verified(system, days):
    system.fill(next(days))
    done("export", "iris_france", "--force", "--wait")
    assert system.agrees("iris_france")
    done("verify", "iris_france")
    done("export", "--force", "--wait")


def test_a_damaged_object_fails_its_snapshot_alone(place, system, services):
    table = "enriched_user"
    before = system.publications(table)
    upload = Upload(services, table, SnapshotId(datetime.now(UTC)))
    part = upload.part(b"PAR1, and then nothing of Parquet", rows=7)
    upload.manifest()
    place.wait(lambda: failures(system, part.name))
    assert system.publications(table) == before
    assert system.agrees(table)
    done("acknowledge", table, "--reason", "a test damaged it")


def failures(system, subject):
    return system.select(f"SELECT message FROM recosync.failure WHERE position('{subject}' IN subject) > 0")


def test_a_manifest_and_a_message_that_come_again_change_nothing(place, system, services):
    """Nor does another manifest of what is published."""
    done("export", TABLE, "--force", "--wait")
    snapshot, before = newest(system, TABLE), system.publications(TABLE)
    upload = Upload(services, TABLE, SnapshotId.parse(snapshot))
    manifest = place.storage_client.bucket(services.settings.bucket).blob(upload.folder.manifest)
    content = manifest.download_as_bytes()
    query = "SELECT publication::text FROM recosync.publication WHERE table_name = '{}' AND snapshot_id = '{}'"
    ((publication,),) = system.select(query.format(TABLE, snapshot))
    attributes = {"table": TABLE, "snapshot_id": snapshot, "publication": str(publication)}
    services.publisher.publish(services.settings.topic, attributes)
    upload.manifest()  # which names no parts
    manifest.upload_from_string(content)
    # Their events come before those of this one.
    done("export", TABLE, "--force", "--wait")
    assert system.publications(TABLE) == [*before, newest(system, TABLE)]
    assert system.agrees(TABLE)
    assert system.select("SELECT count(*) FROM recosync.building") == [(0,)]


def test_a_held_snapshot_waits_for_its_approval(system, days):
    table = "enriched_user"
    readers = system.target_rows(CATALOG.tables[table])
    source = f"{system.dataset(table)}.{CATALOG.tables[table].source.table}"
    query = SOURCES[table].format(day=next(days))
    system.bigquery.query(
        f"CREATE OR REPLACE TABLE {source} AS SELECT * REPLACE (CAST(NULL AS INT64) AS booking_cnt) FROM ({query})"
    ).result()
    ran = recosync("export", table, "--force", "--wait")
    assert ran.code == 4, ran.out + ran.err
    assert system.target_rows(CATALOG.tables[table]) == readers
    done("approve", table)
    assert system.agrees(table)


def test_events_that_the_database_refuses_come_again(place, system, services):
    """Nobody can log in while a snapshot arrives."""
    uploaded = {"user_id": [f"user-{i}" for i in range(1500)], "item_id": [f"item-{i}" for i in range(1500)]}
    upload = Upload(services, TABLE, SnapshotId(datetime.now(UTC)))
    database = sql.Identifier(str(conninfo.conninfo_to_dict(place.administrator)["dbname"]))
    with (
        psycopg.connect(place.dsn, autocommit=True) as loader,
        psycopg.connect(place.administrator, autocommit=True) as administrator,
    ):
        administrator.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT 0").format(database))
        try:
            # An instance may have a session from before.
            loader.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
            )
            upload.part(rows(TABLE, services, uploaded))
            upload.manifest()
            place.wait_until_tried()
        finally:
            administrator.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT -1").format(database))
    place.wait(lambda: newest(system, TABLE) == str(upload.snapshot))
    assert Counter(system.select(f"SELECT user_id, item_id FROM {TABLE}")) == Counter(
        zip(*uploaded.values(), strict=True)
    )
    time.sleep(1)  # ids are of seconds
    done("export", TABLE, "--force", "--wait")
    assert system.agrees(TABLE)


def test_hours_come_to_bigquery_and_late_rows_after_them(place, log):
    at = log.start
    log.write(at, 60)
    place.call("hourly_export")
    place.wait(lambda: exact(log, at))
    log.write(at, 7)
    place.call("hourly_export")
    place.wait(lambda: exact(log, at))
    assert len(log.in_bigquery(at)) == 67
    done("verify", "past_offer_context")


def exact(log, at):
    return Counter(log.in_bigquery(at)) == Counter(log.written[at].values())


def test_an_hour_is_deleted_from_postgres_once_bigquery_has_it(log):
    at = log.start + HOUR
    log.write(at, 60)
    done("hourly", "--date", f"{at:%Y%m%d}", "--hour", at.hour, "--delete-from-source")
    assert log.in_postgres(at) == {}
    assert exact(log, at)


def test_the_doctor_finds_all_well_and_a_row_of_every_type_travels(place, system):
    done("doctor", *place.doctors_options, "--api-role", "api", "--status-role", "status", "--rehearse")


def test_the_page_shows_how_things_stand(place, system):
    shown = place.page()
    assert {table["name"] for table in shown["tables"]} == CATALOG.tables.keys()
    assert shown["problems"] == []
