"""Decimals on their way out, against Python's own, for texts as PostgreSQL writes them."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Context, Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.catalog import BigQueryType, HourlyColumn, PgType
from shared.rows.fits import arrow_type, fit

EXACT = Context(prec=200, rounding=ROUND_HALF_UP)
DECIMALS = (BigQueryType.NUMERIC, BigQueryType.BIGNUMERIC)

digits = st.text("0123456789", min_size=1, max_size=45)
texts = st.one_of(
    st.builds(
        lambda sign, whole, part: sign + (whole.lstrip("0") or "0") + (f".{part}" if part else ""),
        st.sampled_from(["", "-"]),
        digits,
        st.one_of(st.just(""), digits),
    ),
    st.sampled_from(["NaN", "Infinity", "-Infinity", "9" * 29 + "." + "9" * 9 + "5", "9" * 38 + "." + "9" * 39]),
)


def fitted(target, values):
    return fit(HourlyColumn("n", PgType.NUMERIC, target), pa.array(values, pa.string()))


def expected(text, target):
    """The value, whether it was rounded, and whether it does not fit."""
    if text is None:
        return None, False, False
    value, type_ = Decimal(text), arrow_type(target)
    if not value.is_finite():
        return None, False, True
    rounded = value.quantize(Decimal(1).scaleb(-type_.scale), context=EXACT)
    if rounded and rounded.adjusted() >= type_.precision - type_.scale:
        return None, False, True
    return rounded, rounded != value, False


@pytest.mark.parametrize("target", DECIMALS)
@given(values=st.lists(st.one_of(st.none(), texts), max_size=6))
def test_a_decimal_is_rounded_half_away_from_zero_or_does_not_fit(target, values):
    found = fitted(target, values)
    wanted = [expected(text, target) for text in values]
    assert found.values.type == arrow_type(target)
    assert found.values.to_pylist() == [value for value, _, _ in wanted]
    for marked, flags in ((found.rounded, [w[1] for w in wanted]), (found.unfit, [w[2] for w in wanted])):
        assert ([bool(one) for one in marked.to_pylist()] if marked is not None else [False] * len(values)) == flags


@given(values=st.lists(st.one_of(st.none(), texts), max_size=6))
def test_a_double_is_the_nearest_one(values):
    found = fitted(BigQueryType.FLOAT64, values)
    assert found.unfit is None or not any(found.unfit.to_pylist())
    for value, text in zip(found.values.to_pylist(), values, strict=True):
        assert value is None if text is None else repr(value) == repr(float(text))


def test_a_decimal_beyond_the_doubles_does_not_fit_and_the_infinities_do():
    found = fitted(BigQueryType.FLOAT64, ["1" + "0" * 400, "-Infinity", "0." + "0" * 400 + "1"])
    assert found.values.to_pylist() == [None, float("-inf"), 0.0]
    assert found.unfit.to_pylist() == [True, False, False]


def test_an_interval_without_end_which_newer_servers_have_does_not_fit():
    column = HourlyColumn("n", PgType.INTERVAL, BigQueryType.STRING)
    found = fit(column, pa.array(["P1Y", "infinity", "-infinity", None]))
    assert found.unfit.to_pylist() == [False, True, True, None]


@given(values=st.lists(st.none() | st.lists(st.none() | texts, max_size=4), max_size=6), start=st.integers(0, 3))
def test_an_array_is_judged_by_its_elements(values, start):
    found = fit(
        HourlyColumn("n", PgType("numeric", array=True), BigQueryType.NUMERIC),
        pa.array(values, pa.list_(pa.string())).slice(start),
    )
    values = values[start:]
    wanted = [[expected(text, BigQueryType.NUMERIC) for text in value or []] for value in values]
    unfit = [
        value is None or None in value or any(misfit for _, _, misfit in each)
        for value, each in zip(values, wanted, strict=True)
    ]
    assert [bool(one) for one in found.unfit.to_pylist()] == unfit
    kept = [[number for number, _, _ in each] for each, wrong in zip(wanted, unfit, strict=True) if not wrong]
    assert [v for v, wrong in zip(found.values.to_pylist(), unfit, strict=True) if not wrong] == kept
