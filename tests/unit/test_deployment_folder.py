"""A deployment's own folder: written, checked, and kept apart from what is shipped."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest

from shared import catalog
from shared.errors import ConfigurationError
from shared.operate.cli.output import Exit
from tests.kit.commands import recosync


@pytest.fixture
def folder(tmp_path):
    """A new folder."""
    made = tmp_path / "my-sync"
    assert recosync("init", made).code == 0
    return made


def test_a_new_folder_passes_the_check_and_has_all_that_a_deployment_needs(folder, monkeypatch):
    monkeypatch.setenv(catalog.FOLDER_VARIABLE, str(folder))
    ran = recosync("catalog", "check", "--json")
    assert (ran.code, ran.json["mistakes"]) == (0, [])
    assert (ran.json["tables"], ran.json["views"]) == (["example"], ["example_mv"])
    found = catalog.load()
    assert list(found.tables) == ["example"]
    assert found.views["example_mv"].template == folder / "views" / "example_mv.sql.jinja"
    assert json.loads((folder / "terraform.json").read_text())["logs"]["example_log"]["schema"][0]["name"] == "id"
    # Every setting is told of.
    words = (folder / "catalog.toml").read_text()
    assert all(
        f"#   {word} " in words
        for word in ("source", "key", "indexes", "null_share", "cluster_by", "reads", "start", "minute")
    )


def test_a_folder_may_be_named_before_the_command_too(folder, monkeypatch):
    monkeypatch.setenv(catalog.FOLDER_VARIABLE, "")
    assert recosync("--catalog", folder, "catalog", "check", "--json").json["tables"] == ["example"]
    assert recosync("catalog", "check", "--file", folder, "--json").json["tables"] == ["example"]
    monkeypatch.delenv(catalog.FOLDER_VARIABLE)
    shipped = catalog.load(catalog.SHIPPED)
    assert recosync("catalog", "check", "--json").json["tables"] == list(shipped.tables)


def test_nothing_is_written_over(folder):
    before = (folder / "catalog.toml").read_bytes()
    ran = recosync("init", folder)
    assert (ran.code, "is there already" in ran.err) == (Exit.USAGE, True)
    assert (folder / "catalog.toml").read_bytes() == before


@pytest.mark.parametrize(("days", "told"), [(0, 0), (3, 1)])
def test_a_log_that_begins_far_ahead_is_a_mistake(folder, days, told):
    """Every call would fail."""
    start = f'start = "{datetime.now(UTC) + timedelta(days=days):%Y%m%dT%H}"'
    file = folder / "catalog.toml"
    text = file.read_text().replace("[hourly.example_log]\n", f"[hourly.example_log]\n{start}\n")
    file.write_text(text)
    assert recosync("--catalog", folder, "catalog", "terraform").code == 0
    ran = recosync("catalog", "check", "--file", folder, "--json")
    line = text.splitlines().index(start) + 1
    what = f"catalog.toml:{line}: hourly.example_log.start: should be at most a day ahead: until then, no hour is due"
    assert (ran.code != 0, ran.json["mistakes"]) == (told > 0, [what] * told)


def test_what_terraform_would_read_and_the_catalog_does_not_say_is_a_mistake(folder, monkeypatch):
    monkeypatch.setenv(catalog.FOLDER_VARIABLE, str(folder))
    file, words = folder / "terraform.json", folder / "catalog.toml"
    for spoil in (
        lambda: file.write_text("{}"),
        file.unlink,
        lambda: words.write_text(words.read_text().replace('cluster_by = ["import_hour"]', "")),
    ):
        spoil()
        ran = recosync("catalog", "check")
        assert ran.code == Exit.FAILED
        assert f"{file} is not what the catalog says. Write it: recosync catalog terraform" in ran.err
        ran = recosync("catalog", "terraform", "--json")
        assert (ran.code, ran.json) == (0, {"written": str(file)})
        assert recosync("catalog", "check").code == 0


@pytest.mark.parametrize("folder", ["shared", "tests/catalog", "terraform/tests/catalog"])
def test_what_is_committed_is_what_its_catalog_says(folder):
    assert recosync("catalog", "check", "--file", catalog.ROOT / folder).code == 0


def test_terraform_is_told_of_the_catalog_that_the_file_was_made_of(folder):
    told = json.loads((folder / "terraform.json").read_text())
    assert told["catalog_sha256"] == hashlib.sha256((folder / "catalog.toml").read_bytes()).hexdigest()
    assert (told["tables"], list(told["logs"])) == (["example"], ["example_log"])


def test_a_folder_that_is_not_there_is_told(tmp_path, monkeypatch):
    assert recosync("--catalog", tmp_path / "nowhere", "catalog", "check").code == Exit.USAGE
    monkeypatch.setenv(catalog.FOLDER_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(ConfigurationError, match="can't be read"):
        catalog.load()
