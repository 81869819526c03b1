"""Which environment variables a function reads, and which of them it needs: asked of the settings themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from shared.catalog import ROOT
from shared.errors import ConfigurationError
from shared.settings import HourlySettings, Settings

#: The variables that the catalog names.
DATASETS = ("BIGQUERY_ML_RECOMMENDATION_DATASET", "BIGQUERY_SEED_DATASET")
FLOWS: Mapping[str, Callable[[Mapping[str, str]], Settings | HourlySettings]] = {
    "daily": partial(Settings.from_environment, datasets=DATASETS),
    "hourly": HourlySettings.from_environment,
}
FUNCTIONS = sorted(file.parent.name for file in (ROOT / "functions").glob("*/main.py"))
#: Where Google's client libraries find an emulator: nothing that is deployed.
EMULATORS = {"BIGQUERY_EMULATOR_HOST", "MONITORING_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"}
#: Two ways to the same.
EITHER = {"DATABASE_URL", "DATABASE_URL_FILE"}

COMPLETE = {
    "ENV_SHORT_NAME": "dev",
    "GCP_PROJECT_ID": "a-project",
    "BIGQUERY_ML_RECOMMENDATION_DATASET": "reco",
    "BIGQUERY_SEED_DATASET": "seed",
    "RECOMMENDATION_SQL_INSTANCE": "instance",
    "EXPORT_BUCKET": "exports",
    "EXPORT_PREFIX": "prefix",
    "COMPLETION_TOPIC": "published",
    "HOURLY_BUCKET": "hours",
    "HOURLY_PREFIX": "prefix",
    "DATABASE_URL": "postgresql://user@host/database",
}


class Recorder(Mapping[str, str]):
    """A mapping that knows what it was asked for."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("who reads all variables reads none that can be told")

    def __len__(self) -> int:
        return len(self._values)


def flows_of(function: str) -> list[str]:
    """The flows whose settings a function's code makes."""
    text = (ROOT / "functions" / function / "main.py").read_text()
    found = set(re.findall(r"services\.(daily|hourly)\b", text))
    if "entry.answer_event" in text:
        found.add("daily")
    assert found, f"nothing in {function} makes its settings"
    return sorted(found)


def made_by(function: str, environment: Mapping[str, str]) -> list[Settings | HourlySettings]:
    """The settings that a function makes of an environment. Raises ConfigurationError, as the function does."""
    return [FLOWS[flow](environment) for flow in flows_of(function)]


def read_by(function: str) -> set[str]:
    """Every variable that it reads."""
    recorder = Recorder(COMPLETE)
    made_by(function, recorder)
    return recorder.asked


def needed_by(function: str) -> set[str]:
    """Those that it does not do without."""

    def starts(environment: Mapping[str, str]) -> bool:
        try:
            made_by(function, environment)
        except ConfigurationError:
            return False
        return True

    return {name for name in COMPLETE if not starts({**COMPLETE, name: ""})}
