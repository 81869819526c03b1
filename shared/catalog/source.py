"""Where a table comes from: a type that parses and prints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from shared.names import DatasetRef, TableRef, is_table_id

#: Which variables may name a data set. No other variable has that word, of ours or of what runs beside us.
_VARIABLE = re.compile(r"(?=.*DATASET)[A-Z][A-Z0-9_]{0,99}")


@dataclass(frozen=True)
class DatasetVariable:
    """The variable of the environment that names a data set, `{BIGQUERY_SEED_DATASET}`."""

    name: str

    def __post_init__(self) -> None:
        if not _VARIABLE.fullmatch(self.name):
            raise ValueError("should be the name of a variable: capitals, digits and _, with DATASET among them")

    def __str__(self) -> str:
        return f"{{{self.name}}}"


@dataclass(frozen=True)
class Source:
    """A BigQuery table: prints as `{VARIABLE}.table`, `dataset.table` or `project.dataset.table`."""

    dataset: DatasetVariable | DatasetRef
    table: str

    def __post_init__(self) -> None:
        if not is_table_id(self.table):
            raise ValueError("is no BigQuery table id")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str`. Raises ValueError."""
        dataset, _, table = text.rpartition(".")
        variable = re.fullmatch(r"\{(.*)\}", dataset)
        try:
            return cls(DatasetVariable(variable[1]) if variable else DatasetRef.parse(dataset), table)
        except ValueError:
            raise ValueError("should be dataset.table or project.dataset.table") from None

    def __str__(self) -> str:
        return f"{self.dataset}.{self.table}"

    def ref(self, project: str, datasets: Mapping[str, DatasetRef]) -> TableRef:
        """The table itself, for a deployment in `project` whose variables say `datasets`."""
        of = datasets[self.dataset.name] if isinstance(self.dataset, DatasetVariable) else self.dataset
        return TableRef(of.project or project, of.dataset, self.table)

    @property
    def said_by(self) -> str:
        """What to correct where it is not there."""
        return self.dataset.name if isinstance(self.dataset, DatasetVariable) else "the catalog"
