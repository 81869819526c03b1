"""What Terraform needs to know of a catalog, as a file beside it: Terraform reads JSON, and no TOML."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from shared.hourly.request import default_log
from shared.hourly.schema import schema
from shared.names import DatasetRef

if TYPE_CHECKING:
    from shared.catalog import Catalog, HourlyTable, Place

#: What writes the file.
COMMAND = "recosync catalog terraform"


def content(catalog: Catalog, place: Place) -> str:
    """The file of a catalog that was read from the place. `catalog_sha256` is that of the catalog's bytes, by which
    Terraform knows that the file is stale.
    """
    sources = [table.source.dataset for table in catalog.tables.values()]
    document = {
        "made_by": COMMAND,
        "catalog_sha256": hashlib.sha256(place.file.read_bytes()).hexdigest(),
        "tables": sorted(catalog.tables),
        "source_variables": sorted(catalog.dataset_variables),
        "source_datasets": sorted({str(dataset) for dataset in sources if isinstance(dataset, DatasetRef)}),
        "default_log": default_log(catalog),
        "logs": {name: _log(log) for name, log in sorted(catalog.hourly.items())},
    }
    return json.dumps(document, indent=2) + "\n"


def stale(catalog: Catalog, place: Place) -> Path | None:
    """The file if it is not what the catalog says."""
    file = place.terraform
    return None if file.is_file() and file.read_text() == content(catalog, place) else file


def write(catalog: Catalog, place: Place) -> Path:
    """Write the file, and tell where it is."""
    place.terraform.write_text(content(catalog, place))
    return place.terraform


def _log(log: HourlyTable) -> dict[str, object]:
    return {
        "dataset": log.target.dataset,
        "table": log.target.table,
        "partition_by": log.target.partition_by,
        "cluster_by": log.target.cluster_by,
        "minute": log.minute,
        "delete_from_source": log.delete_from_source,
        "schema": schema(log),
    }
