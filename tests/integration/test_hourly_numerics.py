"""Decimals on their way out of PostgreSQL, compared with Python's: what is kept, rounded, refused and counted."""

from collections import Counter
from decimal import ROUND_HALF_UP, Context, Decimal

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.db import postgres
from shared.names import Hour
from shared.rows import unload
from shared.rows.log_table import LogTable, Range
from tests.kit.logs import at, block, create, place

EXACT = Context(prec=40_000, rounding=ROUND_HALF_UP)
#: Digits after the point, and the greatest value.
DECIMALS = {"num": (9, Decimal("9" * 29 + "." + "9" * 9)), "big": (38, Decimal("9" * 38 + "." + "9" * 38))}
COLUMNS = {
    "num": "numeric NUMERIC",
    "strict": "numeric NUMERIC refuse",
    "big": "numeric BIGNUMERIC",
    "float": "numeric FLOAT64",
}
MAX_DOUBLE = 1.7976931348623157e308
LEAST = Decimal.from_float(5e-324)
fuzz = settings(max_examples=10)


@pytest.fixture(scope="module")
def leave(cloud, tmp_path_factory):
    """Put values into all columns of rows, and read the rows as they leave: their Arrow table, and what was noted of
    each column, by its problem (None: rounded).
    """
    with place(cloud, "hourly-numerics", tmp_path_factory.mktemp("catalog"), block("numerics", COLUMNS)) as log:
        log.name = "numerics"
        create(log)

        def leave(values: list[str]) -> tuple[pa.Table, Counter[tuple[str, str | None]]]:
            log.database.execute("TRUNCATE numerics RESTART IDENTITY")
            with log.database.cursor() as cursor:
                statement = (
                    "INSERT INTO numerics (at, num, strict, big, float)"
                    " SELECT '2026-03-10 10:30', v, v, v, v FROM (SELECT %s::numeric AS v) AS given"
                )
                cursor.executemany(statement, [(value,) for value in values])
            info = postgres.conninfo(log.services.settings, "test")
            notes: Counter[tuple[str, str | None]] = Counter()
            with postgres.connect(log.services.settings, "test") as connection:
                source = LogTable(connection, "public", log.table)
                with source.snapshot() as snapshot:
                    statement = source.statement(Range.of(Hour(at(10))))
                    batches = list(unload.batches(info, snapshot, statement))
            rows = []
            for batch in batches:
                fitting, noted = source.outbound.rows(batch, Hour(at(10)))
                rows.append(fitting)
                for note in noted:
                    notes[note.column, note.problem] += note.rows
            return pa.Table.from_batches(rows).sort_by("n"), notes

        yield leave


def rounded(value: Decimal, digits: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-digits), context=EXACT)


def excess(value: Decimal, digits: int) -> bool:
    return rounded(value, digits) != value


def near(limit: Decimal, step: int) -> st.SearchStrategy[Decimal]:
    """Values within some units of the last digits around a limit."""
    return st.integers(-30, 30).map(lambda n: EXACT.add(limit, Decimal(n).scaleb(-step - 1)))


magnitudes = st.integers(-60, 45)
decimals = st.one_of(
    st.builds(
        lambda digits, exponent: EXACT.scaleb(Decimal(digits), exponent), st.integers(-(10**40), 10**40), magnitudes
    ),
    st.builds(lambda n, places: Decimal(n).scaleb(-places), st.integers(-9999, 9999), st.integers(0, 42)),
    *(near(sign * limit, digits) for digits, limit in DECIMALS.values() for sign in (1, -1)),
)


@fuzz
@given(st.lists(decimals, min_size=1, max_size=200))
@example([Decimal(text) for text in ("0.0000000005", "-0.0000000005", "0.00000000049", "2.5e-39", "-5e-39", "4.9e-39")])
@example([Decimal(text) for text in ("1.0000000000", "0E-50", "1e-1000", "-1e-16383", "1e16000", "0.0000000015")])
def test_decimals_keep_their_digits_and_are_rounded_half_away_from_zero(leave, values):
    table, notes = leave([format(value, "f") for value in values])
    for column, (digits, limit) in DECIMALS.items():
        wanted = [rounded(value, digits) for value in values]
        fits = [value.copy_abs() <= limit for value in wanted]
        found = table.column(column).to_pylist()
        assert found == [value if fit else None for value, fit in zip(wanted, fits, strict=True)]
        counts = {problem: count for (name, problem), count in notes.items() if name == column}
        assert counts.pop(None, 0) == sum(
            fit and excess(value, digits) for value, fit in zip(values, fits, strict=True)
        )
        assert sum(counts.values()) == fits.count(False)


@fuzz
@given(st.lists(decimals, min_size=1, max_size=200))
def test_excess_digits_are_a_problem_where_the_catalog_refuses_them(leave, values):
    _, notes = leave([format(value, "f") for value in values])
    problems = {problem: count for (column, problem), count in notes.items() if column == "strict"}
    digits, limit = DECIMALS["num"]
    fitting = [value for value in values if rounded(value, digits).copy_abs() <= limit]
    assert problems.get("has more than 9 digits after the point", 0) == sum(excess(value, digits) for value in fitting)
    assert problems.get("holds what no NUMERIC can be", 0) == len(values) - len(fitting)
    assert None not in problems


doubles = st.floats(-1e308, 1e308)
exact_doubles, shortest_doubles = doubles.map(Decimal), doubles.map(lambda value: Decimal(repr(value)))


@fuzz
@given(st.lists(exact_doubles | shortest_doubles | decimals, min_size=1, max_size=100))
@example([Decimal(text) for text in ("5e-324", "2.5e-324", "2.4e-324", "-1e-400", "2.2250738585072011e-308", "1e308")])
def test_a_decimal_becomes_the_double_that_is_nearest(leave, values):
    table, notes = leave([format(value, "f") for value in values])
    assert table.column("float").to_pylist() == [float(value) for value in values]
    assert "float" not in {column for column, _ in notes}


@pytest.mark.parametrize(
    "value",
    [
        Decimal(repr(MAX_DOUBLE)),
        # The greatest double, to its last digit, and what is nearer to it than to the power of 2 that follows.
        Decimal(MAX_DOUBLE),
        Decimal("1.797693134862315807e308"),
        # Half of the least double is 0, anything more is the least double.
        EXACT.multiply(LEAST, Decimal("0.5")),
        EXACT.multiply(LEAST, Decimal("0.50000000000000000001")),
    ],
    ids=["shortest", "greatest", "almost infinite", "half the least", "more than half the least"],
)
def test_the_limits_of_the_doubles_are_theirs(leave, value):
    table, notes = leave([format(value, "f"), format(-value, "f")])
    assert table.column("float").to_pylist() == [float(value), float(-value)]
    assert "float" not in {column for column, _ in notes}


@pytest.mark.parametrize("text", ["1e309", "-1e309", "1e130000", "1.8e308", "1.7976931348623159e308"])
def test_a_decimal_beyond_the_doubles_is_a_problem(leave, text):
    _, notes = leave([text])
    assert notes["float", "holds what no FLOAT64 can be"] == 1


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_one_to_float64_alone(leave, text):
    table, notes = leave([text])
    assert repr(table.column("float")[0].as_py()) == repr(float(text))
    assert notes == {
        ("num", "holds what no NUMERIC can be"): 1,
        ("strict", "holds what no NUMERIC can be"): 1,
        ("big", "holds what no BIGNUMERIC can be"): 1,
    }
