"""The end-to-end tests against a real Google Cloud project: `make e2e PROJECT=my-project`.

A run makes what the suite needs (tests/e2e/project), the suite over it (terraform/), runs tests/e2e/test_paths.py,
removes all of it, and tells what that cost: also after a failure or a Ctrl-C at any moment. Every name carries the
run's suffix. What a removal needs is on the disk before anything is made: `make e2e PROJECT=… REMOVE=<suffix>` removes
what a machine that died has left.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.e2e import bill, leftovers
from tests.e2e.programs import FailedError, InterruptedRunError, Programs

ROOT = Path(__file__).parents[2]
RUNS = ROOT / ".cache" / "e2e"
NEEDED = ("terraform", "gcloud", "bq", "psql", "cloud-sql-proxy")
#: An environment's name, short enough for an account's id. Nobody's deployment is called so by chance, because what
#: carries a suffix is removed.
SUFFIX = re.compile(r"e2e[a-z2-9]{6}")
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
#: A role of Cloud Storage's own agent in the project, which a deployment beside this run may have and need.
SHARED = "google_project_iam_member.bucket_events"
_PARTS = ("functions", "shared", "sql", "terraform", "tests/catalog", "tests/e2e/project")
#: What is somebody's own in a folder: a backend and variables of a deployment above all.
_NOT_OURS = shutil.ignore_patterns(
    *(".terraform*", "*.tfstate*", "*.tfvars", "*.tfvars.json", "backend.tf", "*_override.tf", "__pycache__")
)


@dataclass(frozen=True)
class Run:
    """What a run is, and all that is written down of it before it begins."""

    suffix: str
    project: str
    region: str
    direct: bool
    postgres: int
    #: None: this machine does not know.
    begun: float | None

    @property
    def folder(self) -> Path:
        return RUNS / self.suffix

    @property
    def tree(self) -> Path:
        """A copy of what Terraform reads: an edit of the tree, or a backend in it, does not change what is removed."""
        return self.folder / "tree"

    @property
    def made_for(self) -> Path:
        """The configuration of what a user brings."""
        return self.tree / "tests" / "e2e" / "project"

    @property
    def suite(self) -> Path:
        return self.tree / "terraform"

    def project_variables(self) -> dict[str, object]:
        """The variables of what a user brings."""
        return {
            "project_id": self.project,
            "region": self.region,
            "environment": self.suffix,
            "postgres": self.postgres,
            "direct": self.direct,
        }

    def suite_variables(self, made: Mapping[str, Any], viewer: str) -> dict[str, object]:
        """The suite's variables over what was made. No name is one that another environment has."""
        instance = made["instance"]
        return {
            "project_id": self.project,
            "region": self.region,
            "environment": self.suffix,
            "catalog_folder": str(self.tree / "tests" / "catalog"),
            "source_datasets": made["source_datasets"],
            "cloud_sql": {
                "instance": instance["name"],
                "connection_limit": instance["connection_limit"],
                "reserved_connections": 10,
            },
            "vpc": {"direct": {"subnetwork": made["subnetwork"]}}
            if self.direct
            else {"subnetwork": made["subnetwork"]},
            "bucket_names": {kind: f"{self.project}-{self.suffix}-{kind}" for kind in ("export", "hourly", "source")},
            "hourly_start": f"{datetime.fromtimestamp(self.begun or 0, UTC) - timedelta(hours=3):%Y%m%dT%H}",
            # The tests call; nobody else does meanwhile.
            "schedules": {"daily": "0 0 1 1 *", "hourly": "0 0 1 1 *", "suffix": f"-{self.suffix}"},
            "status_viewers": [viewer],
            "keep_data": False,
        }

    def write(self) -> None:
        """Onto the disk, before anything is made."""
        (self.folder / "run.json").write_text(json.dumps(asdict(self), indent=1))
        for part in _PARTS:
            shutil.copytree(ROOT / part, self.tree / part, ignore=_NOT_OURS)

    @classmethod
    def read(cls, suffix: str) -> Run | None:
        """A run that was written down; None where this machine knows of none."""
        with suppress(FileNotFoundError):
            return cls(**json.loads((RUNS / suffix / "run.json").read_text()))
        return None


def new(project: str, region: str, *, direct: bool = False, postgres: int = 15) -> Run:
    """A run under a suffix of its own."""
    suffix = "e2e" + "".join(secrets.choice(_LETTERS) for _ in range(6))
    return Run(suffix, project, region, direct, postgres, time.time())


def plan(run: Run) -> list[str]:
    """What a run will make, and what that costs."""
    way = "addresses in a subnetwork" if run.direct else "a connector"
    return [
        f"In the project {run.project}, in {run.region}, everything with {run.suffix} in its name:",
        f"  a network with private service access; Cloud SQL for PostgreSQL {run.postgres}, db-f1-micro",
        "  two data sets with made-up rows",
        f"  the suite: five functions over {way}, 3 buckets, 2 data sets, 2 secrets, 2 Scheduler jobs, a topic, alerts",
        "What stays when it is removed: APIs that were turned on, logs, pubsub.publisher of Cloud Storage's own agent.",
        "An estimate of the bill, without free tiers:",
        *bill.told(bill.items(connector=not run.direct), bill.EXPECTED_HOURS),
    ]


class Maker:
    """Makes a run's things, tests them, and removes them."""

    def __init__(self, run: Run, programs: Programs) -> None:
        self.run, self._programs, self._say = run, programs, programs.say
        self._passwords = {role: secrets.token_urlsafe(24) for role in ("administrator", "loader", "status")}

    def make_and_test(self, arguments: Sequence[str]) -> int:
        """The exit code of the tests. Raises FailedError and InterruptedRunError."""
        run, programs = self.run, self._programs
        # First of all: whoever may not look at the project needs to wait for nothing.
        viewer = programs.run("gcloud", "config", "get-value", "account").strip()
        if not viewer:
            raise FailedError("gcloud knows no account: gcloud auth login, and gcloud auth application-default login")
        programs.run("gcloud", "projects", "describe", run.project)
        self._say("makes network, instance and data sets (a quarter of an hour)")
        password = {"TF_VAR_administrator_password": self._passwords["administrator"]}
        self._write(run.made_for, run.project_variables())
        self._terraform(run.made_for, "init")
        self._terraform(run.made_for, "apply", "-auto-approve", env=password)
        made = self._outputs(run.made_for)
        kind = "serviceAccount" if viewer.endswith(".gserviceaccount.com") else "user"
        self._write(run.suite, run.suite_variables(made, f"{kind}:{viewer}"))
        with self._proxy(made) as port:
            self._say("makes the database's roles")
            self._prepare(made, port)
            self._say("makes the suite (a quarter of an hour)")
            self._make_suite(made)
            self._say("runs the tests")
            return self._test(made, port, arguments)

    @property
    def made(self) -> bool:
        """Whether Terraform has begun to make anything."""
        return any(_state(folder).is_file() for folder in (self.run.made_for, self.run.suite))

    def remove(self) -> list[leftovers.Left]:
        """Remove all of it; what is left."""
        run, programs = self.run, self._programs
        programs.removing = True
        self._say(f"removes what {run.suffix} made (10 to 20 minutes)")
        for folder, forget in ((run.suite, SHARED), (run.made_for, None)):
            try:
                self._destroy(folder, forget)
            except FailedError as failed:
                self._say(f"{failed}")
        return leftovers.sweep(programs, run.project, run.region, run.suffix)

    def _make_suite(self, made: Mapping[str, Any]) -> None:
        run, programs = self.run, self._programs
        address = made["instance"]["address"]
        urls = {role: self._url(role, f"{address}", made) for role in ("loader", "status")}
        written = {"TF_VAR_database_urls": json.dumps(urls), "TF_VAR_database_urls_version": "1"}
        self._terraform(run.suite, "init")
        self._terraform(run.suite, "plan", "-out=planned", env=written)
        planned = run.folder / "planned.json"
        planned.write_text(programs.run("terraform", "show", "-json", "planned", cwd=run.suite))
        # 3: something could not be looked at.
        code, told, errors = programs.attempt(_own("recosync"), "doctor", "--plan", str(planned), cwd=ROOT)
        if code not in (0, 3):
            raise FailedError(f"the doctor finds what the apply would fail for:\n{told}{errors}")
        self._terraform(run.suite, "apply", "planned", env=written)

    def _test(self, made: Mapping[str, Any], port: int, arguments: Sequence[str]) -> int:
        run, programs = self.run, self._programs
        outputs = self._outputs(run.suite)
        deployment = run.folder / "deployment.json"
        deployment.write_text(json.dumps(outputs["deployment"]))
        own = outputs["function_environment"]["hourly_export"]
        env = {
            name: value for name, value in own.items() if name not in ("DATABASE_URL_FILE", "FUNCTION_TIMEOUT_SECONDS")
        }
        here = f"127.0.0.1:{port}"
        env |= {
            "RECOSYNC_E2E_DEPLOYMENT": str(deployment),
            "RECOSYNC_E2E_ADMINISTRATOR_URL": self._url("administrator", here, made),
            "DATABASE_URL": self._url("loader", here, made),
        }
        # Google's services take longer than emulators do: each wait has a limit of its own.
        own = ("-p", "no:randomly", "--timeout=0", "-ra")
        command = (_own("pytest"), *own, "tests/e2e/test_paths.py", *arguments)
        return programs.attempt(*command, cwd=ROOT, env=env, shown=True)[0]

    def _prepare(self, made: Mapping[str, Any], port: int) -> None:
        """What docs/deploy.md asks of an administrator, and of the log's owner."""
        roles = [f"--set={role}={role}" for role in ("loader", "status", "api")]
        deploy = self.run.tree / "sql" / "deploy" / "database.sql"
        words = {f"RECOSYNC_E2E_{role.upper()}_PASSWORD": word for role, word in self._passwords.items()}
        administrator = self._login("administrator", made, port) | words
        self._psql(administrator, *roles, f"--set=deploy={deploy}", f"--file={self.run.made_for / 'roles.sql'}")
        log = ROOT / "local" / "input" / "past_offer_context.sql"
        self._psql(self._login("loader", made, port), f"--file={log}")

    def _login(self, role: str, made: Mapping[str, Any], port: int) -> dict[str, str]:
        """In the environment, which other users of this machine do not see."""
        where = {"PGHOST": "127.0.0.1", "PGPORT": f"{port}", "PGDATABASE": f"{made['database']['name']}"}
        return {**where, "PGUSER": role, "PGPASSWORD": self._passwords[role]}

    def _psql(self, login: Mapping[str, str], *arguments: str) -> None:
        self._programs.run("psql", "-X", "--set=ON_ERROR_STOP=1", *arguments, env=login)

    @contextmanager
    def _proxy(self, made: Mapping[str, Any]) -> Iterator[int]:
        """A port of this machine that leads to the instance, for whoever IAM lets in."""
        name = made["instance"]["connection_name"]
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with (self.run.folder / "proxy.log").open("wb") as log:
            # In a session of its own: a Ctrl-C must not take the tests' database away.
            proxy = subprocess.Popen(
                ["cloud-sql-proxy", "--port", str(port), str(name)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait_for(proxy, port)
            yield port
        finally:
            proxy.terminate()
            proxy.wait()

    def _wait_for(self, proxy: subprocess.Popen[bytes], port: int) -> None:
        deadline = time.monotonic() + 60
        while proxy.poll() is None and time.monotonic() < deadline:
            with suppress(OSError):
                return socket.create_connection(("127.0.0.1", port), timeout=1).close()
            time.sleep(0.1)
        raise FailedError(f"cloud-sql-proxy does not listen: {(self.run.folder / 'proxy.log').read_text()[-2000:]}")

    def _destroy(self, folder: Path, forget: str | None) -> None:
        """Destroy what a state knows. A machine that died may have left a Terraform at work, which holds the lock."""
        if not _state(folder).is_file():
            return
        known = self._programs.run("terraform", "state", "list", cwd=folder).split()
        if forget in known:
            self._programs.run("terraform", "state", "rm", "-lock-timeout=30m", forget, cwd=folder)
        try:
            self._terraform(folder, "destroy", "-auto-approve", "-lock-timeout=30m")
        except FailedError as failed:
            # Google is often not done with one thing when the next is to go.
            self._say(f"{failed}\ntries once more")
            self._terraform(folder, "destroy", "-auto-approve", "-lock-timeout=30m", "-refresh=false")

    def _terraform(self, folder: Path, command: str, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self._programs.run("terraform", command, "-input=false", "-no-color", *arguments, cwd=folder, env=env)

    def _outputs(self, folder: Path) -> dict[str, Any]:
        read = json.loads(self._programs.run("terraform", "output", "-json", cwd=folder))
        return {name: output["value"] for name, output in read.items()}

    def _write(self, folder: Path, variables: Mapping[str, object]) -> None:
        """Where Terraform reads them by itself, a destroy too."""
        (folder / "e2e.auto.tfvars.json").write_text(json.dumps(variables, indent=1))

    def _url(self, role: str, host: str, made: Mapping[str, Any]) -> str:
        database = made["database"]["name"]
        return f"postgresql://{role}:{quote(self._passwords[role], safe='')}@{host}/{database}"


def _state(folder: Path) -> Path:
    return folder / "terraform.tfstate"


def _own(program: str) -> str:
    """A program of the environment that `make` sets up, which need not be on PATH."""
    return shutil.which(program) or str(Path(sys.prefix) / "bin" / program)


def make_test_remove(run: Run, programs: Programs, arguments: Sequence[str]) -> int:
    """The whole of a run. Whatever happens, what was made is removed."""
    maker, code = Maker(run, programs), 1
    try:
        code = maker.make_and_test(arguments)
        programs.say("the tests passed" if code == 0 else f"the tests failed, with {code}")
    except InterruptedRunError:
        code = 130
        programs.say("interrupted")
    except FailedError as failed:
        programs.say(f"{failed}")
    finally:
        # Also after what nobody thought of.
        code = remove(maker, programs) or code
    return code


def remove(maker: Maker, programs: Programs) -> int:
    """Remove, and tell what is left; 0 if nothing is."""
    run, made = maker.run, maker.made
    try:
        left = maker.remove()
    except Exception:
        programs.say(f"the removal broke. {again(run)}")
        raise
    if left:
        programs.say(f"LEFT in {run.project}, and paid for:")
        for one in left:
            programs.say(f"  {one}")
        programs.say(again(run))
        return 1
    programs.say(f"all of {run.suffix} is removed")
    if made and run.begun is not None:
        programs.say("What it cost, at most:")
        for line in bill.told(bill.items(connector=not run.direct), (time.time() - run.begun) / 3600):
            programs.say(line)
    # The log stays. From now on this machine knows of nothing to remove.
    (run.folder / "run.json").unlink(missing_ok=True)
    shutil.rmtree(run.tree, ignore_errors=True)
    return 0


def again(run: Run) -> str:
    """What somebody can do about a removal that left something."""
    return f"Try all of it again: make e2e PROJECT={run.project} REGION={run.region} REMOVE={run.suffix}"


@contextmanager
def alone(run: Run) -> Iterator[None]:
    """Nobody else is at this run meanwhile."""
    run.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (run.folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SystemExit(
                f"{run.suffix} is at work on this machine: stop it with Ctrl-C, and it removes itself"
            ) from None
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make e2e", description=__doc__, allow_abbrev=False)
    parser.add_argument("--project", required=True, help="the id of the project")
    parser.add_argument("--region", default="europe-west1")
    parser.add_argument("--yes", action="store_true", help="ask nothing")
    parser.add_argument("--remove", metavar="SUFFIX", help="only remove what a run has left")
    parser.add_argument("--direct", action="store_true", help="functions with addresses in a subnetwork, no connector")
    parser.add_argument("--postgres", type=int, default=15, help="the version of PostgreSQL")
    asked, rest = parser.parse_known_args(arguments)
    if not re.fullmatch("[a-z][a-z0-9-]{4,28}[a-z0-9]", asked.project):
        parser.error("name the project by its id: make e2e PROJECT=my-project")
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        parser.error(
            f"not installed, or not on PATH: {', '.join(missing)}; tests/e2e/README.md says where they come from"
        )
    if asked.remove:
        return _remove_only(parser, asked)
    run = new(asked.project, asked.region, direct=asked.direct, postgres=asked.postgres)
    print("\n".join(plan(run)), flush=True)  # noqa: T201 - this is what the command prints
    if not asked.yes and not _agreed():
        print("Nothing was made.")  # noqa: T201 - likewise
        return 1
    with alone(run):
        programs = Programs(run.folder / "log")
        try:
            run.write()
            programs.say(f"run {run.suffix}; what it does is in {run.folder}: log, and printed of what runs")
        except InterruptedRunError:
            programs.say("interrupted: nothing was made")
            return 130
        return make_test_remove(run, programs, rest)


def _remove_only(parser: argparse.ArgumentParser, asked: argparse.Namespace) -> int:
    if not SUFFIX.fullmatch(asked.remove):
        parser.error("REMOVE is the suffix of a run, such as e2eabc234: nothing else is removed")
    known = Run.read(asked.remove)
    run = known or Run(asked.remove, asked.project, asked.region, asked.direct, asked.postgres, begun=None)
    if run.project != asked.project:
        parser.error(f"{run.suffix} ran in the project {run.project}")
    with alone(run):
        programs = Programs(run.folder / "log")
        if known is None:
            programs.say(f"this machine has no state of {run.suffix}: what carries its name is removed")
        return remove(Maker(run, programs), programs)


def _agreed() -> bool:
    try:
        return input("Make all this? [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        return False


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
