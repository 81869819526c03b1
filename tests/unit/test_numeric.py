"""Binary numeric, read as PostgreSQL reads it, against Python's repr and decimal."""

import math
import struct
from decimal import Decimal, localcontext

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.rows.numeric import binary


def read(value: bytes) -> tuple[Decimal, int]:
    """The number, and the digits behind the point that it shows."""
    count, weight, sign, places = struct.unpack(">HhHH", value[:8])
    digits = struct.unpack(f">{count}H", value[8:])
    assert all(digit < 10_000 for digit in digits)
    number = sum((Decimal(digit).scaleb(4 * (weight - n)) for n, digit in enumerate(digits)), Decimal(0))
    return (-number if sign else number), places


def shown(number: Decimal) -> tuple[Decimal, int]:
    """The number with the digits that it needs."""
    exponent = number.normalize().as_tuple().exponent
    return number, max(0, -exponent) if number else 0


def check(values: list[float | None] | list[Decimal | None], type_: pa.DataType) -> None:
    with localcontext(prec=1_200):
        found = binary(pa.array(values, type_)).to_pylist()
        numbers = [None if v is None else v if isinstance(v, Decimal) else Decimal(repr(v)) for v in values]
        assert [value and read(value) for value in found] == [n if n is None else shown(n) for n in numbers]


@given(st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False)))
@example([0.0, -0.0, 5e-324, 1.7976931348623157e308, 1e22, 1e23, 9007199254740993.0])
@example([47.91995, 2.29, 0.1 + 0.2, 1 / 3])
@example([4095.999999999999, 1e-12, 0.0])
@example([])
@example([None])
def test_a_float_is_its_shortest_decimal(values):
    check(values, pa.float64())


#: Any 64 bits that are a number: every magnitude alike.
bits = st.binary(min_size=8, max_size=8).map(lambda b: struct.unpack("<d", b)[0]).filter(math.isfinite)
#: Few binary digits behind many places: an exact decimal that ends with 5, often in the middle of two shorter ones.
dyadic = st.builds(math.ldexp, st.integers(-(2**53), 2**53).map(lambda n: n | 1).map(float), st.integers(-80, 80))


@given(st.lists(bits | dyadic, min_size=1))
@example([9007199254740993.0, 9007199254740994.0, 5e22, 2.0**-24, 2.0**60 + 256])
def test_a_float_of_any_magnitude_is_its_shortest_decimal_and_so_is_one_in_the_middle_of_two(values):
    check(values, pa.float64())


@given(st.integers(0, 17), st.integers(1, 16), st.data())
def test_a_float_of_few_places_shows_them(places, digits, data):
    most = 10**digits - 1
    numbers = data.draw(st.lists(st.integers(-most, most)))
    check([float(f"{number}e-{places}") for number in numbers], pa.float64())


@pytest.mark.parametrize(("limit", "places"), [(2**13, 12), (2**26, 8), (2**39, 4), (2**52, 0)])
def test_a_float_shows_its_places_on_both_sides_of_where_all_floats_have_more(limit, places):
    beside = [float(f"{limit + step}e{shift}") for step in range(-200, 200) for shift in (0, -1, -places, 1 - places)]
    around = [math.ldexp(round(math.ldexp(limit, -1) * 2 + step / 10), 0) for step in range(-20, 20)]
    near = [limit + step * 10.0**-places for step in range(-200, 200)]
    for value in (*beside, *around, *near):
        check([value], pa.float64())
    check([*beside, *around, *near], pa.float64())


def test_one_float_that_has_more_places_than_the_first_ones_changes_none_of_them():
    for odd in (0.1 + 0.2, 1 / 3, 1e300, 5e-324, 8191.9999999999991, 1e-13):
        check([2.29] * 100 + [odd] + [47.91995] * 100, pa.float64())


def test_beside_powers_of_two_and_ten_floats_are_their_shortest_decimals():
    twos = [math.ldexp(1, exponent) for exponent in range(-1074, 1024)]
    tens = [float(f"1e{exponent}") for exponent in range(-307, 308)]
    for near in (twos, tens):
        for values in (near, [math.nextafter(x, 0) for x in near], [math.nextafter(x, math.inf) for x in near]):
            check([x for x in values if math.isfinite(x)], pa.float64())


@given(st.data(), st.integers(1, 38))
def test_a_decimal_is_itself_and_shows_no_zeros_behind(data, precision):
    scale = data.draw(st.integers(0, precision))
    most = 10**precision - 1
    numbers = st.integers(-most, most) | st.sampled_from([most, -most, 0, min(most, 2**64), -min(most, 2**64)])
    with localcontext(prec=76):
        values = data.draw(st.lists(st.none() | numbers.map(lambda n: Decimal(n).scaleb(-scale))))
        check(values, pa.decimal128(precision, scale))


@pytest.mark.parametrize("type_", [pa.float64(), pa.decimal128(38, 9)])
def test_a_slice_of_a_batch_is_read_from_its_beginning(type_):
    values = [None if n % 5 == 0 else n for n in range(100)]
    whole = pa.array(values, pa.float64()).cast(type_)
    assert binary(whole.slice(7, 30)).to_pylist() == binary(whole).to_pylist()[7:37]
