"""Numbers in PostgreSQL's binary numeric, a whole batch at once, with no digit that the source does not have.

A numeric remembers how many digits behind the point it shows. Of a float these are the digits of its shortest decimal,
which reads back as the same float and is what Python's `repr` gives; of a decimal, those up to its last that is not 0.

All values of a batch are written with the same number of base-10000 digits: the server drops those that lead or trail
as zeros (`numeric_recv`, https://github.com/postgres/postgres/blob/master/src/backend/utils/adt/numeric.c).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    type Floats = npt.NDArray[np.float64]
    type Integers = npt.NDArray[np.int64]
    type Flags = npt.NDArray[np.bool_]
    type Words = npt.NDArray[np.uint16]

_NEGATIVE = 0x4000

#: Digits before the point of a number as text, and behind it: a multiple of 4 that BIGNUMERIC has no more than.
_WIDTH = 40

#: Base-10000 digits of a float's 17 decimal ones, wherever the point is.
_FLOAT_DIGITS = 5

#: The magnitudes of which every step below is exact or bounded; the few floats beyond take the slow way.
_SMALLEST, _GREATEST = 1e-270, 1e270

#: Places behind the point, and the floats below which such decimals are farther from each other than the floats are.
_EXACT = {0: 2.0**52, 4: 2.0**39, 8: 2.0**26, 12: 2.0**13}

#: Values that are looked at before the others.
_FIRST = 64


def binary(values: pa.Array) -> pa.Array:
    """Each of a column of float64 (finite), decimal128 or text (no exponent) as binary numeric; NULL stays NULL."""
    import numpy as np
    import pyarrow as pa

    valid = np.ones(len(values), bool) if not values.null_count else values.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_string(values.type):
        words = _of_texts(values)
    else:
        words = _of_floats(values) if pa.types.is_float64(values.type) else _of_decimals(values)
    width = words.shape[1] * 2
    offsets = pa.py_buffer(np.arange(0, (len(values) + 1) * width, width, dtype=np.int32))
    mask = pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(pa.binary(), len(values), [mask, offsets, pa.py_buffer(np.ascontiguousarray(words))])


def _of_floats(values: pa.Array) -> Words:
    import numpy as np

    x: Floats = values.fill_null(0.0).to_numpy(zero_copy_only=False)
    magnitude, negative = np.abs(x), x < 0
    for places, limit in _EXACT.items():
        # Most columns hold nothing else than decimals of few places. The first values tell which are worth a try.
        if _scaled(magnitude[:_FIRST], places, limit) is not None:
            number = _scaled(magnitude, places, limit)
            if number is not None:
                return _words(_groups(number), places, negative)
    far = (magnitude < _SMALLEST) | (magnitude > _GREATEST)
    digits, behind, doubtful = _shortest(np.where(far, 1.0, magnitude))
    # As 20 digits, the first of which stands at a multiple of 4 places: groups of 4, a zero or more in front.
    exponent = 16 - behind
    weight = exponent >> 2
    shift = exponent & 3
    cut = _tens().take(8 - shift)
    high = digits // cut
    low = (digits - high * cut) * _tens().take(shift)
    groups = [*_groups(high, 3), *_groups(low, 2)]
    words = _words(groups, 4 * (_FLOAT_DIGITS - 1 - weight), negative, weight)
    for index in np.flatnonzero((doubtful | far) & (magnitude != 0)):
        words[index] = _slowly(float(x[index]))
    words[magnitude == 0, 1:] = 0
    return words


def _scaled(magnitude: Floats, places: int, limit: float) -> Integers | None:
    """The floats times a power of ten, where each is the one nearest to a decimal of so many places; None of others.

    Below the limit, floats are nearer to each other than such decimals, so that one at most reads back as the float. A
    shorter decimal would be such a one too, so it is the shortest. Both sides of the division are exact, so that it
    gives the float nearest to the decimal.
    """
    import numpy as np

    power = 10.0**places
    scaled = np.rint(np.minimum(magnitude, limit) * power)
    return scaled.astype(np.int64) if (scaled / power == magnitude).all() else None


def _groups(number: Integers, count: int = 0) -> list[Integers]:
    """The base-10000 digits of numbers, so many, or as many as the greatest has."""
    left = count or max(1, -(-len(str(number.max(initial=0))) // 4))
    groups = []
    for _ in range(left - 1):
        quotient = number // 10_000
        groups.append(number - quotient * 10_000)
        number = quotient
    return [number, *reversed(groups)]


def _shortest(x: Floats) -> tuple[Integers, Integers, Flags]:
    """The digits of positive floats' shortest decimals, 17 with zeros behind, and the places that are behind the point:
    the decimal is `digits * 10 ** -places`. Doubtful are those that are too near to call.

    The product with the power of ten is known to 2^-100, as the sum of two floats (T. J. Dekker, 1971). A decimal that
    is nearer to the float than half its distance to the next reads back as it. At 15 digits there is one at most, which
    includes all shorter ones; then the nearest of 16, then of 17.
    """
    import numpy as np

    places = 16 - np.floor(np.log10(x)).astype(np.int64)
    ten, rest = _powers()
    power = ten.take(places - _LEAST_PLACES)
    product, error = _product(x, power)
    error += x * rest.take(places - _LEAST_PLACES)
    whole = np.rint(error)
    exact = product.astype(np.int64) + whole.astype(np.int64)
    beyond = error - whole  # of the exact product, behind the point
    below = (x.view(np.int64) & _EXPONENT).view(np.float64)  # the power of two
    half = below * 2.0**-53 * power
    down = (beyond < 0).astype(np.int64)
    of_15, of_16 = (exact + 50 - down) // 100 * 100, (exact + 5 - down) // 10 * 10
    off_15, off_16 = np.abs((of_15 - exact) - beyond), np.abs((of_16 - exact) - beyond)
    # Below a power of two, the next float is half as far.
    lopsided = below == x
    at_15 = off_15 < np.where(lopsided, half * 0.5, half)
    at_16 = off_16 < half
    digits = np.where(at_15, of_15, np.where(at_16, of_16, exact))
    doubtful = np.abs(off_15 - half) < _MARGIN
    doubtful |= ~at_15 & (lopsided | (np.abs(off_16 - half) < _MARGIN) | (np.abs(off_16 - 5) < _MARGIN))
    doubtful |= ~at_15 & ~at_16 & (np.abs(np.abs(beyond) - 0.5) < _MARGIN)
    # The logarithm may be off by one beside a power of ten, and rounding may lead to one.
    doubtful |= (digits < 10**16) | (digits >= 10**17)
    return np.where(doubtful, 10**16, digits), places, doubtful


def _product(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """The product, and what its rounding left."""
    product = a * b
    high_a, high_b = a * _SPLIT, b * _SPLIT
    high_a, high_b = high_a - (high_a - a), high_b - (high_b - b)
    low_a, low_b = a - high_a, b - high_b
    return product, ((high_a * high_b - product) + high_a * low_b + low_a * high_b) + low_a * low_b


#: In units of the 17th digit: what is nearer to a boundary takes the slow way. The product is off by 1e-13 at most.
_MARGIN = 1e-6
_SPLIT = 134_217_729.0
_EXPONENT = 0x7FF0_0000_0000_0000
_HALF, _LOW_HALF = 32, 0xFFFF_FFFF
_LEAST_PLACES = 16 - 271


@cache
def _powers() -> tuple[Floats, Floats]:
    """Powers of ten from `_LEAST_PLACES` up: each as the float nearest to it, and the float nearest to the rest."""
    import numpy as np

    exact = [Fraction(10) ** n for n in range(_LEAST_PLACES, 16 + 272)]
    nearest = [float(power) for power in exact]
    rest = [float(power - Fraction(near)) for power, near in zip(exact, nearest, strict=True)]
    return np.array(nearest), np.array(rest)


def _slowly(x: float) -> Sequence[int]:
    """The words of one float."""
    sign, digits, exponent = Decimal(repr(x)).normalize().as_tuple()
    if not isinstance(exponent, int):
        raise ValueError("not finite")
    weight = (len(digits) - 1 + exponent) // 4
    last = 4 * (weight - _FLOAT_DIGITS + 1)
    number = int("".join(map(str, digits))) * 10 ** (exponent - last)
    groups = [number // 10_000**place % 10_000 for place in reversed(range(_FLOAT_DIGITS))]
    return [_FLOAT_DIGITS, weight % 65_536, _NEGATIVE if sign else 0, max(0, -exponent), *groups]


def _of_decimals(values: pa.Array) -> Words:
    import numpy as np

    scale = values.type.scale
    pad = -scale % 4
    raw = np.frombuffer(values.buffers()[1], "<u8")[values.offset * 2 : (values.offset + len(values)) * 2]
    low, high = raw[0::2].copy(), raw[1::2].copy()
    if values.null_count:
        gone = ~values.is_valid().to_numpy(zero_copy_only=False)
        low[gone] = high[gone] = 0
    negative = high >> np.uint64(63) != 0
    low, high = np.where(negative, ~low + np.uint64(1), low), np.where(negative, ~high + (low == 0), high)
    # Filled up with zeros behind, so that the point is between two groups: the last has 4 - pad digits of the value's.
    limbs = [high >> _HALF, high & _LOW_HALF, low >> _HALF, low & _LOW_HALF] if high.any() else [low]
    groups: list[Integers] = []
    while not groups or any(limb.any() for limb in limbs):
        unit = 10_000 if groups else 10 ** (4 - pad)
        groups.insert(0, _divide(limbs, unit).astype(np.int64) * (10_000 // unit))
    return _words(groups, scale + pad, negative)


def _of_texts(values: pa.Array) -> Words:
    import numpy as np
    import pyarrow.compute as pc

    text = values.fill_null("0")
    number = pc.utf8_ltrim(text, "-")
    whole = pc.utf8_lpad(pc.replace_substring_regex(number, r"\..*", ""), _WIDTH, "0")
    behind = pc.utf8_rpad(pc.replace_substring_regex(number, r"^[0-9]+\.?", ""), _WIDTH, "0")
    characters = pc.binary_join_element_wise(whole, behind, "").to_numpy(zero_copy_only=False)
    digits = characters.astype(f"S{2 * _WIDTH}").view(np.uint8).reshape(len(text), _WIDTH // 2, 4).astype(
        np.int64
    ) - ord("0")
    negative = pc.starts_with(text, "-").to_numpy(zero_copy_only=False)
    return _words(list((digits @ np.array([1000, 100, 10, 1])).T), _WIDTH, negative)


def _words(
    groups: list[Integers], places: int | Integers, negative: Flags, weight: int | Integers | None = None
) -> Words:
    """What the server reads: how many digits, the weight of the first, the sign, the places shown, the digits.

    `places` are those behind the point up to the last digit's end; the weight follows from them where they are the same
    for all.
    """
    import numpy as np

    if weight is None:
        weight = len(groups) - 1 - places // 4
    zeros = _trailing_zeros().take(groups[-1])
    for number, group in enumerate(reversed(groups[:-1]), 1):
        only = zeros == 4 * number
        if not only.any():
            break
        zeros += _trailing_zeros().take(group) * only
    words = np.empty((len(negative), 4 + len(groups)), ">u2")
    words[:, 0] = len(groups)
    words[:, 1] = weight & 0xFFFF
    words[:, 2] = negative * _NEGATIVE
    words[:, 3] = np.maximum(places - zeros.astype(np.int64), 0) * (zeros < 4 * len(groups))
    for number, group in enumerate(groups, 4):
        words[:, number] = group
    return words


@cache
def _trailing_zeros() -> npt.NDArray[np.uint8]:
    """How many zeros a base-10000 digit ends with, as 4 decimal ones."""
    import numpy as np

    zeros = [4, *(next(n for n in range(4) if digit % 10 ** (n + 1)) for digit in range(1, 10_000))]
    return np.array(zeros, np.uint8)


@cache
def _tens() -> Integers:
    import numpy as np

    return np.array([10**exponent for exponent in range(9)])


def _divide[N: (np.uint64, np.int64)](limbs: list[npt.NDArray[N]], by: int) -> npt.NDArray[N]:
    """Divide numbers of one limb, or of several of 32 bits, the highest first, in place; the remainders."""
    limbs[0], rest = _divmod(limbs[0], by)
    for number, limb in enumerate(limbs[1:], 1):
        limbs[number], rest = _divmod((rest << limb.dtype.type(_HALF)) | limb, by)
    return rest


def _divmod[N: (np.uint64, np.int64)](numbers: npt.NDArray[N], by: int) -> tuple[npt.NDArray[N], npt.NDArray[N]]:
    quotients = numbers // numbers.dtype.type(by)
    return quotients, numbers - quotients * numbers.dtype.type(by)
