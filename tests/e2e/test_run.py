"""A run against a project, with stand-ins for Terraform and the Cloud SDK: whatever happens and whenever, what was made
is removed, and the result is told.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e import run as runs
from tests.kit.background import wait_for

ROOT = Path(__file__).parents[2]
STAND_IN = ROOT / "tests" / "kit" / "stand_in.py"
#: What a run starts one after the other before its removal.
STEPS = (
    "gcloud config get-value account",
    "gcloud projects describe my-project",
    "terraform init project",
    "terraform apply project",
    "terraform output project",
    "psql",
    "terraform init terraform",
    "terraform plan terraform",
    "terraform show planned terraform",
    "recosync doctor",
    "terraform apply planned terraform",
    "terraform output terraform",
    "pytest no:randomly tests/e2e/test_paths.py",
)
APPLIES = ("terraform apply planned terraform", "terraform apply project")
DESTROYS = ["terraform destroy terraform", "terraform destroy project"]


class Machine:
    """A machine with stand-ins for all programs, and its runs."""

    def __init__(self, folder: Path) -> None:
        self.home, self.runs, self._bin = folder / "home", folder / "runs", folder / "bin"
        self.home.mkdir()
        self._bin.mkdir()
        for name in (*runs.NEEDED, "recosync", "pytest"):
            (self._bin / name).write_text(f"#!{sys.executable} -IS\n{STAND_IN.read_text()}")
            (self._bin / name).chmod(0o755)

    def faults(self, faults: dict[str, list[str]]) -> None:
        """What programs are to meet, by the step."""
        (self.home / "faults.json").write_text(json.dumps(faults))

    def stands(self, **lines: list[str]) -> None:
        """What is in the project whatever Terraform knows, by the words of the command that lists it."""
        (self.home / "stands.json").write_text(json.dumps({f"{name} list": found for name, found in lines.items()}))

    @contextmanager
    def started(self, *arguments: str):
        """The command, in a process group of its own, as a shell starts it."""
        code = f"import sys, pathlib; from tests.e2e import run; run.RUNS = pathlib.Path({str(self.runs)!r})"
        env = os.environ | {"PATH": f"{self._bin}:{os.defpath}", "STUB_HOME": str(self.home)}
        command = [sys.executable, "-c", f"{code}; sys.exit(run.main())", "--project=my-project", *arguments]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def ran(self, *arguments: str, answer: str = "") -> tuple[int, str]:
        """Exit code and what was told."""
        with self.started(*arguments) as process:
            told, _ = process.communicate(answer, timeout=120)
            return process.returncode, told

    def at_it(self) -> None:
        """Wait until a program meets a fault that keeps it."""
        wait_for((self.home / "at-it").exists)

    def calls(self) -> list[tuple[str, list[str]]]:
        told = self.home / "calls"
        return [tuple(json.loads(line)) for line in told.read_text().splitlines()] if told.exists() else []

    def steps(self) -> list[str]:
        return [step for step, _ in self.calls()]

    def destroyed(self) -> list[str]:
        return [step for step in self.steps() if " destroy " in step]

    def states(self) -> list[str]:
        """What is made and was not destroyed."""
        found = self.home.glob("*.state")
        return [name for state in found for name in json.loads(state.read_text())]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def assert_removed(machine, told, *, billed=True):
    """All is gone, by the states' word and by the project's, and the user knows."""
    assert machine.states() == []
    assert re.search(r"all of e2e\w{6} is removed\n", told), told
    bill = re.search(r"What it cost, at most:\n(.*\n)+ +\d\.\d\d USD  in all, for 0\.\d\d h", told)
    assert bool(bill) == billed, told


def test_a_run_makes_tests_and_removes(machine):
    code, told = machine.ran("--yes", "-k", "doctor")
    assert code == 0, told
    steps = machine.steps()
    assert list(dict.fromkeys(step for step in steps if step in STEPS)) == list(STEPS)
    assert steps.index("pytest no:randomly tests/e2e/test_paths.py") < steps.index("terraform destroy terraform")
    assert machine.destroyed() == DESTROYS
    assert dict(machine.calls())["pytest no:randomly tests/e2e/test_paths.py"][-2:] == ["-k", "doctor"]
    assert_removed(machine, told)


def test_what_is_planned_is_told_with_its_price_and_nothing_is_made_without_a_yes(machine):
    code, told = machine.ran(answer="no\n")
    assert (code, machine.steps(), list(machine.runs.glob("*"))) == (1, [], [])
    assert re.search(r"everything with e2e\w{6} in its name", told)
    assert re.search(r"\d\.\d\d USD  Cloud SQL, db-f1-micro", told)
    assert "Nothing was made." in told
    code, told = machine.ran(answer="yes\n")
    assert code == 0, told


def test_what_a_deployment_beside_it_needs_is_not_removed(machine):
    machine.ran("--yes")
    forgotten = dict(machine.calls())["terraform state rm terraform"]
    assert forgotten[-1] == "google_project_iam_member.bucket_events"
    steps = machine.steps()
    assert steps.index("terraform state rm terraform") < steps.index("terraform destroy terraform")


def test_if_that_can_not_be_kept_the_suite_is_not_destroyed_by_terraform(machine):
    machine.faults({"terraform state rm terraform": ["fail"]})
    code, told = machine.ran("--yes")
    assert machine.destroyed() == ["terraform destroy project"]
    assert "terraform state rm … failed with 1" in told
    assert code == 0, "what carries the run's name is removed by the sweep"


def test_no_password_is_in_a_command_a_file_or_what_is_told(machine):
    _, told = machine.ran("--yes")
    words = (machine.home / "passwords").read_text().split()
    assert len(words) == len(set(words)) >= 3
    (folder,) = machine.runs.iterdir()
    files = [path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()]
    for place in (told, (machine.home / "calls").read_text(), *files):
        assert not [word for word in words if word in place]


@pytest.mark.matrix
@pytest.mark.parametrize("step", STEPS)
def test_ctrl_c_at_any_step_removes_what_was_made(machine, step):
    machine.faults({step: ["hang"]})
    with machine.started("--yes") as process:
        machine.at_it()
        os.killpg(process.pid, signal.SIGINT)
        told, _ = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert "SIGINT: stops after what it is at, and removes what was made" in told
    assert "interrupted" in told
    begun = [STEPS.index(step) >= STEPS.index(apply) for apply in APPLIES]
    assert machine.destroyed() == [destroy for destroy, made in zip(DESTROYS, begun, strict=True) if made]
    assert_removed(machine, told, billed=any(begun))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_so_does_the_end_of_the_shell(machine, number):
    machine.faults({"terraform apply planned terraform": ["hang"]})
    with machine.started("--yes") as process:
        machine.at_it()
        process.stdout.close()  # the terminal is gone
        os.killpg(process.pid, number)
        assert process.wait(120) == 130
    assert machine.destroyed() == DESTROYS
    assert machine.states() == []


def test_terraform_gets_one_signal_of_one_ctrl_c_and_a_second_of_the_second(machine):
    machine.faults({"terraform apply project": ["deaf"]})
    with machine.started("--yes") as process:
        machine.at_it()
        os.killpg(process.pid, signal.SIGINT)
        wait_for(lambda: (machine.home / "heard").read_text() == "1")
        os.killpg(process.pid, signal.SIGINT)
        told, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert_removed(machine, told)


def test_ctrl_c_does_not_disturb_the_removal(machine):
    machine.faults({"terraform destroy terraform": ["slow"]})
    with machine.started("--yes") as process:
        machine.at_it()
        for _ in range(3):
            os.killpg(process.pid, signal.SIGINT)
        (machine.home / "go").touch()
        told, _ = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert "SIGINT: the removal goes on" in told
    assert machine.destroyed() == DESTROYS
    assert_removed(machine, told)


@pytest.mark.parametrize("step", ["terraform apply project", "terraform apply planned terraform"])
def test_an_apply_that_fails_in_the_middle_is_told_and_removed(machine, step):
    machine.faults({step: ["fail"]})
    code, told = machine.ran("--yes")
    assert code == 1
    assert "terraform met its fault" in told
    assert_removed(machine, told)


def test_failed_tests_are_the_result(machine):
    machine.faults({"pytest no:randomly tests/e2e/test_paths.py": ["fail"]})
    code, told = machine.ran("--yes")
    assert (code, "the tests failed, with 1" in told) == (1, True)
    assert_removed(machine, told)


def test_a_destroy_that_fails_is_tried_once_more(machine):
    machine.faults({"terraform destroy terraform": ["fail"]})
    code, told = machine.ran("--yes")
    assert code == 0
    assert machine.destroyed() == [DESTROYS[0], *DESTROYS]
    assert_removed(machine, told)


def test_a_removal_that_fails_tells_what_is_left_and_the_command_for_it(machine):
    with machine.started("--yes") as process:
        wait_for(lambda: machine.runs.exists() and list(machine.runs.glob("*/run.json")))
        (folder,) = machine.runs.iterdir()
        suffix = folder.name
        network = f"recosync-{suffix}"
        machine.stands(**{"compute networks": [network, "default"], "sql instances": [network, "production"]})
        machine.faults(
            {f"gcloud compute networks delete {network}": ["fail"], "terraform destroy project": ["fail", "fail"]}
        )
        told, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert f"removes what Terraform did not: Cloud SQL instance {network}" in told
    left = told.partition("LEFT in my-project, and paid for:\n")[2].splitlines()
    assert left == [
        f"  network {network}: gcloud compute networks delete {network} --project=my-project --quiet",
        f"Try all of it again: make e2e PROJECT=my-project REGION=europe-west1 REMOVE={suffix}",
    ]
    deleted = [arguments for _, arguments in machine.calls() if "delete" in arguments]
    assert not [arguments for arguments in deleted if {"default", "production"} & set(arguments)]
    code, told = machine.ran("--remove", suffix)
    assert code == 0, told
    assert machine.destroyed()[-1] == "terraform destroy project"
    assert machine.states() == []


def test_what_a_machine_that_died_has_left_is_removed_by_its_suffix(machine):
    machine.faults({"terraform apply planned terraform": ["slow"]})
    with machine.started("--yes") as process:
        machine.at_it()
        (folder,) = machine.runs.iterdir()
        assert "is at work on this machine" in machine.ran("--remove", folder.name)[1]
        process.kill()
        process.wait()
        (machine.home / "go").touch()
    code, told = machine.ran("--remove", folder.name)
    assert code == 0, told
    assert machine.destroyed() == DESTROYS
    assert machine.states() == []


def test_without_its_state_what_carries_the_name_is_removed(machine):
    machine.stands(**{"pubsub topics": ["recosync-e2eabc234-published", "recosync-prod-published"]})
    code, told = machine.ran("--remove", "e2eabc234")
    assert code == 0
    assert "this machine has no state of e2eabc234" in told
    assert "USD" not in told, "nobody knows how long it stood"
    stands = json.loads((machine.home / "stands.json").read_text())
    assert stands == {"pubsub topics list": ["recosync-prod-published"]}


def test_what_can_not_be_looked_for_counts_as_left(machine):
    machine.faults({"gcloud sql instances list": ["fail", "fail"]})
    code, told = machine.ran("--remove", "e2eabc234")
    assert code == 1
    assert "perhaps a Cloud SQL instance: it could not be looked for: gcloud sql instances list" in told


def test_ctrl_c_at_the_question_makes_nothing(machine):
    with machine.started() as process:
        wait_for(lambda: "[y/N]" in _peeked(process))
        os.killpg(process.pid, signal.SIGINT)
        told, _ = process.communicate(timeout=120)
    assert (process.returncode, machine.steps(), list(machine.runs.glob("*"))) == (1, [], [])
    assert "Nothing was made." in told


def _peeked(process):
    """What a process has said so far, read once."""
    os.set_blocking(process.stdout.fileno(), False)
    try:
        return os.read(process.stdout.fileno(), 100_000).decode()
    except BlockingIOError:
        return ""
    finally:
        os.set_blocking(process.stdout.fileno(), True)


@pytest.mark.parametrize("suffix", ["prod", "e2e", "e2eabc234x", "e2e-*"])
def test_nothing_but_a_run_is_removed(machine, suffix):
    code, told = machine.ran("--remove", suffix)
    assert (code, machine.steps()) == (2, [])
    assert "REMOVE is the suffix of a run" in told


def test_a_run_of_another_project_is_not_looked_for_in_this_one(machine):
    (machine.runs / "e2eabc234").mkdir(parents=True)
    run = runs.Run("e2eabc234", "other-project", "europe-west1", direct=False, postgres=15, begun=0)
    (machine.runs / "e2eabc234" / "run.json").write_text(json.dumps(vars(run)))
    code, told = machine.ran("--remove", "e2eabc234")
    assert (code, machine.steps()) == (2, [])
    assert "ran in the project other-project" in told


def test_a_program_that_is_missing_is_named_before_anything_is_asked(machine):
    (machine._bin / "cloud-sql-proxy").unlink()
    code, told = machine.ran("--yes")
    assert (code, "not on PATH: cloud-sql-proxy" in told) == (2, True)
