"""A failure that an operator has dealt with leaves the headline and the exit code, and stays in the record."""

from __future__ import annotations

import getpass

import pytest

from shared.errors import DataError
from shared.ledger import failing, failures, migrations
from shared.ledger.failing import Failing
from shared.ledger.failures import PermanentFailure
from shared.operate import acknowledge
from shared.operate.cli.output import Exit
from shared.operate.migrate import migrate
from shared.operate.status import gather, page
from shared.services import HourlyServices
from tests.kit.commands import recosync
from tests.kit.sessions import one
from tests.kit.snapshots import TABLE, day, publish

WHY = "the source was mended"


def report():
    return gather(HourlyServices.from_environment())


def fails(database, number, part="part-1", table=TABLE):
    """A snapshot of the table fails for good, at a part, for the one reason."""
    error = DataError("its footer counts another number of rows", where=f"gs://bucket/{table}/{part}")
    failures.record(database, PermanentFailure(error, f"{part}#1", table, day(number)))


def export_fails(database):
    database.execute(
        "INSERT INTO recosync.export_run (table_name, started_at, outcome, message)"
        " VALUES (%s, now(), 'failed', 'is empty')",
        [TABLE],
    )


def tell(services, name=TABLE, function="gcs_import"):
    failing.tell(services.settings, function, [Failing(name, "SourceError", "is empty", retryable=False)])


def settled(text="permanent error"):
    """Whether neither the first line nor the table of the status speaks of failures."""
    seen = report()
    return text not in seen.summary and all(not table.trouble for table in seen.tables)


@pytest.fixture
def published(services):
    publish(services, 1, ["ann"])


@pytest.fixture
def cause(published, database):
    """A cause of two failures, of two snapshots."""
    fails(database, 2)
    fails(database, 3, "part-2")
    (found,) = report().failures.current
    assert (found.count, found.acknowledge) == (2, f'recosync acknowledge {found.id} --reason "..."')
    return found


def test_a_cause_that_was_dealt_with_leaves_the_headline_and_stays_in_the_record(database, cause):
    assert "2 permanent errors of 1 cause" in report().summary
    assert "in trouble" in report().summary
    ran = recosync("acknowledge", cause.id, "--reason", WHY, "--json")
    assert (ran.code, ran.json["status"], len(ran.json["failures"])) == (Exit.DONE, "acknowledged", 2)
    assert settled()
    (found,) = report().failures.acknowledged
    assert (found.id, found.count, found.acknowledge) == (cause.id, 2, None)
    assert (found.acknowledged.by, found.acknowledged.reason) == (getpass.getuser(), WHY)
    assert {failure.id for failure in report().failures.newest} == {cause.id}
    told = recosync("status").out
    assert f"by {getpass.getuser()}: {WHY}" in told
    assert "Once" not in told
    shown = page.render(report())
    assert WHY in shown
    assert "2 errors acknowledged" in shown


def test_the_same_failure_after_it_is_news_and_has_the_same_id(database, cause):
    assert recosync("acknowledge", cause.id, "--reason", WHY).code == 0
    fails(database, 4, "part-7")
    (found,) = report().failures.current
    assert (found.id, found.count) == (cause.id, 1)
    assert "1 permanent error" in report().summary
    assert not settled("nothing")
    assert cause.acknowledge in recosync("status").out
    assert found.acknowledge.replace('"', "&#34;") in page.render(report()).replace("<span>", "").replace("</span>", "")


def test_a_table_names_all_its_failures(services, database, cause):
    export_fails(database)
    fails(database, 5, table="enriched_user")
    tell(services)
    (of_table,) = (table for table in report().tables if table.name == TABLE)
    assert len(of_table.trouble) == 2
    assert of_table.acknowledge == f'recosync acknowledge {TABLE} --reason "..."'
    ran = recosync("acknowledge", TABLE, "--reason", WHY, "--json")
    assert len(ran.json["failures"]) == 4
    (of_table,) = (table for table in report().tables if table.name == TABLE)
    assert (of_table.trouble, of_table.acknowledge) == ((), None)
    (left,) = report().failures.current
    assert left.subjects == ("enriched_user",)
    export_fails(database)
    (of_table,) = (table for table in report().tables if table.name == TABLE)
    assert of_table.trouble == ("its export failed: is empty",)


def test_trouble_that_is_older_than_the_errors_shown_is_acknowledged_by_its_table(database, cause):
    database.execute("UPDATE recosync.failure SET at = now() - interval '20 days'")
    assert report().failures.total == 0
    assert not settled("nothing")
    waiting = recosync("acknowledge", "--json").json["waiting"]
    assert [each["id"] for each in waiting] == [TABLE]
    assert recosync("acknowledge", TABLE, "--reason", WHY).code == 0
    assert settled()


def test_what_a_function_tells_leaves_the_exit_code_until_it_tells_it_again(services, published):
    tell(services)
    assert recosync("status").code == Exit.FAILED
    (each,) = report().failing
    assert each.id == f"gcs_import:{TABLE}"
    assert each.acknowledge in recosync("status").out
    assert recosync("acknowledge", each.id, "--reason", WHY).code == 0
    assert recosync("status").code == Exit.DONE
    (each,) = report().failing
    assert (each.attention, each.acknowledged.reason) == (False, WHY)
    assert WHY in recosync("status").out
    assert WHY in page.render(report())
    assert "gcs_import fails" not in report().summary
    tell(services)
    assert recosync("status").code == Exit.FAILED
    (each,) = report().failing
    assert (each.times, each.attention, each.acknowledged) == (2, True, None)
    assert f"gcs_import fails for {TABLE}" in report().summary


def test_what_a_function_tells_meanwhile_is_not_acknowledged(services, published, monkeypatch):
    tell(services)
    read = acknowledge._read

    def beaten(*arguments):
        found = read(*arguments)
        tell(services)
        return found

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(acknowledge, "_read", beaten)
        ran = recosync("acknowledge", TABLE, "--reason", WHY, "--json")
    assert ran.json["failures"] == []
    assert report().failing[0].attention


def test_what_is_repeated_says_who_did_it_before(database, cause):
    assert recosync("acknowledge", cause.id, "--reason", WHY).code == 0
    before = one(database, "SELECT max(acknowledged_at) FROM recosync.failure")
    ran = recosync("acknowledge", cause.id, "--reason", "another")
    assert ran.code == Exit.DONE
    assert f"acknowledged already, by {getpass.getuser()} at {before:%Y-%m-%d %H:%M} UTC" in " ".join(ran.out.split())
    assert one(database, "SELECT max(acknowledged_why) FROM recosync.failure") == WHY


def test_without_a_failure_it_tells_what_there_is(services, database, cause):
    tell(services, "past_offer_context", "hourly_export")
    ran = recosync("acknowledge")
    assert ran.code == Exit.DONE
    assert cause.id in ran.out
    assert "hourly_export:past_offer_context" in ran.out
    assert not settled("nothing")
    ran = recosync("acknowledge", "--reason", WHY)
    assert ran.code == Exit.USAGE
    assert "needs the failure" in ran.err
    for what in (cause.id, "past_offer_context"):
        assert recosync("acknowledge", what, "--reason", WHY).code == 0
    assert "There is nothing to acknowledge." in recosync("acknowledge").out


@pytest.mark.parametrize("arguments", [(), ("--reason", "..."), ("--reason", " ")], ids=str)
def test_a_reason_has_words(database, cause, arguments):
    ran = recosync("acknowledge", cause.id, *arguments)
    assert ran.code == Exit.USAGE
    assert "--reason should say what was done about it" in ran.err
    assert not settled("nothing")


@pytest.mark.parametrize("what", ["DataError-00000000", "enriched_user", "no_table"])
def test_what_names_no_failure_is_told_what_there_is(cause, what):
    ran = recosync("acknowledge", what, "--reason", WHY)
    assert ran.code == Exit.USAGE
    assert f"{what}: names no failure that waits: {cause.id}" in ran.err


def test_what_is_over_is_not_acknowledged(services, database, cause):
    publish(services, 4, ["bob"])
    assert report().failures.current == ()
    ran = recosync("acknowledge", cause.id, "--reason", WHY)
    assert ran.code == Exit.USAGE
    assert "there is none" in ran.err


def test_the_ledger_of_before_is_brought_up_to_date_and_keeps_its_failures(services, database):
    with pytest.MonkeyPatch.context() as before:
        before.setattr(migrations, "_wanted", lambda: 3)
        migrations.migrate(database)
    fails(database, 2)
    migrate(services)
    (found,) = report().failures.current
    assert recosync("acknowledge", found.id, "--reason", WHY).code == 0
    assert report().failures.current == ()
