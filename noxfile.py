"""Checks and tests. `make` sets the machine up first; then `.venv/bin/nox -l` lists what there is.

Sessions run in the project's own environment, which `local/setup.sh` makes from the lock, except where another
Python is the point.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2026.10"
nox.options.default_venv_backend = "uv"
nox.options.sessions = ["lint", "types", "compat", "tests"]

BIN = Path(sys.prefix) / "bin"
# Each worker has an emulated cloud of its own, of 1 GB. One more than there are processors, because tests also wait. A
# server of the user's, which POSTGRES names, is for one worker.
COUNT = 1 if "://" in os.environ.get("POSTGRES", "") else min(4, (os.cpu_count() or 1) + 1)
WORKERS = ("--numprocesses", str(COUNT), "--dist", "loadscope", "--no-loadscope-reorder")
#: The newest PostgreSQL that is supported, and the modules of tests that meet its catalogs, its messages and its locks.
NEWEST_POSTGRES = "18"
CATALOGS = (
    *("belongings", "connecting", "database_url", "declared_indexes", "deployed_database", "drift", "drift_demands"),
    *("drift_refused", "drift_rights", "extensions", "hourly_source", "ledger", "ledger_versions", "migrate"),
    *("own_server", "publish", "refresh", "removal", "schemas", "sessions", "swap", "tables_and_views", "vector_views"),
)
OLDEST = nox.project.python_versions(nox.project.load_toml("pyproject.toml"), max_version="3.13")[0]


def _interpreter(version: str) -> str | None:
    """A Python of that version that runs: uv and nox see only PATH, and pyenv keeps most of its own off it."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for candidate in (shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}*/bin/python{version}"))):
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
            return str(candidate)
    return None


def _run(session: nox.Session, tool: str, *arguments: str) -> None:
    session.run(str(BIN / tool), *arguments, external=True)


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """On the Python that is deployed, of the longest matrices a random share. Arguments go to pytest instead."""
    _run(session, "pytest", *(session.posargs or (*WORKERS, "--share", "0.25")))


@nox.session(venv_backend="none", default=False)
def tests_all(session: nox.Session) -> None:
    """Every test, on the Python that is deployed."""
    _run(session, "pytest", *WORKERS, "--odd-files", "300", *session.posargs)


@nox.session(venv_backend="none", default=False)
def tests_newest(session: nox.Session) -> None:
    """The tests that meet PostgreSQL's catalogs, on the newest that is supported, which `local/setup.sh` unpacks."""
    here = {"POSTGRES": NEWEST_POSTGRES}
    if subprocess.run([Path("local/setup.sh").absolute()], env={**os.environ, **here}).returncode:
        session.skip(f"PostgreSQL {NEWEST_POSTGRES} is not to be had: it is NOT TESTED")
    modules = [f"tests/integration/test_{name}.py" for name in CATALOGS]
    session.run(str(BIN / "pytest"), *modules, *WORKERS, *session.posargs, external=True, env=here)


@nox.session(python=_interpreter(OLDEST) or OLDEST)
def compat(session: nox.Session) -> None:
    """On the oldest Python supported: unit tests, and each function's start with what is deployed and nothing else."""
    here = {"UV_PROJECT_ENVIRONMENT": session.virtualenv.location}
    sync = ("uv", "sync", "--quiet", "--frozen", "--no-default-groups", "--python", str(session.python))
    session.run_install(*sync, "--group", "test", "--extra", "cli", env=here)
    session.run("pytest", "tests/unit", "--numprocesses", "auto", *session.posargs)
    session.run_install(*sync, "--group", "test", "--no-install-project", env=here)
    session.run("pytest", "-m", "starts", "tests/e2e/test_starts.py")


@nox.session(venv_backend="none")
def lint(session: nox.Session) -> None:
    """Style, the floors between modules, and the SQL."""
    _run(session, "ruff", "check", *session.posargs)
    _run(session, "ruff", "format", "--check")
    _run(session, "lint-imports")
    statements = ["sql/ledger", *map(str, Path("sql").glob("*.sql"))]
    for rules, files in (("statements", statements), ("views", ["sql/views"])):
        _run(session, "sqlfluff", "lint", "--ignore-local-config", "--config", f"sql/lint/{rules}.cfg", *files)


@nox.session(venv_backend="none")
def types(session: nox.Session) -> None:
    """Types, strictly. What to check is in pyproject.toml."""
    _run(session, "mypy", *session.posargs)


@nox.session(python=_interpreter("3.13") or "3.13", default=False)
def terraform(session: nox.Session) -> None:
    """Format, validity and tests of the root module and of each small one, and checkov. Reaches no cloud.

    TF_CLI_CONFIG_FILE says where the providers are, if they can't be fetched.
    """
    if shutil.which("terraform") is None:
        session.skip("terraform is not installed: the infrastructure is NOT TESTED")
    here = {"UV_PROJECT_ENVIRONMENT": session.virtualenv.location}
    only = ("--no-default-groups", "--group", "terraform", "--no-install-project")
    session.run_install("uv", "sync", "--quiet", "--frozen", *only, env=here)
    for part in ("terraform", "tests/e2e/project"):
        session.run("terraform", "fmt", "-check", "-diff", "-recursive", part, external=True)
    session.run("checkov", "--config-file", "terraform/.checkov.yaml")
    # A copy: what init writes, a lock file of stand-ins above all, must not lie in the tree.
    copy = Path(session.create_tmp()) / "tree"
    shutil.rmtree(copy, ignore_errors=True)
    for part in ("functions", "shared", "sql", "terraform", "tests/e2e/project"):
        shutil.copytree(part, copy / part, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "__pycache__"))
    modules = sorted(path.parent for path in copy.glob("terraform/modules/*/versions.tf"))
    for module in (copy / "terraform", *modules, copy / "tests/e2e/project"):
        with session.chdir(module):
            _init(session)
            session.run("terraform", "validate", external=True)
            session.run("terraform", "test", *session.posargs, external=True)


def _init(session: nox.Session) -> None:
    """Have the providers, or skip the session where there are none to be had. Stand-ins that a configuration names need
    no init, and are of no version.
    """
    configuration = Path(os.environ.get("TF_CLI_CONFIG_FILE") or os.devnull)
    stand_ins = configuration.exists() and "dev_overrides" in configuration.read_text()
    command = ("terraform", "init", "-backend=false", "-input=false", "-no-color")
    if stand_ins:
        command = ("terraform", "get", "-no-color")
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode and re.search("Failed to (query available provider packages|install provider)", made.stderr):
        session.skip("terraform has no providers (no network, no TF_CLI_CONFIG_FILE): the infrastructure is NOT TESTED")
    if made.returncode:
        session.error(made.stderr)


@nox.session(python=_interpreter("3.13") or "3.13", default=False)
def airflow(session: nox.Session) -> None:
    """The DAGs in docs/airflow, run against the emulated cloud by Apache Airflow, in an environment of its own."""
    python = str(Path(session.bin) / "python")
    install = (str(BIN / "uv"), "pip", "install", "--quiet", "--python", python)
    made = subprocess.run((*install, "--requirement", "tests/airflow/requirements.txt"), capture_output=True, text=True)
    if made.returncode and re.search("Failed to (fetch|download)|error sending request", made.stderr):
        session.skip("Apache Airflow can't be fetched: the DAGs in docs/airflow are NOT TESTED")
    if made.returncode:
        session.error(made.stderr)
    here = {"RECOSYNC_AIRFLOW_PYTHON": python}
    session.run(str(BIN / "pytest"), *(session.posargs or ["tests/airflow"]), external=True, env=here)


@nox.session(python=_interpreter("3.13") or "3.13", default=False)
def bench(session: nox.Session) -> None:
    """Speed and memory beside their references: `-- --rows 100000 --case load` for less, `-- --write` for the docs."""
    here = {"UV_PROJECT_ENVIRONMENT": session.virtualenv.location}
    only = ("--no-default-groups", "--group", "bench", "--group", "local", "--no-install-project")
    session.run_install("uv", "sync", "--quiet", "--frozen", *only, env=here)
    session.run("python", "-m", "tests.bench", *session.posargs)


@nox.session(venv_backend="none", default=False)
def bench_small(session: nox.Session) -> None:
    """CPU, statements and requests beside what they were: `-- --write` when they are to be others."""
    _run(session, "python", "-m", "tests.bench.small", *session.posargs)


@nox.session(venv_backend="none", default=False)
def fuzz(session: nox.Session) -> None:
    """Odd and damaged Parquet files for a real gcs_import, for an hour: `-- --minutes 5`, `-- --seed 7 --files 1`."""
    _run(session, "python", "-m", "tests.fuzz", *session.posargs)


@nox.session(venv_backend="none", default=False)
def chaos(session: nox.Session) -> None:
    """Schedules of faults by chance, for an hour each: `-- hourly --worlds 3`, `-- daily --seed 7 --schedules 1`."""
    _run(session, "python", "-m", "tests.chaos", *session.posargs)


@nox.session(venv_backend="none", default=False)
def age(session: nox.Session) -> None:
    """What age and load cost: 60 days, years of hour manifests, 200 events at once. `-- days --days 6` for less."""
    _run(session, "python", "-m", "tests.age", *session.posargs)


@nox.session(venv_backend="none", default=False)
def demo(session: nox.Session) -> None:
    """The daily job and a day of hours on emulators: `-- --rows 3000000` for more."""
    _run(session, "python", "-m", "local.demo", *session.posargs)


@nox.session(venv_backend="none", default=False)
def local(session: nox.Session) -> None:
    """The emulated cloud in the foreground, until Ctrl-C."""
    _run(session, "python", "-m", "local.serve", *session.posargs)


@nox.session(venv_backend="none", default=False)
def screenshots(session: nox.Session) -> None:
    """The status page's pictures in docs/images, and its states in .cache/screenshots, by Debian's Chromium; and the
    transcript of `recosync status` in docs/runbook.md.
    """
    _run(session, "python", "-m", "tests.browser.screenshots", *session.posargs)
    _run(session, "python", "-m", "tests.browser.transcript")
