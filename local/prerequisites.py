"""What the emulated cloud and the tests need of the machine, where it is, and what to install when it is not there."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

_DEBIAN_POSTGRES = Path("/usr/lib/postgresql")
_OLDEST_POSTGRES = 15
_PUBSUB_JAR = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"
_SDK_HOMES = ("/usr/lib", "/usr/share", "/opt", "/snap", "~")


class MissingError(Exception):
    """Something has to be installed first: the message is one line that says what."""


@cache
def postgres_bin() -> Path:
    """The programs of the newest PostgreSQL that has PostGIS: Debian's, or the one on PATH."""
    found = {int(place.name): place / "bin" for place in _DEBIAN_POSTGRES.glob("[0-9]*") if place.name.isdigit()}
    for version in sorted(found, reverse=True):
        postgis = Path(f"/usr/share/postgresql/{version}/extension/postgis.control")
        if version >= _OLDEST_POSTGRES and (found[version] / "initdb").exists() and postgis.exists():
            return found[version]
    if config := shutil.which("pg_config"):
        bin_dir, share, version_text = (
            subprocess.run([config, f"--{what}"], capture_output=True, text=True, check=True).stdout.strip()
            for what in ("bindir", "sharedir", "version")
        )
        number = re.search(r"\d+", version_text)
        complete = (Path(share) / "extension/postgis.control").exists() and (Path(bin_dir) / "initdb").exists()
        if complete and number and int(number[0]) >= _OLDEST_POSTGRES:
            return Path(bin_dir)
    raise MissingError(
        f"PostgreSQL {_OLDEST_POSTGRES} or later with PostGIS is missing: "
        "apt-get install --no-install-recommends postgresql postgresql-postgis"
    )


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
CHECKS: dict[str, Callable[[], Path]] = {"postgres": postgres_bin, "java": java, "pubsub": pubsub_jar}
OPTIONAL: dict[str, Callable[[], Path]] = {"chromium": chromium}


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
