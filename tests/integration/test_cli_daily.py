"""The daily flow from the command line, against the emulators: the old job's lines, and what is new."""

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest

from shared.daily import extract, swap_views
from shared.db import locks
from shared.db.locks import Lock
from shared.db.postgres import connect
from shared.operate import patience
from shared.operate.cli.output import Exit
from shared.services import Services
from tests.kit.background import Background, wait_for
from tests.kit.commands import old_commands, recosync
from tests.kit.sessions import one, users
from tests.kit.snapshots import bookings, day, upload
from tests.kit.uploads import Upload, arrive

TABLE, VIEW = "non_recommendable_items_data", "non_recommendable_items_mv"
SOURCE = "ml_reco_local.user_booked_item"
ELSEWHERE = "elsewhere"


@pytest.fixture
def source(here):
    """Fill the table's source with so many users, in three parts for 2,500."""

    def fill(count: int) -> None:
        here.bigquery_client.query(
            f"CREATE OR REPLACE TABLE {SOURCE} AS"
            " SELECT CONCAT('user-', CAST(n AS STRING)) AS user_id, 'item' AS item_id"
            f" FROM UNNEST(GENERATE_ARRAY(1, {count})) AS n"
        ).result()

    fill(2_500)
    return fill


@pytest.fixture
def elsewhere(here):
    """A place that fires no events."""
    bucket = here.storage_client.create_bucket(f"{here.project}-{ELSEWHERE}")
    yield f"gs://{bucket.name}/recommendation_exports"
    for blob in bucket.list_blobs():
        blob.delete()
    bucket.delete()


def published(database) -> object:
    return one(database, "SELECT max(publication) FROM recosync.publication WHERE table_name = %s", TABLE)


def placeholders(path: str) -> Mapping[str, str]:
    return {
        "table_name": TABLE,
        "view_name": VIEW,
        "bucket_path": path,
        "bucket-name": path.removeprefix("gs://").partition("/")[0],
        "YYYYMMDD": "20260105",
        "0-23": "7",
    }


def old(path: str, command: str) -> list[str]:
    (line,) = (line for line in old_commands(**placeholders(path)) if line[0] == command)
    return line


@pytest.mark.matrix
@pytest.mark.parametrize(
    "commands",
    [("export", "import-table", "materialize"), ("export-gcs", "import-to-gcloud", "materialize-gcloud")],
    ids=" ".join,
)
def test_the_old_three_lines_bring_a_table_to_its_view(here, source, elsewhere, database, commands):
    export, import_, materialize = (old(elsewhere, command) for command in commands)
    for line in (export, import_, materialize):
        ran = recosync(*line)
        assert (ran.code, ran.err) == (0, "")
        if line is import_:
            # The export has done it, because nobody else would.
            assert "published already" in ran.out
    assert one(database, f"SELECT count(*) FROM {TABLE}") == 2_500
    assert one(database, f"SELECT count(*) FROM {VIEW}") == 2_500
    assert one(database, "SELECT count(*) FROM recosync.publication") == 1


def test_where_events_fire_an_export_leaves_the_import_to_the_functions(here, source, database):
    ran = recosync(*old(f"gs://{here.bucket}/recommendation_exports", "export"))
    assert (ran.code, ran.err) == (0, "")
    assert "The functions import it" in ran.out
    assert published(database) is None
    assert recosync("import", TABLE, "--date", "20260105").code == 0
    assert one(database, "SELECT count(*) FROM recosync.publication") == 1


def test_without_a_date_the_latest_complete_snapshot_is_imported(services, database):
    upload(services, 1, ["ann"]).manifest()
    upload(services, 2, ["bob"]).manifest()
    upload(services, 3, ["eve"])  # its manifest is still to come
    assert recosync("import", TABLE).code == 0
    assert users(database) == ["bob"]


def test_a_snapshot_that_is_named_is_published_even_if_readers_have_a_newer_one(services, database):
    for number, user in ((1, "ann"), (2, "bob")):
        upload(services, number, [user]).manifest()
    assert recosync("import", TABLE).code == 0
    ran = recosync("import", TABLE, "--date", f"{day(1).at:%Y%m%d}", "--json")
    assert ran.code == 0
    assert ran.json["imported"] == [
        {
            "table": TABLE,
            "snapshot_id": str(day(1)),
            "status": "published",
            "publication": published(database),
            "published_snapshot_id": str(day(1)),
            "reasons": [],
            "views_behind": [VIEW],
        }
    ]
    assert users(database) == ["ann"]


def test_one_that_nobody_named_does_not_go_back(services, database, elsewhere):
    """The latest of another place may be older than what readers see."""
    arrive(services, upload(services, 2, ["bob"]).manifest())
    bucket, _, prefix = elsewhere.removeprefix("gs://").partition("/")
    there = Services.from_environment({**os.environ, "EXPORT_BUCKET": bucket, "EXPORT_PREFIX": prefix})
    Upload(there, TABLE, day(1), [])
    other = Upload(there, TABLE, day(1))
    other.part(bookings(there, ["ann"]))
    other.manifest()
    ran = recosync("import", TABLE, "--bucket-path", elsewhere)
    assert ran.code == Exit.HELD
    command = f"recosync import {TABLE} --snapshot {day(1)} --bucket-path {elsewhere}"
    assert command in ran.err
    assert users(database) == ["bob"]
    assert recosync(*command.split()[1:]).code == 0
    assert users(database) == ["ann"]


def test_a_day_without_a_complete_snapshot_is_told(services):
    ran = recosync("import", TABLE, "--date", "20260105")
    assert ran.code == Exit.USAGE
    assert f"no complete snapshot of 20260105 stands in gs://{services.settings.bucket}/" in ran.err


def test_a_snapshot_beyond_its_limits_is_held_and_the_commands_are_told(services, database):
    everybody = [f"user-{n}" for n in range(3_000)]
    arrive(services, upload(services, 1, everybody).manifest())
    upload(services, 2, everybody[:1_000]).manifest()
    ran = recosync("import", TABLE)
    assert ran.code == Exit.HELD
    assert f"recosync approve {TABLE} {day(2)}" in ran.err
    assert "1,000 rows, 66.7% fewer than the 3,000 published" in ran.err
    assert len(users(database)) == 3_000


def test_a_table_that_fails_for_good_leaves_the_others_alone(services, database):
    broken = Upload(services, "enriched_user", day(1))
    broken.part(b"no Parquet")
    broken.manifest()
    upload(services, 1, ["ann"]).manifest()
    ran = recosync("import", "enriched_user", TABLE)
    assert ran.code == Exit.FAILED
    assert len(ran.err.splitlines()) == 1
    assert users(database) == ["ann"]


def test_who_looks_at_a_terminal_sees_a_bar(services):
    upload(services, 1, ["ann"]).manifest()
    terminal, ours = pty.openpty()
    command = [sys.executable, "-m", "shared.operate", "import", TABLE]
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=ours, text=True) as process:
        os.close(ours)
        shown = b""
        with suppress(OSError):  # the end of a terminal
            while piece := os.read(terminal, 4096):
                shown += piece
        out, _ = process.communicate()
    os.close(terminal)
    assert (process.returncode, "published" in out) == (0, True)
    assert f"importing {TABLE}".encode() in shown
    assert b"1/1" in shown


def test_materialize_waits_for_the_function_that_builds_the_same_view(here, services, monkeypatch):
    paused = threading.Event()
    monkeypatch.setattr(patience, "pause", paused.set)
    arrive(services, upload(services, 1, ["ann"]).manifest())
    builder = replace(services.settings, life=540)
    with connect(builder, "mv_refresh") as other:
        other.execute("SELECT pg_advisory_lock(%s)", [Lock.view(VIEW).key])
        pid, role = other.info.backend_pid, other.info.user
        since = one(other, "SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()")
        waiting = Background(lambda: recosync("materialize", VIEW))
        wait_for(paused.is_set)
        assert waiting.running
        other.execute("SELECT pg_advisory_unlock(%s)", [Lock.view(VIEW).key])
        ran = waiting.result()
    assert ran.code == 0
    who = f"pid {pid}, role {role}, recosync 540s mv_refresh, since {since:%Y-%m-%d %H:%M:%S} UTC"
    assert ran.err == f"waiting: recosync view {VIEW}: another worker is at it: {who} (pid {pid} is idle)\n"


def test_materialize_names_the_publish_that_it_waits_for_at_once(here, services, database):
    arrive(services, upload(services, 1, ["ann"]).manifest())
    with connect(replace(services.settings, life=540), "gcs_import") as publish:
        publish.execute("SELECT pg_advisory_lock(%s)", [Lock.publication(TABLE).key])
        pid = publish.info.backend_pid
        waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        waiting = Background(lambda: recosync("materialize", VIEW))
        wait_for(lambda: one(database, waits) == 1)
    ran = waiting.result()
    assert ran.code == 0
    assert ran.err.startswith(f"waiting: recosync publication {TABLE}: others hold it: pid {pid}, role ")
    assert "recosync 540s gcs_import, since " in ran.err
    assert len(ran.err.splitlines()) == 1


def test_an_import_names_the_reader_that_keeps_its_publish_from_coming(here, services, monkeypatch):
    monkeypatch.setattr(locks, "SHORT", 0)
    arrive(services, upload(services, 1, ["ann"]).manifest())
    upload(services, 2, ["bob"]).manifest()
    told = threading.Event()
    tell = locks.tell
    monkeypatch.setattr(locks, "tell", lambda waited: (tell(waited), told.set()))
    with psycopg.connect(here.dsn, application_name="a report") as long:
        assert users(long) == ["ann"]
        pid = long.info.backend_pid
        importing = Background(lambda: recosync("import", TABLE))
        wait_for(told.is_set)
    ran = importing.result()
    assert ran.code == 0
    (line,) = ran.err.splitlines()
    assert line.startswith(f"waiting: public.{TABLE}: readers hold it: pid {pid}, role ")
    assert "a report, since " in line
    assert line.endswith(f"(pid {pid} is idle in transaction)")


def test_materialize_names_the_old_transaction_that_reads_the_view(here, services, monkeypatch):
    paused = threading.Event()
    monkeypatch.setattr(patience, "pause", paused.set)
    monkeypatch.setattr(swap_views, "READERS_PATIENCE", 0)
    arrive(services, upload(services, 1, ["ann"]).manifest())
    assert recosync("materialize", VIEW).code == 0
    with psycopg.connect(here.cloud.postgres.dsn(here.name, "api"), application_name="a report") as long:
        assert users(long, VIEW) == ["ann"]
        waiting = Background(lambda: recosync("materialize", VIEW))
        wait_for(paused.is_set)
        pid = long.info.backend_pid
    ran = waiting.result()
    assert ran.code == 0
    told = ran.err.splitlines()[0]
    assert f"a transaction older than 0 s reads it: pid {pid}, role api, a report, since " in told
    assert told.endswith(f"(pid {pid} is idle in transaction)")
    assert "SELECT" not in ran.err


def test_the_log_is_on_standard_error_and_only_if_asked_for(services):
    upload(services, 1, ["ann"]).manifest()
    ran = recosync("import", TABLE, "--json", "--verbose")
    assert json.loads(ran.out)["imported"][0]["status"] == "published"
    assert any("INFO part staged" in line and f"table={TABLE}" in line for line in ran.err.splitlines())
    assert recosync("import", TABLE, "--json").err == ""


def test_materialize_rebuilds_what_is_fresh(services, database):
    arrive(services, upload(services, 1, ["ann"]).manifest())
    ages = []
    for _ in range(2):
        assert recosync("materialize", VIEW).code == 0
        ages.append(one(database, "SELECT coalesce(rebuilt_at, built_at) FROM recosync.view_build"))
    assert ages[0] < ages[1]


def test_a_view_of_a_table_that_was_never_published_can_not_be_rebuilt(services):
    ran = recosync("materialize", VIEW)
    assert ran.code == Exit.USAGE
    assert f"reads {TABLE}, never published yet" in ran.err


def test_views_that_were_rebuilt_are_told_with_the_failure_of_another(services):
    arrive(services, upload(services, 1, ["ann"]).manifest())
    ran = recosync("materialize", VIEW, "iris_france_mv", "--json")
    assert ran.code == Exit.USAGE
    assert [view["view"] for view in ran.json["rebuilt"]] == [VIEW]
    assert "never published yet" in ran.json["error"]


def test_an_unknown_table_or_view_is_told_with_those_that_there_are(services):
    for command in ("export", "import", "plan", "materialize"):
        ran = recosync(command, "nothing")
        assert ran.code == Exit.USAGE
        assert ran.err.startswith("recosync: nothing: is no ")


def test_a_plan_tells_rows_and_bytes_and_moves_nothing(here, source, services, database):
    plan = recosync("plan", TABLE, "--json")
    assert plan.code == 0
    (table,) = plan.json["tables"]
    assert (table["source"], table["source_rows"], table["rows_to_move"]) == ("never exported", 2_500, 2_500)
    assert list(services.storage.objects(here.bucket, "")) == []
    assert one(database, "SELECT to_regnamespace('recosync')") is None
    assert "2,500" in recosync("plan", TABLE).out


def test_a_plan_says_when_there_is_nothing_to_move(source, monkeypatch):
    monkeypatch.setattr(extract, "CLOCKS_DIFFER", timedelta())
    assert recosync("export", TABLE).code == 0
    assert recosync("import", TABLE).code == 0
    (table,) = recosync("plan", TABLE, "--json").json["tables"]
    assert (table["source"], table["rows_to_move"], table["usd"]) == ("unchanged", 0, 0)
    source(2_600)
    (table,) = recosync("plan", TABLE, "--json").json["tables"]
    assert (table["source"], table["source_rows"], table["rows_to_move"]) == ("changed", 2_600, 2_600)


def test_a_plan_of_a_view_knows_no_rows(here):
    here.bigquery_client.query(f"CREATE OR REPLACE VIEW {SOURCE} AS SELECT 'ann' AS user_id, 'x' AS item_id").result()
    (table,) = recosync("plan", TABLE, "--json").json["tables"]
    assert (table["source_rows"], table["rows_to_move"]) == (None, None)


def test_a_source_that_is_not_as_the_catalog_says_fails_an_export_for_good(here, source):
    here.bigquery_client.query(f"CREATE OR REPLACE TABLE {SOURCE} AS SELECT 'ann' AS user_id").result()
    ran = recosync("export", TABLE)
    assert ran.code == Exit.FAILED
    assert "column item_id is missing" in ran.err
