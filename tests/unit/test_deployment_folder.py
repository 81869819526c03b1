"""A deployment's own folder: written, checked, and kept apart from what is shipped."""

from __future__ import annotations

import json

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
    assert json.loads((folder / "schemas" / "example_log.json").read_text())[0]["name"] == "id"
    # Every setting is told of.
    words = (folder / "catalog.toml").read_text()
    assert all(f"#   {word} " in words for word in ("source", "key", "indexes", "null_share", "cluster_by", "reads"))


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


def test_a_schema_that_terraform_would_read_and_the_catalog_does_not_say_is_a_mistake(folder, monkeypatch):
    monkeypatch.setenv(catalog.FOLDER_VARIABLE, str(folder))
    schema = folder / "schemas" / "example_log.json"
    for spoil in (lambda: schema.write_text("[]"), schema.unlink):
        spoil()
        ran = recosync("catalog", "check")
        assert ran.code == Exit.FAILED
        assert f"{schema} is not what the catalog says. Write it: recosync catalog schemas" in ran.err
        assert recosync("catalog", "schemas").code == 0
        assert recosync("catalog", "check").code == 0


def test_a_folder_that_is_not_there_is_told(tmp_path, monkeypatch):
    assert recosync("--catalog", tmp_path / "nowhere", "catalog", "check").code == Exit.USAGE
    monkeypatch.setenv(catalog.FOLDER_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(ConfigurationError, match="can't be read"):
        catalog.load()
