"""docs/cli.md keeps in step with the application: every command, every option, every old spelling, every exit code."""

import re

import pytest
import typer

from shared.operate.cli import GROUPS, build
from shared.operate.cli.output import Exit
from tests.kit.documents import ROOT, documented_commands, sections

COMMANDS = {
    " ".join(filter(None, (group.name, command.name))): command for group in GROUPS for command in group.commands
}
SECTIONS = sections()
#: Told once, for all commands.
COMMON = SECTIONS["In common"].options | {"--help"}


def options(name: str) -> set[str]:
    """The options that a command has."""
    command = typer.main.get_command(build())
    for word in name.split():
        command = command.commands[word]
    return {option for parameter in command.params for option in parameter.opts if option.startswith("--")}


def test_every_command_has_a_section_and_every_section_a_command():
    assert SECTIONS.keys() - {"In common"} == COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_section_of_a_command_has_its_example_its_options_and_its_old_spellings(name):
    section = SECTIONS[name]
    assert section.text.strip().startswith(f"```bash\n{COMMANDS[name].example}\n```")
    assert section.options == options(name) - COMMON
    for spelling in COMMANDS[name].aliases:
        assert f"`{spelling}`" in section.text


def test_common_options_are_those_of_commands():
    assert set.union(*map(options, COMMANDS)) >= COMMON - {"--help"}


def test_every_exit_code_is_explained():
    codes = re.findall(r"^\| (\d+) \|", (ROOT / "docs" / "cli.md").read_text(), re.MULTILINE)
    assert [int(code) for code in codes] == [*sorted(Exit), 130]


def test_the_documents_name_no_command_that_there_is_not():
    for document, command in documented_commands():
        known = any(command.startswith(f"recosync {name}") for name in COMMANDS)
        assert known or command in {"recosync --install-completion", "recosync --version"}, f"{document}: {command}"
