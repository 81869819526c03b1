"""Hours of the API's log while the function, PostgreSQL and Google Cloud fail: no row is lost, and none is doubled."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from local import context, hours
from local.cloud import Cloud, Granted
from local.functions import FLEET
from local.proxy import Answer, CutOffError, Forward, Request, standing_before
from local.roles import granted
from local.strict_storage import Rules
from tests.e2e.hourly_system import HOUR, LOG, Log, gates, step_of
from tests.kit.background import Background, wait_for
from tests.kit.servers import stops_the_server

ROWS = 60
#: Rows of several chunks of an upload, which are sent while others are still read; and rows of two parts.
WIDE, MANY = 1_800, 21_000

#: What a run changes on behalf of an hour that it then deletes from the source, in this order.
STEPS = (
    "manifest exporting",
    "start keys 0",
    "send keys 0",
    "start part 0",
    "send part 0",
    "manifest exported",
    "load",
    "manifest loaded",
    "manifest deleting",
    "manifest deleted",
)

_numbers = itertools.count(step=2)


@contextmanager
def deployed(cloud: Cloud, name: str, instances: int, granted: Granted | None) -> Iterator[Log]:
    start = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=8)
    with (
        standing_before(cloud.storage.url) as storage,
        standing_before(cloud.bigquery.url) as bigquery,
        storage.fault(Rules()),
    ):
        env = {
            "STORAGE_EMULATOR_HOST": storage.url,
            "BIGQUERY_EMULATOR_HOST": bigquery.url,
            "HOURLY_START": f"{start:%Y%m%dT%H}",
        }
        spec = replace(FLEET["hourly_export"], instances=instances)
        with cloud.deploy(name, {"hourly_export": spec}, env=env, granted=granted) as here:
            context.create(here.dsn)
            yield Log(here, storage, bigquery, start)


@pytest.fixture(scope="module")
def log(cloud):
    with deployed(cloud, "hourly_faults", 2, granted()) as log:
        yield log


@pytest.fixture
def hour(log):
    """An hour with rows, of which nothing is exported. The one after it is empty."""
    at = log.start + next(_numbers) * HOUR
    log.write(at, ROWS)
    return at


@contextmanager
def noted(log, hour):
    """The steps of the hour that are made inside the block, each once."""
    steps = {}

    def note(request: Request, forward: Forward) -> Answer:
        if step := step_of(request, hour):
            steps[step] = True
        return forward(request)

    with log.always(note):
        yield steps.keys()


# A worker that is killed leaves nothing but what it has changed. So it is killed after each change, and once before the
# first: to be killed before the next change is the same.


def test_an_hour_is_changed_in_the_steps_that_are_disturbed_here(log, hour):
    with noted(log, hour) as steps:
        log.settle(hour, delete_from_source=True)
    assert [step for step in steps if step not in ("table", "manifest", "list")] == list(STEPS)
    log.recover(hour)


@pytest.mark.matrix
@pytest.mark.parametrize("step", [step for step in STEPS if not step.startswith("start") and step != "send keys 0"])
def test_a_run_is_killed(log, hour, step):
    with log.killed(step, hour):
        assert log.call(hour, delete_from_source=True) == (0, {})
    log.recover(hour)


def test_the_first_run_of_all_is_killed_and_so_is_the_next(cloud):
    # Where Terraform has not made the table, the account has to be one that may.
    with deployed(cloud, "hourly_first", 1, None) as log:
        log.write(log.start, ROWS)
        for step in ("table", "manifest"):
            with log.killed(step, log.start):
                assert log.call(log.start) == (0, {})
        log.recover(log.start)


def test_a_run_is_killed_while_it_reads_the_rows(log, hour):
    log.write(hour, WIDE, wide=150)
    with log.killed("send more of part 0", hour):
        assert log.call(hour) == (0, {})
    log.recover(hour)


def test_a_run_is_killed_between_two_parts_and_the_next_between_two_batches_of_the_deletion(log, hour):
    log.write(hour, MANY - ROWS)
    ids = sorted(log.written[hour])
    with log.killed("send part 1", hour):
        assert log.call(hour, delete_from_source=True) == (0, {})
    with gates(log, hour, "manifest deleting") as (gate,), psycopg.connect(log.here.dsn) as api:
        call = Background(lambda: log.call(hour, delete_from_source=True))
        gate.wait()
        log.touch(ids[5])
        api.execute("SELECT FROM past_offer_context WHERE id = %s FOR UPDATE", [ids[MANY * 3 // 4]])
        gate.open()
        wait_for(log.waits_for_a_row)
        log.kill()
        assert call.result() == (0, {})
        deleted = log.written[hour].keys() - log.in_postgres(hour).keys()
        assert 0 < len(deleted) < MANY * 3 // 4
        assert deleted <= {row[0] for row in log.in_bigquery(hour, ["id"])}
    log.recover(hour)
    deletion = hours.entry(log.here, LOG, hour)["deletion"]
    assert (deletion["rows"], deletion["kept"]["rows"]) == (MANY - 1, 1)


def test_a_run_is_killed_while_it_tidies_up_after_one_that_was(log, hour):
    for step in ("send part 0", "delete keys 0"):
        with log.killed(step, hour):
            assert log.call(hour) == (0, {})
    log.recover(hour)


def test_a_run_is_killed_at_rows_that_came_late(log, hour):
    log.settle(hour)
    log.write(hour, 7)
    with log.killed("load", hour):
        assert log.call(hour) == (0, {})
    log.recover(hour)
    assert [batch["export"]["content"]["rows"] for batch in hours.entry(log.here, LOG, hour)["batches"]] == [ROWS, 7]


def test_the_load_of_a_dead_worker_is_asked_for_when_another_has_made_it(log, hour):
    with gates(log, hour, "load") as (gate,):
        call = Background(lambda: log.call(hour))
        gate.wait()
        log.kill()
        assert call.result() == (0, {})
        log.recover(hour)
    log.recover(hour)


def test_a_load_outlives_the_worker_that_started_it(log, hour):
    running = []

    def start(request: Request, forward: Forward) -> Answer:
        started = threading.Thread(target=forward, args=[request])
        started.start()
        log.kill()
        started.join()
        raise CutOffError

    def still_running(request: Request, forward: Forward) -> Answer:
        answer = forward(request)
        if request.method == "GET" and "/jobs/recosync-load" in request.path and len(running) < 3:
            running.append(request)
            job = json.loads(answer.body)
            return replace(answer, body=json.dumps(job | {"status": {"state": "RUNNING"}}).encode())
        return answer

    with log.at("load", hour, start):
        assert log.call(hour) == (0, {})
    with log.always(still_running), noted(log, hour) as steps:
        log.recover(hour)
    assert len(running) == 3
    assert "load" not in steps


def test_while_a_run_is_at_work_another_leaves(log, hour):
    with gates(log, hour, "load") as (gate,):
        call = Background(lambda: log.call(hour))
        gate.wait()
        status, answer = log.call(hour, instance=1)
        assert status == 500
        assert "another worker is at it" in answer["error"]
        gate.open()
        assert call.result()[0] == 200
    log.recover(hour)


def test_of_many_calls_at_once_one_does_the_work(log, hour):
    calls = [Background(lambda n=n: log.call(hour, instance=n % 2, delete_from_source=True)) for n in range(6)]
    answers = [call.result() for call in calls]
    assert [answer["hours"][0]["status"] for status, answer in answers if status == 200].count("exported") == 1
    assert all("another worker is at it" in answer["error"] for status, answer in answers if status != 200)
    log.recover(hour)


def test_a_repeated_call_changes_nothing(log, hour):
    assert log.settle(hour, delete_from_source=True)["hours"][0]["status"] == "exported"
    with noted(log, hour) as steps:
        assert log.settle(hour, delete_from_source=True)["hours"][0]["status"] == "done already"
    assert not steps
    log.recover(hour)


# A run whose session in PostgreSQL ends goes on until it needs PostgreSQL again, beside the run that has the lock.


@pytest.mark.matrix
@pytest.mark.parametrize(
    "step",
    [
        "send part 0",
        "manifest loaded",
        "manifest deleting",
    ],
)
def test_a_run_comes_late_to_what_another_has_done(log, hour, step):
    with gates(log, hour, step) as (gate,):
        late = Background(lambda: log.call(hour, delete_from_source=True))
        gate.wait()
        log.lose_lock()
        log.settle(hour, instance=1, delete_from_source=True)
        gate.open()
        assert late.result()[0] == 500
    log.recover(hour)


def test_a_run_tidies_up_when_another_has_gone_on(log, hour):
    with log.killed("send part 0", hour):
        assert log.call(hour) == (0, {})
    with gates(log, hour, "manifest exported") as (written,):
        late = Background(lambda: log.call(hour))
        written.wait()
        with gates(log, hour, "list") as (gate,):
            written.open()
            gate.wait()
            log.lose_lock()
            log.settle(hour, instance=1)
            log.write(hour, 7)
            log.settle(hour, instance=1)
            gate.open()
            assert late.result()[0] == 500
    log.recover(hour)


def test_a_load_is_made_while_another_run_finds_its_keys_erased(log, hour):
    with gates(log, hour, "load") as (load,):
        late = Background(lambda: log.call(hour))
        load.wait()
        with gates(log, hour, "list") as (tidying,):
            log.erase("keys", hour)
            log.lose_lock()
            other = Background(lambda: log.call(hour, instance=1))
            tidying.wait()
            load.open()
            # Its rows are in BigQuery, but what they should be nobody can tell any more.
            _, answer = late.result()
            assert "is gone" in answer["failed"][0]["error"]
            tidying.open()
            assert other.result()[0] == 500
    assert len(log.in_bigquery(hour)) == ROWS
    log.erase_from_bigquery(hour)
    log.settle(hour, date=f"{hour:%Y%m%d}", hour=hour.hour)
    log.recover(hour)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("step", "first"), [("manifest exported", 0), ("manifest exported", 1), ("load", 0), ("manifest deleting", 1)]
)
def test_two_runs_make_the_same_step_at_once(log, hour, step, first):
    with gates(log, hour, step, step) as both:
        calls = []
        for instance, gate in enumerate(both):
            if instance:
                log.lose_lock()
            calls.append(Background(lambda n=instance: log.call(hour, instance=n, delete_from_source=True)))
            gate.wait()
        for number in (first, 1 - first):
            both[number].open()
            assert calls[number].result()[0] in (200, 500)
    log.settle(hour, delete_from_source=True)  # as Cloud Scheduler does after a 500
    log.recover(hour)


class BadLoads:
    """A fault: load jobs fail for a reason before they have done anything. `jobs` has theirs, by id."""

    def __init__(self, reason: str) -> None:
        self._error = {"reason": reason, "message": "the test says so"}
        self.jobs: dict[str, Answer] = {}

    def __call__(self, request: Request, forward: Forward) -> Answer:
        name = request.path.split("?")[0].rpartition("/")[2]
        if request.method == "POST" and name == "jobs" and b'"load": {' in request.body:
            job = json.loads(request.body)
            status = {"state": "DONE", "errorResult": self._error, "errors": [self._error]}
            answer = Answer(200, json.dumps(job | {"status": status, "statistics": {}}).encode())
            return self.jobs.setdefault(job["jobReference"]["jobId"], answer)
        return self.jobs.get(name) or forward(request)


def test_each_call_starts_one_load_until_one_does_not_fail(log, hour):
    bad = BadLoads("backendError")
    with log.always(bad):
        for calls in (1, 2):
            status, answer = log.call(hour)
            assert (status, answer["failed"][0]["retryable"]) == (500, True)
            assert len(bad.jobs) == calls
    log.recover(hour)
    assert hours.entry(log.here, LOG, hour)["batches"][0]["job"] not in bad.jobs


def test_a_load_fails_for_good_until_somebody_asks_for_its_hour(log, hour):
    bad = BadLoads("invalid")
    with log.always(bad):
        status, answer = log.call(hour)
        assert (status, answer["failed"][0]["retryable"]) == (200, False)
        assert log.call(hour + HOUR)[1]["failed"] == answer["failed"]
    assert len(bad.jobs) == 1
    assert log.in_bigquery(hour) == []
    log.settle(hour, date=f"{hour:%Y%m%d}", hour=hour.hour)
    log.recover(hour)


def test_others_change_the_manifest_at_the_same_time(log, hour):
    refused = []

    def refuse(request: Request, forward: Forward) -> Answer:
        step = step_of(request, hour) or ""
        if step.startswith("manifest ") and refused.count(step) < 3:
            refused.append(step)
            return Answer(412)
        return forward(request)

    with log.always(refuse):
        log.settle(hour)
    assert len(refused) == 3 * 4
    log.recover(hour)


def test_others_change_the_manifest_all_the_time(log, hour):
    def refuse(request: Request, forward: Forward) -> Answer:
        return Answer(412) if step_of(request, hour) == "manifest exported" else forward(request)

    with log.always(refuse):
        status, answer = log.call(hour)
        assert (status, answer["failed"][0]["retryable"]) == (500, True)
    log.recover(hour)


def test_the_first_answer_of_every_step_is_lost(log, hour):
    seen = set()

    def fail(request: Request, forward: Forward) -> Answer:
        step, answer = step_of(request, hour), forward(request)
        if step is None or step in seen:
            return answer
        seen.add(step)
        raise CutOffError

    with log.always(fail):
        # The emulator does not know an upload any more whose end it has seen: such a call fails.
        answers = [log.call(hour, delete_from_source=True)]
        while answers[-1][0] == 500 and len(answers) < 4:
            assert all(failure["retryable"] for failure in answers[-1][1]["failed"])
            answers.append(log.call(hour, delete_from_source=True))
    assert answers[-1][0] == 200
    assert seen >= set(STEPS)
    log.recover(hour)


@stops_the_server
@pytest.mark.matrix
@pytest.mark.parametrize(("step", "wide"), [("send more of part 0", 150), ("manifest deleting", 0)])
def test_the_database_crashes(log, hour, step, wide):
    log.write(hour, WIDE, wide)
    with gates(log, hour, step) as (gate,):
        call = Background(lambda: log.call(hour, delete_from_source=True))
        gate.wait()
        log.here.cloud.postgres.restart("immediate")
        gate.open()
        status, answer = call.result()
        assert (status, answer["failed"][0]["retryable"]) == (500, True)
    log.recover(hour)
