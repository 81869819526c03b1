"""What the emulated cloud and the tests need of the machine, where it is, and what to install when it is not there."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from local import CACHE

_DEBIAN_POSTGRES = "usr/lib/postgresql"
_OLDEST_POSTGRES = 15
_PUBSUB_JAR = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"
_SDK_HOMES = ("/usr/lib", "/usr/share", "/opt", "/snap", "~")


class MissingError(Exception):
    """Something has to be installed first: the message is one line that says what."""


def postgres_url() -> str | None:
    """The server of the user's own that POSTGRES names, instead of a version."""
    asked = os.environ.get("POSTGRES", "")
    return asked if "://" in asked else None


@cache
def postgres_bin() -> Path:
    """The programs of the PostgreSQL whose version POSTGRES names: installed, or unpacked by `local/setup.sh`. Without
    one, of the newest that is installed. Each has PostGIS.
    """
    asked = "" if postgres_url() else os.environ.get("POSTGRES", "")
    if asked and not re.fullmatch("[0-9]{2}", asked):
        raise MissingError(f"POSTGRES={asked} is neither a version, such as 17, nor a server's URL")
    places: list[tuple[int, Path]] = [*_debians(Path("/")), *_on_path()]
    if asked:
        places += _debians(CACHE / f"postgresql-{asked}")
    for version, programs in places:
        if version >= _OLDEST_POSTGRES and asked in ("", str(version)):
            return programs
    if asked:
        raise MissingError(
            f"PostgreSQL {asked} with PostGIS is missing: install it (of 15, 17 and 18, make setup unpacks Debian's)"
        )
    raise MissingError(
        f"PostgreSQL {_OLDEST_POSTGRES} or later with PostGIS is missing: "
        "apt-get install --no-install-recommends postgresql postgresql-postgis"
    )


def _debians(root: Path) -> Iterator[tuple[int, Path]]:
    """The versions that have PostGIS where Debian's packages lay them down, the newest first."""
    versions = [int(place.name) for place in (root / _DEBIAN_POSTGRES).glob("[0-9]*") if place.name.isdigit()]
    for version in sorted(versions, reverse=True):
        programs = root / _DEBIAN_POSTGRES / str(version) / "bin"
        postgis = root / f"usr/share/postgresql/{version}/extension/postgis.control"
        if (programs / "initdb").exists() and postgis.exists():
            yield version, programs


def _on_path() -> Iterator[tuple[int, Path]]:
    if config := shutil.which("pg_config"):
        bin_dir, share, version_text = (
            subprocess.run([config, f"--{what}"], capture_output=True, text=True, check=True).stdout.strip()
            for what in ("bindir", "sharedir", "version")
        )
        number = re.search(r"\d+", version_text)
        complete = (Path(share) / "extension/postgis.control").exists() and (Path(bin_dir) / "initdb").exists()
        if complete and number:
            yield int(number[0]), Path(bin_dir)


def _postgres() -> Path | None:
    """No programs are needed where there is a server."""
    return None if postgres_url() else postgres_bin()


def pgbouncer() -> Path:
    """The pooler that a session may not go through: unpacked by `local/setup.sh`, or the one on PATH."""
    unpacked = CACHE / "pgbouncer/usr/sbin/pgbouncer"
    if unpacked.exists():
        return unpacked
    if program := shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"):
        return Path(program)
    raise MissingError("PgBouncer is missing: apt-get install pgbouncer (until then, the tests of poolers are skipped)")


def java() -> Path:
    """The Java that runs the Pub/Sub emulator."""
    if program := shutil.which("java"):
        return Path(program)
    raise MissingError("Java 11 or later is missing: apt-get install --no-install-recommends default-jre-headless")


@cache
def pubsub_jar() -> Path:
    """The Pub/Sub emulator, of the first Google Cloud SDK that has it."""
    for root in _sdk_roots():
        if jars := sorted(root.glob(_PUBSUB_JAR)):
            return jars[-1]
    raise MissingError(
        "the Google Cloud SDK's Pub/Sub emulator is missing: gcloud components install pubsub-emulator "
        "(or, with Google's Debian packages, apt-get install google-cloud-cli-pubsub-emulator)"
    )


def chromium() -> Path:
    """The browser that looks at the status page."""
    if program := shutil.which("chromium"):
        return Path(program)
    raise MissingError(
        "Chromium is missing: apt-get install --no-install-recommends chromium "
        "(until then, the browser tests of the status page are skipped)"
    )


def _sdk_roots() -> Iterator[Path]:
    if root := os.environ.get("CLOUDSDK_ROOT"):
        yield Path(root)
    if gcloud := shutil.which("gcloud"):
        yield Path(gcloud).resolve().parent.parent
    for home in _SDK_HOMES:
        for name in ("google-cloud-sdk", "google-cloud-sdk/current", "google-cloud-cli/current"):
            yield Path(home).expanduser() / name


#: What nothing works without, and what only some tests need: those are skipped, and say so.
CHECKS: dict[str, Callable[[], Path | None]] = {"postgres": _postgres, "java": java, "pubsub": pubsub_jar}
OPTIONAL: dict[str, Callable[[], Path | None]] = {"chromium": chromium, "pgbouncer": pgbouncer}


def main(names: list[str]) -> int:
    """Say what is missing of the named prerequisites (of all, without names), a line each. What is optional is no
    failure unless it was named.
    """
    complete = True
    for name, check in (CHECKS | OPTIONAL).items():
        if names and name not in names:
            continue
        try:
            check()
        except MissingError as missing:
            sys.stderr.write(f"{missing}\n")
            complete = complete and name in OPTIONAL and not names
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
