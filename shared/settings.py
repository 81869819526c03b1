"""What the environment says, read once into a frozen value: one class for each set of variables that a function reads.

Every mistake is reported at once, by the variable's name and the shape it should have; a secret's value is never shown.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypedDict

from shared.errors import ConfigurationError
from shared.names import AHEAD, EPOCH, DatasetRef, Hour, underscored

#: The hours that a call looks back at, or works on: those of a year. The seconds that a call has: those of a day, where
#: the platforms give an hour (https://cloud.google.com/run/docs/configuring/request-timeout).
MOST_HOURS, MOST_SECONDS = 8_784, 86_400

#: Characters of a name, of a prefix of objects at the longest, whose own have 1,024 bytes.
_LONGEST_NAME = 500

_TOPIC, _A_TOPIC = r"[A-Za-z][A-Za-z0-9._~%+-]{2,}", "the short name of a topic"

#: Characters of a database URL.
_LONGEST_URL = 8_192

_DATABASE_URL_SHAPE = "postgresql://<user>:<password>@<host>/<database>"


@dataclass(frozen=True)
class DatabaseUrl:
    """Where the PostgreSQL URL comes from. A file is read again for each connection, so a rotated secret just works.

    With `iam`, it has no password: an access token of the account that runs is one.
    """

    value: str | None = field(default=None, repr=False)
    file: Path | None = None
    iam: bool = False

    def read(self) -> str:
        """The URL now. Raises ConfigurationError when the file is missing or holds something else."""
        if self.file is None:
            return (self.value or "").strip()
        try:
            with self.file.open(encoding="utf-8") as opened:
                text = opened.read(_LONGEST_URL + 2)
        except (OSError, UnicodeDecodeError) as e:
            why = e.strerror if isinstance(e, OSError) else "not UTF-8"
            raise ConfigurationError(
                f"DATABASE_URL_FILE names {self.file}, which can't be read ({why})",
                remedy="Mount the secret there",
            ) from None
        if not _is_database_url(text):
            raise ConfigurationError(
                f"the file {self.file} that DATABASE_URL_FILE names does not hold a URL like {_DATABASE_URL_SHAPE}"
            )
        return text.strip()


class _Common(TypedDict):
    """The fields of CommonSettings."""

    environment: str
    project: str
    sql_instance: str
    database: DatabaseUrl
    function_timeout: int
    life: int
    storage_emulator: str | None
    bigquery_emulator: str | None
    monitoring_emulator: str | None


@dataclass(frozen=True, kw_only=True)
class CommonSettings:
    """What every function is told. Durations are in seconds. A session that is older than `life` belongs to a worker
    that is dead or frozen.
    """

    environment: str
    project: str
    sql_instance: str
    database: DatabaseUrl
    function_timeout: int
    life: int
    storage_emulator: str | None
    bigquery_emulator: str | None
    monitoring_emulator: str | None

    @classmethod
    def as_far_as_right(cls, environ: Mapping[str, str] = os.environ) -> "CommonSettings":
        """The settings that can be read of the environment, for whoever tells of a failure: the failure may be that the
        others can't be read.
        """
        return CommonSettings(**_Reader(environ).common())

    @classmethod
    def of_database(cls, environ: Mapping[str, str] = os.environ) -> "CommonSettings":
        """The settings of who reads the database and needs nothing else. Raises ConfigurationError without its URL."""
        read = _Reader(environ)
        read.database()
        read.finish()
        return cls.as_far_as_right(environ)

    @property
    def database_secret(self) -> str:
        """The Secret Manager secret that holds the database URL."""
        return f"{self.sql_instance}_database_url"

    @property
    def temporary_dataset(self) -> str:
        return f"tmp_{underscored(self.environment)}"


@dataclass(frozen=True, kw_only=True)
class Settings(CommonSettings):
    """The daily flow's configuration.

    `datasets` are those that the variables of the catalog name. Without a `refreshed_topic`, nobody is told of a view
    that stands. `retention` is how long housekeeping leaves what it may
    drop. `reconcile_after` is how long a snapshot may stand still before its event counts as lost.
    """

    datasets: Mapping[str, DatasetRef]
    bucket: str
    prefix: str
    topic: str
    refreshed_topic: str | None
    maximum_bytes_billed: int | None
    max_builds: int
    retention: timedelta
    reconcile_after: timedelta

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ, *, datasets: Iterable[str]) -> "Settings":
        """`datasets` are the variables that name data sets. Raises ConfigurationError naming every variable that is
        missing or malformed.
        """
        read = _Reader(environ)
        settings = cls(
            **read.common(),
            datasets=read.datasets(datasets),
            bucket=read.bucket("EXPORT_BUCKET"),
            prefix=read.prefix("EXPORT_PREFIX", "recommendation_exports"),
            topic=read.text("COMPLETION_TOPIC", _TOPIC, _A_TOPIC),
            refreshed_topic=read.topic("REFRESHED_TOPIC"),
            maximum_bytes_billed=read.number("MAXIMUM_BYTES_BILLED", None, 1, 10**18 - 1),
            max_builds=read.number("MAX_BUILDS", 2, 1, 100) or 2,
            retention=timedelta(days=read.number("RETENTION_DAYS", 3, 1, 3_650) or 3),
            reconcile_after=timedelta(minutes=read.number("RECONCILE_AFTER_MINUTES", 30, 1, 100_000) or 30),
        )
        read.finish()
        return settings


@dataclass(frozen=True, kw_only=True)
class HourlySettings(CommonSettings):
    """The hourly flow's configuration.

    `start` is the first hour that the flow owns, needed until a manifest says so. The calls of the `late_hours` that
    follow an hour look at it for late rows. A call works on at most `max_hours` hours. Without an `hour_done_topic`,
    nobody is told of an hour that is done.
    """

    bucket: str
    prefix: str
    start: Hour | None
    late_hours: int
    max_hours: int
    hour_done_topic: str | None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "HourlySettings":
        """Raises ConfigurationError naming every variable that is missing or malformed."""
        read = _Reader(environ)
        settings = cls(
            **read.common(),
            bucket=read.bucket("HOURLY_BUCKET"),
            prefix=read.prefix("HOURLY_PREFIX", "cloudsql_hourly"),
            start=read.hour("HOURLY_START"),
            late_hours=read.number("HOURLY_LATE_HOURS", 6, 0, MOST_HOURS) or 0,
            max_hours=read.number("HOURLY_MAX_HOURS", 24, 1, MOST_HOURS) or 24,
            hour_done_topic=read.topic("HOUR_DONE_TOPIC"),
        )
        read.finish()
        return settings


class _Reader:
    """Collects mistakes instead of stopping at the first."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._mistakes: list[str] = []

    def common(self) -> _Common:
        timeout = self.number("FUNCTION_TIMEOUT_SECONDS", 540, 10, MOST_SECONDS) or 540
        return {
            "environment": self.text(
                "ENV_SHORT_NAME", r"[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?", "a short name such as dev, stg or prod"
            ),
            "project": self.text("GCP_PROJECT_ID", r"[a-z][a-z0-9:.-]{2,}[a-z0-9]", "a Google Cloud project id"),
            "sql_instance": self.text(
                "RECOMMENDATION_SQL_INSTANCE", r"[A-Za-z0-9_-]+", "the name of the Cloud SQL instance"
            ),
            "database": self.database(),
            "function_timeout": timeout,
            "life": timeout,
            # The first two are Google's own names; the client libraries read them too.
            "storage_emulator": self._environ.get("STORAGE_EMULATOR_HOST", "").rstrip("/") or None,
            "bigquery_emulator": self._environ.get("BIGQUERY_EMULATOR_HOST") or None,
            "monitoring_emulator": self._environ.get("MONITORING_EMULATOR_HOST") or None,
        }

    def bucket(self, name: str) -> str:
        return self.text(name, r"[a-z0-9][a-z0-9._-]+[a-z0-9]", "a bucket name, without gs://")

    def datasets(self, names: Iterable[str]) -> Mapping[str, DatasetRef]:
        found = {}
        for name in names:
            try:
                found[name] = DatasetRef.parse(self._environ.get(name, ""))
            except ValueError:
                self._mistake(name, "a BigQuery data set, dataset or project.dataset")
        return found

    def prefix(self, name: str, example: str) -> str:
        shape = f"a path such as {example}, without slashes at its ends"
        return self.text(name, r"[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*", shape)

    def topic(self, name: str) -> str | None:
        return self.text(name, _TOPIC, _A_TOPIC) if self._environ.get(name) else None

    def hour(self, name: str) -> Hour | None:
        value = self._environ.get(name, "")
        try:
            hour = Hour.parse(value) if value else None
        except ValueError:
            hour = None
        if value and (hour is None or hour.day < EPOCH):
            self._mistake(name, "an hour in UTC since 1970, written YYYYMMDDTHH")
        elif hour is not None and hour.start > datetime.now(UTC) + AHEAD:
            # No hour would be due, and nobody told.
            self._mistake(name, "an hour in UTC that is not more than a day ahead")
        return hour

    def text(self, name: str, pattern: str, shape: str) -> str:
        value = self._environ.get(name, "")
        if not re.fullmatch(pattern, value) or len(value) > _LONGEST_NAME:
            self._mistake(name, shape)
        return value

    def number(self, name: str, default: int | None, least: int, most: int) -> int | None:
        value = self._environ.get(name, "")
        if not value:
            return default
        if not re.fullmatch(r"[0-9]{1,18}", value) or not least <= int(value) <= most:
            self._mistake(name, f"a whole number, {least} or more, {most} at most")
            return default
        return int(value)

    def database(self) -> DatabaseUrl:
        value, file = self._environ.get("DATABASE_URL", ""), self._environ.get("DATABASE_URL_FILE", "")
        if bool(value) == bool(file):
            self._mistakes.append(
                f"set one of DATABASE_URL (like {_DATABASE_URL_SHAPE}) and DATABASE_URL_FILE (the path where the"
                " Secret Manager secret {RECOMMENDATION_SQL_INSTANCE}_database_url is mounted)"
            )
        elif value and not _is_database_url(value):
            self._mistake("DATABASE_URL", _DATABASE_URL_SHAPE)
        login = self._environ.get("DATABASE_LOGIN", "")
        if login not in ("", "password", "iam"):
            self._mistake("DATABASE_LOGIN", "password or iam")
        iam = login == "iam"
        return DatabaseUrl(file=Path(file), iam=iam) if file else DatabaseUrl(value=value, iam=iam)

    def finish(self) -> None:
        if self._mistakes:
            raise ConfigurationError("; ".join(self._mistakes), where="environment")

    def _mistake(self, name: str, shape: str) -> None:
        state = "should be" if self._environ.get(name) else "is not set: it should be"
        self._mistakes.append(f"{name} {state} {shape}")


def _is_database_url(text: str) -> bool:
    """Whether libpq would take it for a URL, and all of it: it reads up to a NUL. What it then makes of it is judged
    when it is needed.
    """
    url = text.strip()
    return url.startswith(("postgresql://", "postgres://")) and url.isprintable() and len(url) <= _LONGEST_URL
