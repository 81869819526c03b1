"""Terraform as its users run it, in a folder of its own: nothing is left in the tree, and nothing reaches a cloud."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

#: What `terraform init` says when it can't have a provider: there is neither a network nor a mirror.
_NO_PROVIDER = ("Failed to query available provider packages", "Failed to install provider")
#: What the real provider says to credentials that there are not; a stand-in asks for none.
_NO_CREDENTIALS = "credentials"


class Workspace:
    """A copy of what Terraform reads of the repository, and a configuration in it, initialised.

    The providers come from where TF_CLI_CONFIG_FILE says; where there are none, the test is skipped.
    """

    def __init__(self, root: Path, configuration: str) -> None:
        self.root, self._folder = root, root / configuration
        if shutil.which("terraform") is None:
            pytest.skip("terraform is not installed: what it deploys is NOT TESTED")
        # Stand-ins that a configuration names need no init, and are of no version.
        given = Path(os.environ.get("TF_CLI_CONFIG_FILE") or os.devnull)
        stand_ins = given.exists() and "dev_overrides" in given.read_text()
        made = self._terraform("get") if stand_ins else self._terraform("init", "-backend=false")
        if made.returncode and any(sign in made.stderr for sign in _NO_PROVIDER):
            pytest.skip("terraform has no providers (no network, no TF_CLI_CONFIG_FILE): what it deploys is NOT TESTED")
        assert made.returncode == 0, made.stderr

    def plan(self, *files: str, **variables: object) -> Any:
        """The plan, as JSON (https://developer.hashicorp.com/terraform/internals/json-format)."""
        made = self._plan(files, variables)
        if made.returncode and _NO_CREDENTIALS in made.stderr:
            pytest.skip("these providers would ask Google, not a stand-in for it: what is planned is NOT TESTED")
        assert made.returncode == 0, made.stderr
        shown = self._terraform("show", "-json", "planned")
        assert shown.returncode == 0, shown.stderr
        return json.loads(shown.stdout)

    def test(self) -> None:
        """What the configuration has of `terraform test`."""
        made = self._terraform("test")
        assert made.returncode == 0, made.stdout[-10_000:] + made.stderr[-10_000:]

    def refusal(self, *files: str, **variables: object) -> str:
        """Why there is no plan, in one line."""
        made = self._plan(files, variables)
        assert made.returncode != 0
        return " ".join(made.stderr.replace("│", " ").split())

    def _plan(self, files: Sequence[str], variables: Mapping[str, object]) -> subprocess.CompletedProcess[str]:
        # Text goes as it is, anything else as HCL's JSON.
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in variables.items()}
        arguments = [f"-var-file={file}" for file in files] + [f"-var={name}={text}" for name, text in texts.items()]
        return self._terraform("plan", "-refresh=false", "-lock=false", "-out=planned", *arguments)

    def _terraform(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        options = ("-no-color",) if command in ("get", "show", "test") else ("-no-color", "-input=false")
        others = {name: value for name, value in os.environ.items() if not name.startswith(("GOOGLE_", "TF_VAR_"))}
        nobody = {"GOOGLE_APPLICATION_CREDENTIALS": str(self._folder / "none.json")}
        return subprocess.run(
            ["terraform", command, *options, *arguments],
            cwd=self._folder,
            env=others | nobody,
            capture_output=True,
            text=True,
        )


def copy_of_the_tree(folder: Path) -> Path:
    """A copy of the tree below `folder`, as far as Terraform reads it."""
    # A lock file knows the checksums of other providers than those of a mirror.
    left = shutil.ignore_patterns(".terraform*", "*.tfstate*", "__pycache__")
    for part in ("functions", "shared", "sql", "terraform"):
        shutil.copytree(ROOT / part, folder / part, ignore=left)
    return folder
