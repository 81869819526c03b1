"""The command line as such: what parses, what it says of itself, and how it leaves."""

import json
import os
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path

import pytest
import typer

from shared import log
from shared.catalog import ROOT
from shared.errors import DataError
from shared.names import Hour
from shared.operate.cli import GROUPS, build
from shared.operate.cli.commands import BucketPath
from shared.operate.cli.output import Exit, reporting
from tests.kit.commands import old_commands, recosync

PLACEHOLDERS = {
    "table_name": "iris_france",
    "view_name": "iris_france_mv",
    "bucket_path": "gs://bucket/recommendation_exports",
    "bucket-name": "bucket",
    "YYYYMMDD": "20260105",
    "0-23": "7",
}
OLD = old_commands(**PLACEHOLDERS)
COMMANDS = [
    (" ".join(filter(None, (group.name, command.name))), command) for group in GROUPS for command in group.commands
]
#: What nobody waits for who only asks for help.
HEAVY = ("google", "duckdb", "psycopg", "pyarrow", "jinja2", "msgspec", "rich", "flask")


def parsed(arguments: list[str]):
    """The command that arguments lead to, and what its options were understood as; nothing runs."""
    group = typer.main.get_command(build())
    with group.make_context("recosync", list(arguments)) as context:
        name, command, rest = group.resolve_command(context, list(arguments))
        with command.make_context(name, rest, parent=context) as inner:
            return command.callback.__wrapped__.__name__, inner.params


def test_the_copy_has_every_old_command():
    assert {arguments[0] for arguments in OLD} == {
        "export", "import-table", "materialize", "export-gcs", "import-to-gcloud", "materialize-gcloud",
        "hourly_export_process", "hourly_load_gcs_to_bigquery",
    }  # fmt: skip
    assert len(OLD) == 8 + 3


@pytest.mark.parametrize("arguments", OLD, ids=" ".join)
def test_an_old_command_line_parses_and_means_what_it_meant(arguments):
    _, options = parsed(arguments)
    if arguments[0].startswith("materialize"):
        assert options["view_name"] == "iris_france_mv"
        return
    hourly = arguments[0].startswith("hourly")
    assert options["table_name"] == ("past_offer_context" if hourly else "iris_france")
    assert options["date"] == date(2026, 1, 5)
    assert options["bucket_path"].bucket == "bucket"
    if hourly:
        assert options["hour"] == 7
        assert str(options["bucket_path"]) == "gs://bucket/export/cloudsql_hourly"
    if arguments[0] == "hourly_export_process":
        assert options["delete_from_source"] == ("--delete-from-source" in arguments)
        assert options["recover_missed"] == ("--recover-missed" in arguments)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("export-gcs", "export"),
        ("import-table", "import"),
        ("import-to-gcloud", "import"),
        ("materialize-gcloud", "materialize"),
        ("hourly_export_process", "hourly"),
        ("hourly-export-process", "hourly"),
        ("hourly_load_gcs_to_bigquery", "hourly-load"),
        ("hourly-load-gcs-to-bigquery", "hourly-load"),
    ],
)
def test_an_old_spelling_is_the_new_command(old, new):
    required = ["--date", "20260101"] if new == "hourly-load" else []
    assert parsed([old, *required]) == parsed([new, *required])


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_the_help_of_a_command_has_an_example_of_it(name, command):
    told = recosync(*name.split(), "--help")
    assert told.code == 0
    assert f"Example: {command.example}" in " ".join(told.out.split())
    assert command.example.startswith(f"recosync {name}")


@pytest.mark.parametrize("arguments", [["--help"], ["export", "--help"], ["catalog", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(arguments):
    code = f"""
import sys
before = set(sys.modules)
from shared.operate.cli import main
sys.argv = ["recosync", *{arguments!r}]
try:
    main()
except SystemExit:
    print("heavy:", sorted({{name.partition(".")[0] for name in set(sys.modules) - before}} & set({HEAVY!r})))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: recosync" in ran.stdout
    assert ran.stdout.splitlines()[-1] == "heavy: []"


def test_it_tells_its_version():
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert recosync("--version").out == f"recosync {stated}\n"


def test_a_reader_that_has_seen_enough_is_no_crash():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "shared.operate", "catalog", "check"]
    ran = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (ran.returncode, ran.stderr) == (1, "")


def test_it_runs_as_a_module_and_as_a_script():
    script = Path(sys.executable).parent / "recosync"
    outputs = [
        subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
        for command in ([sys.executable, "-m", "shared.operate"], [script])
    ]
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("recosync export iris", ["iris_france"]),
        ("recosync materialize enriched", ["enriched_user_mv"]),
        ("recosync backfill past", ["past_offer_context"]),
        ("recosync hourly_export_process --table-name past", ["past_offer_context"]),
    ],
)
def test_the_shell_completes_the_catalogs_names(words, expected):
    environment = {**os.environ, "_RECOSYNC_COMPLETE": "complete_bash", "COMP_WORDS": words}
    environment["COMP_CWORD"] = str(len(words.split()) - 1)
    command = [sys.executable, "-m", "shared.operate"]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ran.stdout.split() == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ["export", "iris_france", "--date", "2026-01-01"],
        ["export", "iris_france", "--bucket-path", "bucket/prefix"],
        ["export", "iris_france", "--bucket-path", "gs://bucket"],
        ["import", "iris_france", "--snapshot", "20260101"],
        ["hourly", "--date", "20260101", "--hour", "24"],
        ["hourly-load"],
        ["backfill", "past_offer_context", "--from", "20260101T5", "--until", "20260102"],
        ["unknown"],
    ],
    ids=" ".join,
)
def test_a_mistake_in_a_command_line_is_told_with_the_exit_code_of_usage(arguments):
    ran = recosync(*arguments)
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert "Usage:" in ran.err


def test_a_bucket_path_may_end_in_a_slash():
    assert BucketPath.parse("gs://bucket/a/b/") == BucketPath("bucket", "a/b")


def test_a_day_stands_for_its_first_hour():
    _, options = parsed(["backfill", "past_offer_context", "--from", "20260101", "--until", "20260102T05"])
    assert (options["first"], options["until"]) == (Hour.parse("20260101T00"), Hour.parse("20260102T05"))


def test_a_wrong_environment_is_one_line_and_the_exit_code_of_what_can_be_retried(monkeypatch):
    for name in ("EXPORT_BUCKET", "GCP_PROJECT_ID", "DATABASE_URL", "HOURLY_BUCKET"):
        monkeypatch.delenv(name, raising=False)
    ran = recosync("export", "iris_france")
    assert (ran.code, ran.out) == (Exit.RETRY, "")
    (line,) = ran.err.splitlines()
    assert line.startswith("recosync: environment: ")
    assert "EXPORT_BUCKET is not set" in line
    assert "Traceback" not in ran.err


def test_with_json_a_failure_is_a_document_too(monkeypatch):
    monkeypatch.delenv("GCP_PROJECT_ID", raising=False)
    ran = recosync("export", "iris_france", "--json")
    assert ran.code == Exit.RETRY
    assert ran.json["retryable"] is True
    assert "GCP_PROJECT_ID" in ran.json["error"]


def test_a_bug_shows_neither_its_text_nor_a_traceback_but_the_log_says_where(capsys):
    with pytest.raises(typer.Exit) as e, reporting(as_json=True, verbose=True):
        raise ValueError("a row's value")
    told = capsys.readouterr()
    assert e.value.exit_code == Exit.FAILED
    assert json.loads(told.out) == {"error": "crashed: ValueError", "retryable": False}
    assert "test_cli.py" in told.err
    assert "a row's value" not in told.out + told.err


@pytest.mark.parametrize("as_json", [False, True])
def test_a_terminal_gets_no_character_that_it_obeys(capsys, as_json):
    hostile = "part-\u202e\x1b[31m\u2066\x9b\ud800.parquet"

    def speak():
        with reporting(as_json=as_json, verbose=True) as output:
            output.line(hostile)
            output.table("Parts", ["Name"], [[hostile]])
            output.document({"part": hostile})
            output.raw(json.dumps({"part": "\u202e\x9b"}, ensure_ascii=False).encode())
            log.info(f"part {hostile}", part=hostile)
            raise DataError(f"no such part: {hostile}", where=hostile)

    with pytest.raises(typer.Exit):
        speak()
    told = capsys.readouterr()
    shown = (told.out + told.err).replace("\n", "")
    assert "parquet" in told.out
    assert told.err.count("parquet") == 4
    assert all(c.isprintable() for c in shown), ascii(shown)


@pytest.mark.parametrize("command", [["import"], ["catalog", "check", "--file"], ["status"], []])
@pytest.mark.parametrize("argument", ["\u202ename", "\x1b[31mname", b"\xffname", "na\nme\x9b"])
def test_an_argument_that_a_terminal_obeys_is_refused_before_it_is_shown(command, argument):
    ran = subprocess.run([sys.executable, "-m", "shared.operate", *command, argument], cwd=ROOT, capture_output=True)
    assert (ran.returncode, ran.stdout) == (Exit.USAGE, b"")
    told = ran.stderr.decode().removesuffix("\n")
    assert told.startswith("recosync: an argument holds what can't be printed: ")
    assert all(c.isprintable() or c == "\n" for c in told)


def test_the_catalog_is_checked_without_an_environment(monkeypatch):
    for name in os.environ.keys() & {"GCP_PROJECT_ID", "EXPORT_BUCKET", "DATABASE_URL"}:
        monkeypatch.delenv(name)
    ran = recosync("catalog", "check")
    assert (ran.code, ran.err) == (0, "")
    assert "iris_france_mv" in ran.out


def test_every_mistake_in_a_catalog_is_told_with_its_line(tmp_path):
    file = tmp_path / "catalog.toml"
    file.write_text('[tables.a]\nsource = "a"\ndataset = "NOWHERE"\n[tables.a.columns]\nx = "varchar2"\n[views]\n')
    ran = recosync("catalog", "check", "--file", file, "--json")
    assert ran.code == Exit.FAILED
    assert ran.json["valid"] is False
    assert any(mistake.startswith("catalog.toml:3: tables.a.dataset") for mistake in ran.json["mistakes"])
    assert any(mistake.startswith("catalog.toml:5: tables.a.columns.x") for mistake in ran.json["mistakes"])
    assert len(ran.err.splitlines()) == len(ran.json["mistakes"])


def test_a_catalog_that_is_no_text_is_a_mistake(tmp_path):
    file = tmp_path / "catalog.toml"
    file.write_bytes(b"# \xe9t\xe9\n")
    ran = recosync("catalog", "check", "--file", file, "--json")
    assert ran.code == Exit.FAILED
    assert ran.json["mistakes"] == ["catalog.toml: is not in UTF-8: byte 3"]


def test_a_template_that_does_not_render_is_told(tmp_path, monkeypatch):
    from shared import catalog

    template = tmp_path / "item_ids_mv.sql.jinja"
    template.write_text("SELECT {{ nothing }}")
    found = catalog.load()
    broken = {**found.views, "item_ids_mv": catalog.View("item_ids_mv", template, found.views["item_ids_mv"].reads)}
    monkeypatch.setattr(catalog, "load", lambda *_: catalog.Catalog(found.schema, found.tables, broken, found.hourly))
    ran = recosync("catalog", "check")
    assert ran.code == Exit.FAILED
    assert ran.err.startswith("recosync: template item_ids_mv.sql.jinja: can't be rendered")
