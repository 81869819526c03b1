"""The coordinate reference system that a Parquet file has for its geometries, as the number that PostGIS has for it.

GeoParquet states it in the file's metadata (https://geoparquet.org/releases/v1.1.0/), Parquet's own types GEOMETRY and
GEOGRAPHY state it in the schema (https://github.com/apache/parquet-format/blob/master/Geospatial.md). A file that
states none means longitude and latitude, and its geometries arrive as their values say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from shared.catalog import MAX_SRID
from shared.errors import DataError

#: Longitude and latitude in this order, as PostGIS has them.
_WGS84 = 4326


@dataclass(frozen=True)
class Said:
    """What a file's metadata says: GeoParquet's statement for each column, and the documents that the
    schema refers to.
    """

    metadata: Mapping[str, str]
    columns: Mapping[str, object]
    where: str

    @classmethod
    def of(cls, metadata: Mapping[bytes, bytes], where: str) -> Said:
        texts = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in metadata.items()}
        geo = _parsed(texts.get("geo", ""))
        columns = geo.get("columns") if isinstance(geo, dict) else None
        return cls(texts, columns if isinstance(columns, dict) else {}, where)

    def srid(self, column: str, logical: str) -> int | None:
        """The SRID of a column, by the metadata and by its logical type as DuckDB prints it; None where neither states
        one.

        Raises DataError of a CRS that has no number.
        """
        found = self.columns.get(column)
        crs = found.get("crs") if isinstance(found, dict) else None
        if match := re.fullmatch(r"Geo(?:metry|graphy)Type\(crs=(.*?)(?:, algorithm=[^,]*)?\)", logical, re.DOTALL):
            crs = crs if match[1] in ("<null>", "") else match[1]
        if crs is None:
            return None
        srid = self._number(crs)
        if srid is None or srid > MAX_SRID:
            raise DataError(
                f"{column} has a coordinate reference system without a number of EPSG",
                where=self.where,
                remedy="Write it with the number, or in longitude and latitude (OGC:CRS84)",
            )
        return srid

    def _number(self, crs: object) -> int | None:
        if isinstance(crs, str) and crs.startswith("projjson:"):
            crs = self.metadata.get(crs.removeprefix("projjson:"), "")
        if isinstance(crs, str):
            crs = _parsed(crs) or crs
        if isinstance(crs, dict):
            named = crs.get("id")
            crs = f"{named.get('authority')}:{named.get('code')}" if isinstance(named, dict) else ""
        if crs == "OGC:CRS84":
            return _WGS84
        match = re.fullmatch(r"(?:EPSG|epsg|srid):([0-9]{1,6})", str(crs))
        return int(match[1]) if match else None


def _parsed(text: str) -> object:
    """A JSON document; None of anything else."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
