"""How a Parquet column becomes a PostgreSQL column."""

import pytest

from shared.catalog import Column, PgType
from shared.errors import DataError
from shared.gcp.footer import Footer, ParquetColumn
from shared.rows import casts

INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}
NUMBERS = INTEGERS | {"FLOAT", "DOUBLE", "DECIMAL(38,9)"}
INSTANTS = {"TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "DATE", "VARCHAR"}
TEXTS = {"VARCHAR", "JSON", "ENUM('a', 'b')"}
NEVER = {"HUGEINT", "INTERVAL", "BIGINT[]", "STRUCT(a INTEGER)", "MAP(VARCHAR, VARCHAR)"}
ACCEPTED = {
    PgType.VARCHAR: TEXTS,
    PgType.CHAR: TEXTS,
    PgType.TEXT: TEXTS,
    PgType.JSON: TEXTS,
    PgType.JSONB: TEXTS,
    PgType.SMALLINT: NUMBERS,
    PgType.INTEGER: NUMBERS,
    PgType.BIGINT: NUMBERS,
    PgType.REAL: NUMBERS,
    PgType.DOUBLE: NUMBERS,
    PgType.NUMERIC: NUMBERS | {"VARCHAR"},
    PgType.BOOLEAN: {"BOOLEAN"},
    PgType.DATE: {"DATE"},
    PgType.TIME: {"TIME", "TIME WITH TIME ZONE"},
    PgType.TIMESTAMP: INSTANTS,
    PgType.TIMESTAMPTZ: {"TIMESTAMP WITH TIME ZONE"},
    PgType.INTERVAL: {"VARCHAR"},
    PgType.BYTEA: {"BLOB"},
    PgType.UUID: {"VARCHAR", "UUID"},
    PgType.GEOMETRY: {"BLOB", "VARCHAR", "GEOMETRY"},
    PgType.GEOGRAPHY: {"BLOB", "VARCHAR", "GEOMETRY"},
}
EVERY = NEVER.union(*ACCEPTED.values())


def plan(columns: dict[str, PgType], found: dict[str, str], digits: int | None = None) -> tuple[casts.Cast, ...]:
    footer = Footer(tuple(ParquetColumn(name, type_, digits) for name, type_ in found.items()), (1,))
    return casts.plan([Column(name, type_) for name, type_ in columns.items()], footer, "users, gs://b/o#1")


@pytest.mark.parametrize("target", [PgType("vector", (3,)), PgType("halfvec", (3,))])
def test_a_vector_is_made_from_arrays_of_floats(target):
    assert plan({"c": target}, {"c": "DOUBLE[]"})
    for source in EVERY:
        with pytest.raises(DataError, match="which can't become"):
            plan({"c": target}, {"c": source})


def test_an_array_is_made_from_one_of_what_its_elements_are_made_from():
    for source in EVERY - {"BIGINT[]"}:
        target = {"c": PgType("integer", array=True)}
        if source in NUMBERS:
            assert plan(target, {"c": f"{source}[]"})
            assert plan(target, {"c": f"STRUCT(list {source}[])"})
        for wrong in (
            source,
            f"{source}[][]",
            f"STRUCT(a {source}[], b {source}[])",
            f"STRUCT(a {source})",
            *([] if source in NUMBERS else [f"{source}[]"]),
        ):
            with pytest.raises(DataError, match="which can't become integer"):
                plan(target, {"c": wrong})


@pytest.mark.parametrize("target", ACCEPTED)
def test_a_type_is_made_from_what_fits_into_it(target):
    for source in ACCEPTED[target]:
        (cast,) = plan({"c": target}, {"c": source})
        assert cast.column == Column("c", target)
        assert casts.arrow_type(cast) is not None


@pytest.mark.parametrize("target", ACCEPTED)
def test_a_type_is_made_from_nothing_else(target):
    for source in EVERY - ACCEPTED[target]:
        with pytest.raises(DataError) as e:
            plan({"c": target}, {"c": source})
        assert f"c is {source}, which can't become {target.sql}" in str(e.value)


WANTED = {"user_id": PgType.VARCHAR, "irisCode": PgType.VARCHAR}


@pytest.mark.parametrize(
    "found",
    [
        ["irisCode", "user_id"],
        ["user_id"],
        ["user_id", "irisCode", "extra"],
        ["user_id", "iriscode"],
        ["user_id", "irisCode", "irisCode_1"],
        [],
    ],
)
def test_other_columns_than_the_catalogs_are_refused(found):
    with pytest.raises(DataError) as e:
        plan(WANTED, dict.fromkeys(found, "VARCHAR"))
    assert e.value.where == "users, gs://b/o#1"
    assert e.value.what == f"has the columns {', '.join(found) or '(none)'}, the catalog says user_id, irisCode"


def test_every_wrong_type_is_named_at_once():
    with pytest.raises(DataError, match=r"user_id is BLOB, which .*; irisCode is DOUBLE, which"):
        plan(WANTED, {"user_id": "BLOB", "irisCode": "DOUBLE"})


@pytest.mark.parametrize("target", [PgType.NUMERIC, PgType.DOUBLE, PgType.INTEGER])
def test_a_decimal_that_is_read_as_a_double_is_refused(target):
    with pytest.raises(DataError, match=r"c is a decimal of 76 digits \(38 at most\)"):
        plan({"c": target}, {"c": "DOUBLE"}, digits=76)


@pytest.mark.parametrize(("digits", "scale"), [(38, 9), (5, 2), (38, 38), (18, 0)])
def test_a_decimal_keeps_its_scale(digits, scale):
    (cast,) = plan({"c": PgType.NUMERIC}, {"c": f"DECIMAL({digits},{scale})"}, digits)
    assert str(casts.arrow_type(cast)) == f"decimal128(38, {scale})"
