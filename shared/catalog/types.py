"""Types: what a column may be in PostgreSQL, from which types of BigQuery, and the other way."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar


@dataclass(frozen=True)
class PgType:
    """A PostgreSQL column type: the name that `format_type` gives it, and its parameters. In front of these, a type of
    PostGIS may have the `shape` of its geometries.

    `sources` are the BigQuery types that can become it, and `targets` the BigQuery types that it can become. A value
    that does not fit is found when it is moved.
    """

    name: str
    parameters: tuple[int, ...] = ()
    array: bool = False
    shape: str = ""

    TEXT: ClassVar[PgType]
    VARCHAR: ClassVar[PgType]
    CHAR: ClassVar[PgType]
    SMALLINT: ClassVar[PgType]
    INTEGER: ClassVar[PgType]
    BIGINT: ClassVar[PgType]
    REAL: ClassVar[PgType]
    DOUBLE: ClassVar[PgType]
    NUMERIC: ClassVar[PgType]
    BOOLEAN: ClassVar[PgType]
    DATE: ClassVar[PgType]
    TIME: ClassVar[PgType]
    TIMESTAMP: ClassVar[PgType]
    TIMESTAMPTZ: ClassVar[PgType]
    INTERVAL: ClassVar[PgType]
    BYTEA: ClassVar[PgType]
    UUID: ClassVar[PgType]
    JSON: ClassVar[PgType]
    JSONB: ClassVar[PgType]
    GEOMETRY: ClassVar[PgType]
    GEOGRAPHY: ClassVar[PgType]
    VECTOR: ClassVar[PgType]
    HALFVEC: ClassVar[PgType]
    INET: ClassVar[PgType]
    CIDR: ClassVar[PgType]
    ENUM: ClassVar[PgType]

    @property
    def sql(self) -> str:
        """As the server prints it."""
        parameters = ",".join(filter(None, (self.shape, *map(str, self.parameters))))
        return f"{self.name}{f'({parameters})' if parameters else ''}{'[]' if self.array else ''}"

    @property
    def spelling(self) -> str:
        """As the catalog spells it, with the shortest of its names."""
        name = self.name if self.plain.element == PgType.NUMERIC else next(iter(_KNOWN[self.name].spellings), self.name)
        return f"{name}{self.sql.removeprefix(self.name)}"

    @property
    def plain(self) -> PgType:
        """The type without its parameters; one of `PG_TYPES` unless it is an array."""
        return PgType(self.name, array=self.array)

    @property
    def element(self) -> PgType:
        """What an array of it is an array of."""
        return PgType(self.name, self.parameters)

    @property
    def is_list(self) -> bool:
        """Whether it is made from an ARRAY of BigQuery as such."""
        return self.array or self.name in (PgType.VECTOR.name, PgType.HALFVEC.name)

    @property
    def srid(self) -> int | None:
        """The SRID that each geometry has to have; None where any will do."""
        if self.plain == PgType.GEOGRAPHY:
            return self.parameters[0] if self.parameters else _WGS84
        return self.parameters[0] if self.plain == PgType.GEOMETRY and self.parameters else None

    @property
    def wkb_types(self) -> tuple[int, ...]:
        """The numbers of the shapes that a geometry may have, as WKB has them; none where any will do
        (https://www.ogc.org/standard/sfa/).
        """
        if not self.shape:
            return ()
        kind = self.shape.rstrip("ZM")
        dimensions = 1000 * _DIMENSIONS.index(self.shape.removeprefix(kind))
        kinds = range(1, len(_SHAPES)) if kind == "Geometry" else [_SHAPES.index(kind)]
        return tuple(dimensions + kind for kind in kinds)

    @property
    def sources(self) -> tuple[str, ...]:
        sources = _KNOWN[self.name].sources
        return tuple(f"ARRAY<{source}>" for source in sources) if self.array else sources

    @property
    def targets(self) -> tuple[str, ...]:
        targets = _KNOWN[self.name].targets
        if self.name == PgType.NUMERIC.name and self.parameters:
            targets = tuple(filter(self._leaves_as, targets))
        return tuple(f"ARRAY<{target}>" for target in targets) if self.array else targets

    def _leaves_as(self, target: str) -> bool:
        """Whether a BigQuery type has the digits that a decimal declares; a FLOAT64 takes the nearest number."""
        precision, scale = self.parameters
        before, behind = _DIGITS.get(target, (precision, scale))
        return precision - scale <= before and scale <= behind

    @classmethod
    def parse(cls, spelling: str, *, leaving: bool = False) -> PgType:
        """A type by one of the names in `TYPE_NAMES`, with parameters in brackets if it takes any: one that a column of
        a table may have, or one that may be `leaving` PostgreSQL. Raises ValueError that says what is wrong.
        """
        match = _SPELLING.fullmatch(spelling)
        plain = TYPE_NAMES.get(match["name"]) if match else None
        if match is None or plain is None or not (plain.targets if leaving else plain.sources):
            known = (name for name, type_ in TYPE_NAMES.items() if (type_.targets if leaving else type_.sources))
            raise ValueError(f"should have a type among {', '.join(sorted(known))}")
        if plain in (cls.GEOMETRY, cls.GEOGRAPHY):
            return _of_postgis(plain, match)
        if match["shape"]:
            raise ValueError("should be without a word in brackets")
        given = tuple(int(number) for number in (match["parameters"] or "").split(",") if number)
        wrong = _KNOWN[plain.name].wrong(given)
        if wrong:
            raise ValueError(f"should be {wrong}")
        if plain == cls.NUMERIC and len(given) == 1:
            given = (*given, 0)
        array = match["array"] is not None
        if array and not _KNOWN[plain.name].in_arrays:
            raise ValueError(f"should be no array: there are some of {', '.join(_in_arrays(leaving=leaving))}")
        return cls(plain.name, given, array)


@dataclass(frozen=True)
class _Known:
    """What is known of a type. `lengths` is how long it may be declared to be, if it can be; `spellings` are the other
    names that the catalog takes.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...] = ()
    spellings: tuple[str, ...] = ()
    lengths: int = 0
    needs_length: bool = False
    in_arrays: bool = True

    def spelling(self, type_: PgType) -> str:
        """The short name, with what may stand in brackets."""
        name = next(iter(self.spellings), type_.name)
        if type_ == PgType.NUMERIC:
            return f"{type_.name}, {type_.name}(p,s)"
        if type_ in (PgType.GEOMETRY, PgType.GEOGRAPHY):
            return f"{type_.name}, {type_.name}(Shape), {type_.name}(Shape,srid)"
        if not self.lengths:
            return name
        return f"{name}(n)" if self.needs_length else f"{name}, {name}(n)"

    def wrong(self, given: tuple[int, ...]) -> str:
        """What parameters the type takes, if not these."""
        name = self.spellings[0] if self.spellings else ""
        if self is _KNOWN[PgType.NUMERIC.name]:
            fits = len(given) <= 2 and (not given or 1 <= given[0] <= self.lengths) and given[1:] <= given[:1]
            return "" if fits else f"like numeric(10,2): up to {self.lengths} digits, of which so many behind the point"
        if not self.lengths:
            return "" if not given else "without anything in brackets"
        fits = len(given) == 1 and 1 <= given[0] <= self.lengths
        if fits or (not given and not self.needs_length):
            return ""
        return f"like {name}(10), with a number up to {self.lengths}"


def _known() -> Iterator[tuple[str, PgType, _Known]]:
    """Types by the name of their constant."""
    text, whole, fraction = ("STRING",), ("INT64", "FLOAT64", "NUMERIC"), ("FLOAT64", "INT64", "NUMERIC")
    json, instant = ("JSON", "STRING"), ("TIMESTAMP", "DATETIME")
    decimals = ("NUMERIC", "BIGNUMERIC", "FLOAT64")
    # https://www.postgresql.org/docs/current/datatype-character.html
    characters = 10_485_760
    for constant, name, known in (
        ("TEXT", "text", _Known(text, text)),
        ("VARCHAR", "character varying", _Known(text, text, ("varchar",), characters)),
        ("CHAR", "character", _Known(text, text, ("char",), characters, needs_length=True, in_arrays=False)),
        ("SMALLINT", "smallint", _Known(whole, ("INT64",))),
        ("INTEGER", "integer", _Known(whole, ("INT64",))),
        ("BIGINT", "bigint", _Known(whole, ("INT64",))),
        ("REAL", "real", _Known(fraction, ("FLOAT64",))),
        ("DOUBLE", "double precision", _Known(fraction, ("FLOAT64",))),
        ("NUMERIC", "numeric", _Known(("NUMERIC", "BIGNUMERIC", "INT64", "FLOAT64"), decimals, ("decimal",), 1000)),
        ("BOOLEAN", "boolean", _Known(("BOOL",), ("BOOL",))),
        ("DATE", "date", _Known(("DATE",), ("DATE",))),
        ("TIME", "time without time zone", _Known(("TIME",), ("TIME",), ("time",))),
        ("TIMESTAMP", "timestamp without time zone", _Known((*instant, "DATE"), instant, ("timestamp",))),
        ("TIMESTAMPTZ", "timestamp with time zone", _Known(("TIMESTAMP",), ("TIMESTAMP",), ("timestamptz",))),
        ("INTERVAL", "interval", _Known(("INTERVAL",), text)),
        ("BYTEA", "bytea", _Known(("BYTES",), ("BYTES",))),
        ("UUID", "uuid", _Known(text, text)),
        ("JSON", "json", _Known(json, ("STRING", "JSON"), in_arrays=False)),
        ("JSONB", "jsonb", _Known((*json, "STRUCT", "ARRAY<STRUCT>", "RANGE"), ("STRING", "JSON"), in_arrays=False)),
        ("GEOMETRY", "geometry", _Known(("GEOGRAPHY", "STRING", "BYTES"), in_arrays=False)),
        ("GEOGRAPHY", "geography", _Known(("GEOGRAPHY", "STRING", "BYTES"), in_arrays=False)),
        # https://github.com/pgvector/pgvector#vector-type
        ("VECTOR", "vector", _Known(("ARRAY<FLOAT64>",), (), ("vector",), 16_000, needs_length=True, in_arrays=False)),
        (
            "HALFVEC",
            "halfvec",
            _Known(("ARRAY<FLOAT64>",), (), ("halfvec",), 16_000, needs_length=True, in_arrays=False),
        ),
        ("INET", "inet", _Known((), text)),
        ("CIDR", "cidr", _Known((), text)),
        # Of any name: PostgreSQL has a type for each.
        ("ENUM", "enum", _Known((), text)),
    ):
        yield constant, PgType(name), known


_KNOWN: dict[str, _Known] = {}
for _constant, _type, _rules in _known():
    _KNOWN[_type.name] = _rules
    setattr(PgType, _constant, _type)


#: The types that a column of a table may have, without parameters; of one that needs some, the name alone.
PG_TYPES = tuple(PgType(name) for name, known in _KNOWN.items() if known.sources)

#: The digits before and behind the point that every number of these types has in BigQuery and in Parquet. BIGNUMERIC
#: holds a little more, Arrow's decimals, of 76 digits in all, do not
#: (https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types).
_DIGITS: Mapping[str, tuple[int, int]] = {"NUMERIC": (29, 9), "BIGNUMERIC": (38, 38)}


#: How the catalog may spell a type.
TYPE_NAMES: Mapping[str, PgType] = {
    spelling: PgType(name) for name, known in _KNOWN.items() for spelling in (name, *known.spellings)
}


#: What holds every value of a type of BigQuery, as it is.
_ROOMY = {
    "STRING": PgType.TEXT,
    "INT64": PgType.BIGINT,
    "FLOAT64": PgType.DOUBLE,
    "NUMERIC": PgType.NUMERIC,
    "BIGNUMERIC": PgType.NUMERIC,
    "BOOL": PgType.BOOLEAN,
    "DATE": PgType.DATE,
    "TIME": PgType.TIME,
    "DATETIME": PgType.TIMESTAMP,
    "TIMESTAMP": PgType.TIMESTAMPTZ,
    "INTERVAL": PgType.INTERVAL,
    "BYTES": PgType.BYTEA,
    "JSON": PgType.JSONB,
    "STRUCT": PgType.JSONB,
    "ARRAY<STRUCT>": PgType.JSONB,
    "RANGE": PgType.JSONB,
    "GEOGRAPHY": PgType.GEOGRAPHY,
}


def roomy(source: str, parameters: tuple[int, ...] = ()) -> PgType | None:
    """The type that takes every value of a type of BigQuery, whose `parameters` are its greatest length, or its
    precision and scale; None where there is none.
    """
    element = source.removeprefix("ARRAY<").removesuffix(">")
    found = _ROOMY.get(source) or _ROOMY.get(element)
    if found is None:
        return None
    array = source not in _ROOMY
    if array and not _KNOWN[found.name].in_arrays:
        return None
    if found == PgType.TEXT and parameters and parameters[0] <= _KNOWN[PgType.VARCHAR.name].lengths:
        found = PgType.VARCHAR
    return PgType(found.name, parameters if found in (PgType.VARCHAR, PgType.NUMERIC) else (), array)


def _in_arrays(*, leaving: bool = False) -> list[str]:
    """The names of the types that there are arrays of."""
    names = (
        known.spelling(PgType(name))
        for name, known in _KNOWN.items()
        if known.in_arrays and (known.targets if leaving else known.sources)
    )
    return [name.partition(",")[0] for name in names]


def type_table() -> list[tuple[str, str]]:
    """Each type of a table's columns as the catalog may spell it, and the types of BigQuery that can become it."""
    scalars = [(_KNOWN[type_.name].spelling(type_), ", ".join(type_.sources)) for type_ in PG_TYPES]
    return [*scalars, (f"T[] of {', '.join(_in_arrays())}", "ARRAY of what T is made from")]


def log_type_table() -> list[tuple[str, str]]:
    """Each type of a log's columns as the catalog may spell it, and the types of BigQuery that it can become."""
    scalars = [(k.spelling(PgType(name)), ", ".join(k.targets)) for name, k in _KNOWN.items() if k.targets]
    return [*scalars, (f"T[] of {', '.join(_in_arrays(leaving=True))}", "ARRAY of what T becomes")]


_SPELLING = re.compile(
    r"(?P<name>[a-z ]+?)"
    r"(?:\((?=[^)])(?:(?P<shape>[A-Za-z]+)(?:, ?(?=[0-9])|(?=\))))?(?P<parameters>[0-9]{1,9}(?:, ?[0-9]{1,9})?)?\))?"
    r"(?P<array>\[\])?"
)

#: What a column of PostGIS may be restricted to, each at its number in WKB, and with Z, M or both behind it
#: (https://postgis.net/docs/using_postgis_dbmanagement.html).
_SHAPES = (
    *("Geometry", "Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon"),
    "GeometryCollection",
)
_DIMENSIONS = ("", "Z", "M", "ZM")

#: Longitude and latitude, which a geography has unless it says otherwise.
_WGS84 = 4326

#: The greatest SRID that PostGIS keeps (SRID_MAXIMUM).
MAX_SRID = 998_999


def _of_postgis(plain: PgType, match: re.Match[str]) -> PgType:
    """A geometry or geography as the server prints it; a number alone is the SRID of any shape."""
    shapes = {f"{shape}{more}".lower(): f"{shape}{more}" for shape in _SHAPES for more in _DIMENSIONS}
    inside = match["shape"] or match["parameters"]
    shape = shapes.get((match["shape"] or "Geometry").lower())
    srid = match["parameters"] or "0"
    if match["array"]:
        raise ValueError(f"should be no array: there are some of {', '.join(_in_arrays())}")
    if shape is None or not srid.isdigit() or int(srid) > MAX_SRID:
        raise ValueError(f"should be like {plain.name}(Point,4326), of {', '.join(_SHAPES)} and Z, M or ZM behind it")
    number = int(srid) or (_WGS84 if inside and plain == PgType.GEOGRAPHY else 0)
    if not number and shape == "Geometry":
        return plain
    return PgType(plain.name, (number,) if number else (), shape=shape)


class BigQueryType(Enum):
    """A BigQuery column type by its GoogleSQL name; `api` is what the service's own metadata calls it
    (https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableFieldSchema).
    """

    STRING = "STRING"
    INT64 = "INTEGER"
    FLOAT64 = "FLOAT"
    NUMERIC = "NUMERIC"
    BIGNUMERIC = "BIGNUMERIC"
    BOOL = "BOOLEAN"
    DATE = "DATE"
    DATETIME = "DATETIME"
    TIMESTAMP = "TIMESTAMP"
    TIME = "TIME"
    BYTES = "BYTES"
    JSON = "JSON"

    @property
    def api(self) -> str:
        return self.value

    @property
    def clusterable(self) -> bool:
        """https://cloud.google.com/bigquery/docs/clustered-tables#cluster_column_types"""
        return self not in (BigQueryType.FLOAT64, BigQueryType.JSON, BigQueryType.TIME, BigQueryType.BYTES)
