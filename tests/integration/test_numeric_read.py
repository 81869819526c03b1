"""Binary numeric as PostgreSQL itself reads it: the digits that it shows, and what a declared scale makes of them."""

import math
import struct
from decimal import Decimal, localcontext

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pgpq import ArrowToPostgresBinaryEncoder

from shared.rows import numeric

any_float = st.floats(allow_nan=False, allow_infinity=False) | st.binary(min_size=8, max_size=8).map(
    lambda b: struct.unpack("<d", b)[0]
).filter(math.isfinite)


def shown(database, values: pa.Array, type_: str) -> list[str | None]:
    """The texts that PostgreSQL shows of the values, in their order."""
    batch = pa.RecordBatch.from_arrays(
        [pa.array(range(len(values)), pa.int32()), numeric.binary(values)], names=["id", "n"]
    )
    encoder = ArrowToPostgresBinaryEncoder(batch.schema)
    database.execute(f"CREATE TEMP TABLE read (id integer, n {type_})")
    try:
        with database.cursor().copy("COPY read FROM STDIN (FORMAT binary)") as sink:
            for chunk in (encoder.write_header(), encoder.write_batch(batch), encoder.finish()):
                sink.write(chunk)
        return [text for (text,) in database.execute("SELECT n::text FROM read ORDER BY id")]
    finally:
        database.execute("DROP TABLE read")


def plain(value: Decimal) -> str:
    """A decimal without an exponent, a sign of zero and zeros at its end."""
    return f"{value.normalize() + 0:f}" if value else "0"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.none() | any_float))
@example([0.0, -0.0, 5e-324, -1.7976931348623157e308, 2.0**-1022, 2.2250738585072011e-308, 1e22, 1e23, 2.29, None])
@example([2.29, 100.0, 1e15, None, 4503599627370496.0])
@example([math.ldexp(1, exponent) for exponent in range(-1074, 1024)])
@example([0.5, 2.0**-24, 9007199254740993.0, 5e22])
def test_the_server_shows_a_float_as_its_shortest_decimal(database, values):
    found = shown(database, pa.array(values, pa.float64()), "numeric")
    assert found == [None if value is None else plain(Decimal(repr(value))) for value in values]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.none() | st.integers(-(10**38) + 1, 10**38 - 1)), st.integers(0, 38))
def test_the_server_shows_a_decimal_without_zeros_at_its_end(database, numbers, scale):
    with localcontext(prec=80):
        values = [None if number is None else Decimal(number).scaleb(-scale) for number in numbers]
        found = shown(database, pa.array(values, pa.decimal128(38, scale)), "numeric")
        assert found == [None if value is None else plain(value) for value in values]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.none() | st.integers(-(10**76), 10**76)), st.integers(0, 38))
def test_the_server_shows_a_decimal_as_text_without_zeros_at_its_end(database, numbers, places):
    with localcontext(prec=80):
        values = [None if number is None else Decimal(number).scaleb(-38) for number in numbers]
        texts = [v if v is None else f"{v:.{places}f}" for v in values]
        found = shown(database, pa.array(texts, pa.string()), "numeric")
        assert found == [None if text is None else plain(Decimal(text)) for text in texts]


@pytest.mark.parametrize("values", [pa.array([2.29, 100.0, None]), pa.array(["2.29", "100", None])])
def test_the_server_shows_all_digits_of_a_declared_scale(database, values):
    assert shown(database, values, "numeric(12, 4)") == ["2.2900", "100.0000", None]
