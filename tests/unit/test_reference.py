"""docs/reference.md says what is so: the variables, the bodies, the answers, and the limits of the catalog."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from enum import StrEnum
from types import SimpleNamespace
from typing import Any, Literal, TypeAliasType, Union, get_args, get_origin, get_type_hints, is_typeddict

import flask
import pytest

from shared import entry
from shared.catalog import ROOT, Limits, Place, load
from shared.daily import export
from shared.daily.templates import render
from shared.errors import BadRequestError, ConfigurationError, PermanentError, RetryableError
from shared.hourly import answer, request
from shared.operate.status import page
from shared.upkeep import housekeeping, reconcile
from tests.kit import terraform_variables
from tests.kit.environment import (
    COMPLETE,
    DATASETS,
    EITHER,
    EMULATORS,
    FUNCTIONS,
    Recorder,
    made_by,
    needed_by,
    read_by,
)
from tests.kit.reference import PAGE, names, table, variables

VARIABLES = variables()
#: What a variable without a default may hold.
SAMPLES = {"HOURLY_START": "20260101T00", "MAXIMUM_BYTES_BILLED": "1"} | dict.fromkeys(
    sorted(EMULATORS), "http://127.0.0.1:1"
)
JSON_TYPES = {str: "text", int: "whole number", bool: "true or false", list: "list of texts"}


def made(name: str, value: str) -> list[Mapping[str, Any]]:
    """The settings that every function makes of an environment in which a variable has that value."""
    environment = {**COMPLETE, name: value}
    return [asdict(one) for function in FUNCTIONS for one in made_by(function, environment)]


def test_every_variable_that_is_read_stands_there_and_no_other():
    assert VARIABLES.keys() == set.union(*map(read_by, FUNCTIONS))


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_stands_with_the_functions_that_read_it(name):
    told = {"all": set(FUNCTIONS), "all but `status`": set(FUNCTIONS) - {"status"}}
    cell, *_ = VARIABLES[name]
    assert told.get(cell, set(names(cell))) == {function for function in FUNCTIONS if name in read_by(function)}


def test_what_names_a_data_set_can_be_told_from_what_else_is_read():
    assert {name for name in VARIABLES if "DATASET" in name} == set(DATASETS)


def test_a_variable_is_needed_if_a_function_does_not_start_without_it():
    needed = {name for name, (_, default, *_) in VARIABLES.items() if default.startswith("needed")}
    # Needed until the first manifest says so.
    assert needed == set.union(*map(needed_by, FUNCTIONS)) | EITHER | {"HOURLY_START"}


@pytest.mark.parametrize("name", [name for name in VARIABLES if VARIABLES[name][1].startswith("`")])
def test_a_default_is_what_a_function_does_without_the_variable(name):
    (default,) = names(VARIABLES[name][1])
    assert made(name, "") == made(name, default)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_variable_without_a_default_is_none_when_it_is_not_set(name):
    assert VARIABLES[name][1] in ("none", "needed at first")
    differing = [
        old[key] for old, new in zip(made(name, ""), made(name, SAMPLES[name]), strict=True) for key in old
        if old[key] != new[key]
    ]  # fmt: skip
    assert differing
    assert set(differing) == {None}


@pytest.mark.parametrize("name", [name for name in VARIABLES if " to " in VARIABLES[name][2]])
def test_a_number_is_taken_within_its_limits_and_not_beyond(name):
    least, most = (int(text.replace(",", "")) for text in VARIABLES[name][2].split(" to "))
    for number in (least, most):
        assert made(name, str(number))
    for number in (least - 1, most + 1):
        with pytest.raises(ConfigurationError, match=name):
            made(name, str(number))


def test_every_number_stands_with_its_limits():
    refused = set()
    for name in VARIABLES.keys() - EITHER:
        try:
            made(name, "no number")
        except ConfigurationError as e:
            if "a whole number" in str(e):
                refused.add(name)
    assert {name for name, (_, _, takes, _) in VARIABLES.items() if " to " in takes} == refused


@pytest.mark.parametrize(("function", "body"), [("bq_export", export.FIELDS), ("hourly_export", request.FIELDS)])
def test_the_fields_of_a_body_stand_there_with_their_types(function, body):
    documented = {names(field)[0]: kind for field, kind, _ in table(f"Body of {function}")}
    assert documented == {field: JSON_TYPES[kind] for field, kind in body.items()}


def test_the_query_of_the_status_page_stands_there():
    asked = Recorder({})
    page.parse(asked)
    assert {names(field)[0] for field, *_ in table("Query of status")} == asked.asked


#: What each function answers: the types of its own work's answer, and those of what it does afterwards.
ANSWERS = {
    "bq_export": {
        **get_type_hints(export.ExportAnswer),
        "housekeeping": dict[housekeeping.Kind, int | None] | None,
    },
    "hourly_export": {
        **get_type_hints(answer.HourlyAnswer),
        "reconciled": list[reconcile.Finished] | None,
    },
}


@pytest.mark.parametrize("function", ANSWERS)
def test_the_fields_of_an_answer_stand_there_with_their_types(function):
    documented = {names(field)[0]: kind for field, kind, _ in table(f"Answer of {function}")}
    found: dict[str, set[str]] = {}
    for name, hint in ANSWERS[function].items():
        for path, kind in flattened(name, hint):
            found.setdefault(path, set()).add(kind)
    assert {field: set(kind.split(", ")) for field, kind in documented.items()} == found


def flattened(path: str, hint: Any) -> Iterator[tuple[str, str]]:
    """The paths below a value of a JSON document, each with its type in words."""
    options = alternatives(hint)
    null = " or null" if type(None) in options else ""
    options = [option for option in options if option is not type(None)]
    for option in options:
        origin, arguments = get_origin(option), get_args(option)
        if is_typeddict(option):
            for name, inner in get_type_hints(option).items():
                yield from flattened(f"{path}.{name}" if path else name, inner)
        elif origin is list and arguments != (str,):
            yield path, f"list{null}"
            yield from flattened(f"{path}[]", arguments[0])
        elif origin is list:
            yield path, f"{JSON_TYPES[list]}{null}"
        elif origin is dict and arguments[0] is not str:
            yield path, f"object{null}"
            for kind in get_args(resolved(arguments[0])):
                yield from flattened(f"{path}.{kind}", arguments[1])
        elif origin is dict:
            yield path, f"object of {JSON_TYPES[arguments[1]]}s{null}"
        elif origin is Literal:
            yield from ((path, f"`{value}`{null}") for value in arguments)
        elif issubclass(option, StrEnum):
            yield from ((path, f"`{value}`{null}") for value in option)
        else:
            yield path, f"{JSON_TYPES[option]}{null}"


def alternatives(hint: Any) -> list[Any]:
    hint = resolved(hint)
    if isinstance(hint, types.UnionType) or get_origin(hint) is Union:
        return [inner for option in get_args(hint) for inner in alternatives(option)]
    return [hint]


def resolved(hint: Any) -> Any:
    return hint.__value__ if isinstance(hint, TypeAliasType) else hint


@pytest.mark.parametrize(
    ("method", "error"),
    [
        ("POST", BadRequestError("no")),
        ("PUT", None),
        ("POST", RetryableError("not now")),
        ("POST", PermanentError("never")),
    ],
)
def test_a_call_that_fails_as_a_whole_is_answered_as_it_stands_there(method, error):
    def handle(_: object) -> flask.Response:
        raise error

    with flask.Flask("function").test_request_context(method=method):
        answered = entry.answer_request(lambda: SimpleNamespace(settings=SimpleNamespace(project="p")), handle)
    documented = {status: names(field) for status, field, _ in table("A call that fails as a whole")}
    assert documented[str(answered.status_code)] == list(answered.json)


def blocks(language: str) -> str:
    """The page's code blocks in that language, as one text."""
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE))


def test_the_blocks_of_a_catalog_that_are_shown_are_a_catalog(tmp_path):
    (tmp_path / "catalog.toml").write_text(f'schema = "public"\n{blocks("toml")}')
    (tmp_path / "views").mkdir()
    (tmp_path / "views" / "similar_artist_mv.sql.jinja").write_text(blocks("sql"))
    catalog = load(Place.of(tmp_path))
    for view in catalog.views.values():
        assert view.name in render(view, "20260101T050000000000").create


def test_every_target_of_make_stands_there_and_no_other():
    (targets,) = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    shown = [name.removeprefix("make ").split() for cell, _ in table("On this machine") for name in names(cell)]
    assert sorted(target for one in shown for target in one if "=" not in target) == sorted(targets.split())


def test_the_limits_of_the_catalog_stand_there_with_their_defaults():
    documented = {name: default for cell, default, _ in table("Limits") for name in names(cell)}
    assert documented.keys() == {limit.name for limit in fields(Limits)}
    limits = Limits()
    for name in ("shrink", "growth", "duplicate_keys"):
        assert documented[name] == f"`{getattr(limits, name)}`"
    assert (limits.source_age, documented["source_age"]) == (None, "any")


def test_the_variables_of_terraform_stand_there_as_terraform_describes_them():
    expected = terraform_variables.rows()
    found = [f"| {' | '.join(cells)} |" for cells in table("Terraform variables")]
    assert found == expected, "put there what this prints: python -m tests.kit.terraform_variables"
