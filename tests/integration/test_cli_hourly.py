"""The hourly flow from the command line: the old job's lines, loads alone, ranges, and a recount."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.db.locks import Lock
from shared.gcp.bigquery import BigQuery
from shared.hourly import run as hourly
from shared.hourly.manifest import State
from shared.names import Hour
from shared.operate import backfill, patience, verify
from shared.operate.cli.output import Bar, Exit
from shared.services import HourlyServices
from tests.kit import clocks
from tests.kit.background import Background, wait_for
from tests.kit.commands import old_commands, recosync
from tests.kit.logs import Log, at, open_log
from tests.kit.logs import named as body_of
from tests.kit.sessions import held, one

LOG = "past_offer_context"
#: How a run shows in the server's list of sessions.
RUN = "recosync 86400s hourly export"


@pytest.fixture
def log(here, database, monkeypatch):
    """The API's log in a project whose flow owns hour 10 and those after it."""
    monkeypatch.setenv("HOURLY_START", str(Hour(at(10))))
    with open_log(here, database) as log:
        yield log


def named(hour: int) -> list[str]:
    return ["--date", f"{at(hour):%Y%m%d}", "--hour", str(at(hour).hour)]


def exported_only(log: Log, hour: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave an hour that stands in Cloud Storage and was not loaded."""

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(BigQuery, "load", killed)
        with pytest.raises(Killed):
            log.call(hour + 1, **body_of(hour))
    assert log.state(hour) == State.EXPORTED


OLD = [line for line in old_commands() if line[0].startswith("hourly")]


@pytest.mark.matrix
@pytest.mark.parametrize("line", OLD, ids=" ".join)
def test_an_old_line_brings_its_hour_to_bigquery(log, line):
    """The place is the environment's own or another; the BigQuery table is the same."""
    filled = {"<bucket-name>": log.here.hourly_bucket, "<YYYYMMDD>": f"{at(12):%Y%m%d}", "<0-23>": "12"}
    words = [next((word.replace(k, v) for k, v in filled.items() if k in word), word) for word in line]
    keys = log.add(12, rows=3)
    gap = log.add(11, rows=2)
    if words[0] == "hourly_load_gcs_to_bigquery":
        assert recosync(*["hourly_export_process", *words[1:]]).code == 0
    ran = recosync(*words)
    assert (ran.code, ran.err) == (0, "")
    moved = {12: keys} | ({11: gap} if "--recover-missed" in words else {})
    assert log.bigquery() == moved
    gone = {key for hour in moved.values() for key in hour} if "--delete-from-source" in words else set()
    assert log.source() == sorted({*keys, *gap} - gone)


def test_a_load_takes_an_exported_hour_to_its_end(log, monkeypatch):
    keys = log.add(12, rows=3)
    exported_only(log, 12, monkeypatch)
    log.add(12)  # late: a load does not look for it
    ran = recosync("hourly-load", *named(12), "--json")
    assert ran.code == 0
    assert [(hour["state"], hour["rows"]) for hour in ran.json["hours"]] == [("done", 3)]
    assert log.bigquery() == {12: keys}


def test_exported_rows_that_are_gone_everywhere_before_their_load_are_told_and_no_empty_hour(log, monkeypatch):
    log.add(12, rows=3)
    exported_only(log, 12, monkeypatch)
    for name in log.parts(12):
        log.blob(name).delete()
    log.database.execute("DELETE FROM past_offer_context")
    ran = recosync("hourly", *named(12))
    assert ran.code == Exit.FAILED
    assert "objects of it are gone before they were loaded, and PostgreSQL has 0 of their 3 rows" in ran.err
    assert log.state(12) == "failed"
    keys = log.add(12, rows=3)
    assert recosync("hourly", *named(12)).code == 0
    assert (log.state(12), log.bigquery()) == ("done", {12: keys})


def test_a_load_of_an_hour_that_was_never_exported_says_so_and_changes_nothing(log):
    log.add(12)
    before = log.everything()
    ran = recosync("hourly-load", *named(12))
    assert ran.code == Exit.FAILED
    assert ran.err == f"recosync: hour {Hour(at(12))}: nothing of it was exported yet. Export it first\n"
    assert log.state(12) is None
    assert log.everything()[1:] == before[1:]


def test_a_backfill_takes_as_many_runs_as_it_needs(log, monkeypatch):
    monkeypatch.setenv("HOURLY_MAX_HOURS", "2")
    keys = {hour: log.add(hour) for hour in (12, 13, 15, 20)}
    ran = recosync("backfill", LOG, "--from", Hour(at(12)), "--until", Hour(at(20)), "--json")
    assert ran.code == 0
    assert len(ran.json["hours"]) == 8
    assert ran.json["remaining"] == 0
    assert log.bigquery() == {hour: keys[hour] for hour in (12, 13, 15)}
    assert recosync("backfill", LOG, "--from", f"{at(0):%Y%m%d}", "--until", f"{at(24):%Y%m%d}").code == 0
    assert log.bigquery() == keys


def test_a_backfill_with_deletions_goes_on_until_the_rows_are_gone(log, monkeypatch):
    """A run deletes for as long as its life is, after its exports."""
    for hour in (12, 13, 14):
        log.add(hour, 2)
    asked = hourly.delete_asked

    def slow(run, hour, record):
        after = asked(run, hour, record)
        object.__setattr__(run, "deadline", 0)
        return after

    monkeypatch.setattr(hourly, "delete_asked", slow)
    ran = recosync("backfill", LOG, "--from", Hour(at(12)), "--until", Hour(at(15)), "--delete-from-source", "--json")
    assert ran.code == 0
    told = [
        (each["hour"], each["status"], each["state"], each["new_rows"], each["deleted"]) for each in ran.json["hours"]
    ]
    assert told == [(str(Hour(at(hour))), "exported", "deleted", 2, 2) for hour in (12, 13, 14)]
    assert log.source() == []


def test_a_backfill_tells_of_each_hour_as_it_is_done(log, monkeypatch):
    """Not at the end of the run alone, which may take minutes."""
    moves = []
    monkeypatch.setattr(Bar, "advance", lambda *_: moves.append(len(log.bigquery())))
    monkeypatch.setattr(Bar, "reach", lambda _, done: moves.append(done))
    for hour in (12, 13, 14):
        log.add(hour)
    assert recosync("backfill", LOG, "--from", Hour(at(12)), "--until", Hour(at(15))).code == 0
    assert moves == [1, 2, 3, 3]


def test_a_backfill_waits_while_the_function_is_at_the_log(log, monkeypatch):
    monkeypatch.setattr(patience, "PAUSE", 0.05)
    keys = log.add(12)
    with held(log.here.dsn, Lock.hourly(LOG)) as release:
        waiting = Background(lambda: recosync("backfill", LOG, "--from", Hour(at(12)), "--until", Hour(at(13))))
        wait_for(lambda: one(log.database, "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", RUN))
        assert waiting.running
        release(Lock.hourly(LOG))
        assert waiting.result().code == 0
    assert log.bigquery() == {12: keys}


def test_a_backfill_goes_on_after_an_hour_that_fails_for_good_and_says_so(log):
    keys = log.add(13)
    log.add(12)
    assert recosync("hourly", *named(14)).code == 0
    log.load_by_hand(12, 999)
    ran = recosync("backfill", LOG, "--from", Hour(at(12)), "--until", Hour(at(14)))
    assert ran.code == Exit.FAILED
    assert f"recosync: hour {Hour(at(12))} of " in ran.err
    assert log.bigquery()[13] == keys


def test_a_backfill_that_fails_halfway_tells_what_it_did_before(log, monkeypatch):
    monkeypatch.setenv("HOURLY_MAX_HOURS", "2")
    services = HourlyServices.from_environment()
    request = backfill.parse(services, LOG, Hour(at(12)), Hour(at(16)), delete=False)
    answer = backfill.run(services, request, lambda _: log.database.execute(f"DROP TABLE {LOG}"), print)
    assert [hour["hour"] for hour in answer["hours"]] == [str(Hour(at(12))), str(Hour(at(13)))]
    (failed,) = answer["failed"]
    assert failed["hour"] == answer["next"] == str(Hour(at(14)))
    assert answer["remaining"] == 2
    ran = recosync("backfill", LOG, "--from", Hour(at(14)), "--until", Hour(at(16)), "--json")
    assert ran.json == {"error": failed["error"], "retryable": failed["retryable"]}


def test_a_backfill_of_a_daily_table_says_what_there_is_instead(log):
    ran = recosync("backfill", "iris_france", "--from", "20260101", "--until", "20260102")
    assert ran.code == Exit.USAGE
    assert "recosync import iris_france --date" in ran.err


def test_hours_that_have_not_ended_are_told(log):
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    ran = recosync("hourly", "--date", f"{tomorrow:%Y%m%d}", "--hour", 5)
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert "has not ended yet" in ran.err


def test_another_run_at_the_log_is_no_failure_but_a_reason_to_come_back(log):
    with held(log.here.dsn, Lock.hourly(LOG)):
        ran = recosync("hourly", *named(12))
    assert ran.code == Exit.RETRY
    assert "another worker is at it" in ran.err


def days(first: int = 0, last: int = 0) -> list[str]:
    return ["--from", f"{at(24 * first):%Y%m%d}", "--to", f"{at(24 * last):%Y%m%d}"]


def export_day(until: int = 24) -> None:
    """Export the log's first hours, so that none of them is missing."""
    assert recosync("backfill", LOG, "--from", Hour(at(10)), "--until", Hour(at(until))).code == 0


def test_a_recount_of_what_agrees_says_so(log):
    log.add(12, rows=3)
    export_day()
    ran = recosync("verify", LOG, *days(), "--json")
    assert ran.code == 0
    assert ran.json["agrees"] is True
    assert [(day["manifest_rows"], day["bigquery_rows"]) for day in ran.json["days"]] == [(3, 3)]


def test_a_recount_finds_what_bigquery_lacks_or_has_too_much(log):
    log.add(12, rows=3)
    log.add(13)
    export_day()
    log.erase_in_bigquery(12)
    log.load_by_hand(14, 999)
    ran = recosync("verify", LOG, *days())
    assert ran.code == Exit.DIFFERS
    assert ran.err.splitlines() == [
        f"recosync: {LOG}: {Hour(at(12))}: BigQuery holds 0 rows, 3 were verified",
        f"recosync: {LOG}: {Hour(at(14))}: BigQuery holds 1 row, 0 were verified",
    ]


def test_a_recount_finds_as_many_rows_of_other_keys(log):
    log.add(12)
    export_day()
    log.erase_in_bigquery(12)
    log.load_by_hand(12, 999)
    ran = recosync("verify", LOG, *days(), "--json")
    assert ran.code == Exit.DIFFERS
    assert ran.json["days"][0]["differences"] == [f"{Hour(at(12))}: BigQuery holds as many rows, but of other keys"]


def test_rows_of_hours_before_the_first_owned_are_others(log):
    log.add(12)
    export_day()
    log.load_by_hand(5, 999)
    ran = recosync("verify", LOG, *days(), "--json")
    assert ran.code == 0
    assert [(day["manifest_rows"], day["bigquery_rows"]) for day in ran.json["days"]] == [(1, 1)]


def test_an_hour_before_the_first_owned_that_was_exported_by_name_is_counted(log):
    log.add(5)
    for hour in (5, 12):
        assert recosync("hourly", *named(hour)).code == 0
    log.erase_in_bigquery(5)
    ran = recosync("verify", LOG, *days())
    assert ran.code == Exit.DIFFERS
    assert f"{Hour(at(5))}: BigQuery holds 0 rows, 1 were verified" in ran.err


def test_an_hour_that_nobody_exported_is_a_difference(log):
    for hour in (10, 11, 13):
        assert recosync("hourly", *named(hour)).code == 0
    ran = recosync("verify", LOG, *days())
    assert ran.code == Exit.DIFFERS
    (line,) = ran.err.splitlines()
    command = f"recosync backfill {LOG} --from {Hour(at(12))} --until {Hour(at(24))}"
    assert line.endswith(f"{Hour(at(12))}: 11 hours were never exported from here on. To export them: {command}")
    assert recosync(*command.split()[1:]).code == 0
    assert recosync("verify", LOG, *days()).code == 0


def test_an_owned_day_without_a_manifest_is_a_difference(log):
    log.add(12)
    export_day(until=48)
    log.manifest().delete()
    ran = recosync("verify", LOG, *days(-1, 1))
    assert ran.code == Exit.DIFFERS
    (line,) = ran.err.splitlines()
    command = f"recosync hourly --table-name {LOG} --date {at(0):%Y%m%d}"
    assert line == (
        f"recosync: {LOG}: {at(0):%Y%m%d}: there is no manifest, BigQuery holds 1 row. To export it: {command}"
    )
    assert recosync(*command.split()[1:]).code == 0
    assert recosync("verify", LOG, *days(-1, 1)).code == 0


@pytest.mark.parametrize("ago", [-24, 0, 1, 2])
def test_hours_that_may_be_on_their_way_are_not_missing(log, monkeypatch, ago):
    now = datetime.now(UTC)
    monkeypatch.setattr(verify, "datetime", clocks.stopped(now))
    monkeypatch.setenv("HOURLY_START", str(Hour(now - timedelta(hours=ago))))
    ran = recosync("verify", LOG, "--json")
    assert (ran.code, ran.json["days"]) == (0, [])


def test_a_log_of_which_nothing_says_since_when_lacks_nothing(log, monkeypatch):
    monkeypatch.delenv("HOURLY_START")
    assert recosync("verify", LOG).code == 0


def test_a_damaged_manifest_is_a_difference(log):
    log.add(12)
    assert recosync("hourly", *named(12)).code == 0
    log.manifest().upload_from_string(b"nothing")
    ran = recosync("verify", LOG, *days())
    assert ran.code == Exit.DIFFERS
    assert "cut off or edited by hand" in ran.err


def test_a_recount_finds_rows_of_an_empty_hour_in_the_bucket_and_in_the_source(log):
    log.add(12)
    export_day()
    (name,) = log.parts(12)
    bucket = log.here.storage_client.bucket(log.here.hourly_bucket)
    bucket.copy_blob(log.blob(name), bucket, log.folder + name.replace("hour=12", "hour=13"))
    log.add(14, 2)
    ran = recosync("verify", LOG, *days())
    assert ran.code == Exit.DIFFERS
    in_bucket, in_source = ran.err.splitlines()
    told = "its folder has 1 object that no batch accounts for: "
    assert in_bucket.startswith(f"recosync: {LOG}: {Hour(at(13))}: {told}")
    export = f"recosync hourly --table-name {LOG} --date {at(14):%Y%m%d} --hour 14"
    held = "is recorded as empty, the source holds 2 rows. To export them"
    assert in_source == f"recosync: {LOG}: {Hour(at(14))}: {held}: {export}"
    log.add(12, 3)
    late, *_ = recosync("verify", LOG, *days()).err.splitlines()
    assert f"{Hour(at(12))}: 1 were expected there, the source holds 4 rows. To export them: " in late
