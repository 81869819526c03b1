"""What a run found, where and with what: as JSON, and back."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from inspect import cleandoc
from pathlib import Path

import msgspec
import psycopg

from tests.bench.measure import Result

PACKAGES = ("duckdb", "pgpq", "psycopg", "pyarrow", "adbc-driver-postgresql", "dlt", "polars")

_BLOCK = 8192
_SYNCS = 200
_MEBIBYTE = 2**20
_WRITTEN = 256


@dataclass(frozen=True)
class Machine:
    """What it ran on. `disk` is where PostgreSQL's data lies; after `sync_ms`, a write of 8 KiB to it is safe."""

    processor: str
    processors: int
    memory_gib: float
    disk: str
    sync_ms: float
    write_mib_s: float
    kernel: str


@dataclass(frozen=True)
class Case:
    """One case: what its docstring and its module's say, how long it took, and what crashed it if something did."""

    name: str
    title: str
    about: str
    background: str
    seconds: float
    results: Sequence[Result]
    crash: str = ""


@dataclass(frozen=True)
class Run:
    """One run of the benchmark. `commit` is empty where git knows none; `changed` says that files differ from it."""

    date: datetime
    commit: str
    changed: bool
    rows: int
    log_rows: int
    rounds: int
    machine: Machine
    versions: Mapping[str, str]
    settings: Mapping[str, str]
    cases: Sequence[Case]


def dump(run: Run) -> str:
    """The run as JSON, figures to six digits."""
    return json.dumps(_rounded(msgspec.to_builtins(run)), indent=1, ensure_ascii=False) + "\n"


def load(text: str) -> Run:
    return msgspec.json.decode(text, type=Run)


def describe(docstring: str, module: str) -> tuple[str, str, str]:
    """Title, text and background of a case: its docstring's first sentence and rest, its module's after the first."""
    first, _, rest = cleandoc(docstring).partition("\n\n")
    title, _, more = " ".join(first.split()).partition(". ")
    about = "\n\n".join(filter(None, (more, rest)))
    return title.removesuffix("."), about, cleandoc(module).partition("\n\n")[2]


def machine(place: Path) -> Machine:
    """This machine, and the disk that a folder lies on."""
    processors = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", processors, re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    sync_ms, write_mib_s = _disk_speed(place / "probe")
    return Machine(
        processor=model[1] if model else platform.machine(),
        processors=len(os.sched_getaffinity(0)),
        memory_gib=memory,
        disk=_disk(place),
        sync_ms=sync_ms,
        write_mib_s=write_mib_s,
        kernel=f"{platform.system()} {platform.release()}",
    )


def versions(server: psycopg.Connection) -> dict[str, str]:
    """What was measured, and what it was measured with."""
    (number,) = server.execute("SHOW server_version").fetchone() or ("",)
    python = {"Python": platform.python_version(), "PostgreSQL": str(number).split()[0]}
    return python | {package: _version(package) for package in PACKAGES}


def commit(root: Path) -> tuple[str, bool]:
    """The commit that is checked out, and whether files differ from it."""

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
        except FileNotFoundError:
            return ""
        return "" if done.returncode else done.stdout.strip()

    return git("rev-parse", "--short=12", "HEAD"), bool(git("status", "--porcelain"))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _rounded(value: object) -> object:
    match value:
        case float():
            return int(value) if value.is_integer() else float(f"{value:.6g}")
        case dict():
            return {key: _rounded(item) for key, item in value.items()}
        case list() | tuple():
            return [_rounded(item) for item in value]
    return value


def _disk(place: Path) -> str:
    """The file system, and the kind of disk below it as far as Linux knows."""
    number = os.stat(place).st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    mounts = Path("/proc/self/mountinfo").read_text()
    kind = re.search(rf"^\d+ \d+ {device} .* - (\S+) ", mounts, re.MULTILINE)
    system = kind[1] if kind else "unknown file system"
    block = Path(f"/sys/dev/block/{device}").resolve()
    if (block / "partition").exists():
        block = block.parent
    rotational = block / "queue" / "rotational"
    if not rotational.exists():
        return system
    if re.match(r"vd|xvd", block.name):
        return f"{system} on a virtual disk"
    if block.name.startswith("nvme"):
        return f"{system} on NVMe"
    return f"{system} on a {'rotating' if rotational.read_text().strip() == '1' else 'solid-state'} disk"


def _disk_speed(file: Path) -> tuple[float, float]:
    """Milliseconds until a block is safe, and MiB/s of a long write until it is."""
    block = os.urandom(_MEBIBYTE)
    descriptor = os.open(file, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        began = time.perf_counter()
        for _ in range(_SYNCS):
            os.pwrite(descriptor, block[:_BLOCK], 0)
            os.fdatasync(descriptor)
        synced = time.perf_counter()
        for number in range(_WRITTEN):
            os.pwrite(descriptor, block, number * _MEBIBYTE)
        os.fdatasync(descriptor)
        written = time.perf_counter()
    finally:
        os.close(descriptor)
        file.unlink()
    return (synced - began) / _SYNCS * 1000, _WRITTEN / (written - synced)
