"""The ways in which somebody edits the catalog that is deployed: each is a change of its text and of its templates."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shared import catalog
from shared.catalog import ROOT, SHIPPED
from shared.operate.cli import terraform

_TABLE = """
[tables.stranger]
source = "stranger"
dataset = "BIGQUERY_SEED_DATASET"
key = ["id"]

[tables.stranger.columns]
id = "bigint"
vector = "double precision[]"
"""
_VIEW = """
[views.{name}]
template = "{name}.sql.jinja"
reads = ["{reads}"]
"""
_TEMPLATE = "CREATE MATERIALIZED VIEW {{{{ view | identifier }}}} AS SELECT count(*) AS n FROM {reads};\n"
_LOG = """
[hourly.stranger_log]
time = "at"
key = "id"
cluster_by = ["import_hour"]

[hourly.stranger_log.columns]
id = { type = "bigint", bigquery = "INT64" }
at = { type = "timestamp", bigquery = "TIMESTAMP" }
"""


@dataclass(frozen=True)
class Edited:
    """A catalog's text, and the templates that it has besides those that were there."""

    text: str
    templates: Mapping[str, str] = field(default_factory=dict)

    @property
    def document(self) -> dict[str, dict[str, dict[str, object]]]:
        return {kind: entries for kind, entries in tomllib.loads(self.text).items() if isinstance(entries, dict)}

    def first(self, kind: str) -> str:
        """The first table, view or log (`hourly`) that there is."""
        return next(iter(self.document[kind]))

    def without(self, kind: str, name: str) -> Edited:
        """Without a block, and what belongs to it."""
        blocks = re.split(r"(?m)^(?=\[)", self.text)
        heading = re.compile(rf"\[{kind}\.{re.escape(name)}[.\]]")
        return Edited("".join(block for block in blocks if not heading.match(block)), self.templates)

    def adding(self, text: str, **templates: str) -> Edited:
        return Edited(self.text + text, {**self.templates, **templates})

    def with_view(self, name: str, reads: str) -> Edited:
        return self.adding(_VIEW.format(name=name, reads=reads), **{name: _TEMPLATE.format(reads=reads)})

    def renamed(self, kind: str, name: str, to: str) -> Edited:
        return Edited(re.sub(rf"(?m)^\[{kind}\.{re.escape(name)}(?=[.\]])", f"[{kind}.{to}", self.text), self.templates)


def _table_removed(catalog: Edited, table: str | None = None) -> Edited:
    table = table or catalog.first("tables")
    for name, view in catalog.document["views"].items():
        if table in str(view["reads"]):
            catalog = catalog.without("views", name)
    return catalog.without("tables", table)


def _table_renamed(catalog: Edited) -> Edited:
    table = catalog.first("tables")
    read = {name for name, view in catalog.document["views"].items() if view["reads"] == [table]}
    catalog = _table_removed(catalog, table).adding(_TABLE) if not read else catalog.renamed("tables", table, "renamed")
    for name in read:
        catalog = catalog.without("views", name).with_view(name, "renamed")
    return catalog


def _view_removed(catalog: Edited) -> Edited:
    return catalog.without("views", catalog.first("views"))


def _log_renamed(catalog: Edited) -> Edited:
    return catalog.renamed("hourly", catalog.first("hourly"), "renamed_log")


def _nothing_is_as_it_was(catalog: Edited) -> Edited:
    return Edited('schema = "stranger"\n' + _TABLE + _LOG).with_view("stranger_mv", "stranger")


#: What somebody did, and how.
EDITS: Mapping[str, Callable[[Edited], Edited]] = {
    "a table is added": lambda catalog: catalog.adding(_TABLE),
    "a table is removed": _table_removed,
    "iris_france is removed": lambda catalog: _table_removed(catalog, "iris_france"),
    "a table is renamed": _table_renamed,
    "a view is added": lambda catalog: catalog.with_view("stranger_mv", catalog.first("tables")),
    "a view is removed": _view_removed,
    "a view is renamed": lambda catalog: catalog.renamed("views", catalog.first("views"), "renamed_mv"),
    "a log is added": lambda catalog: catalog.adding(_LOG),
    "a log is removed": lambda catalog: catalog.without("hourly", catalog.first("hourly")),
    "a log is renamed": _log_renamed,
    "nothing is as it was": _nothing_is_as_it_was,
}


def edited_tree(to: Path, edit: Callable[[Edited], Edited]) -> Path:
    """A copy of the whole tree, in which somebody edited the catalog that is deployed, and did what that asks for."""
    skipped = shutil.ignore_patterns(".git", ".venv", ".cache", ".nox", ".*_cache", ".hypothesis", "__pycache__")
    shutil.copytree(ROOT, to, ignore=skipped, symlinks=True)
    place = catalog.Place(to / SHIPPED.file.relative_to(ROOT), to / SHIPPED.views.relative_to(ROOT))
    edited = edit(Edited(place.file.read_text()))
    place.file.write_text(edited.text)
    for name, template in edited.templates.items():
        (place.views / f"{name}.sql.jinja").write_text(template)
    terraform.write(catalog.load(place), place)
    return to
