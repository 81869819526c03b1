"""Arrays and vectors in PostgreSQL's binary format, a whole batch at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.catalog import PgType
from shared.rows import numeric

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

#: The types that an array may have elements of, by the numbers that the server knows them by, which no version changes
#: (https://github.com/postgres/postgres/blob/master/src/include/catalog/pg_type.dat).
_NUMBERS = {
    PgType.TEXT: 25,
    PgType.VARCHAR: 1043,
    PgType.SMALLINT: 21,
    PgType.INTEGER: 23,
    PgType.BIGINT: 20,
    PgType.REAL: 700,
    PgType.DOUBLE: 701,
    PgType.NUMERIC: 1700,
    PgType.BOOLEAN: 16,
    PgType.DATE: 1082,
    PgType.TIME: 1083,
    PgType.TIMESTAMP: 1114,
    PgType.TIMESTAMPTZ: 1184,
    PgType.INTERVAL: 1186,
    PgType.BYTEA: 17,
    PgType.UUID: 2950,
}

#: From 1970 to 2000, where PostgreSQL counts from.
_DAYS = 10_957
_MICROSECONDS = _DAYS * 86_400_000_000

#: The types whose values are of one size, as numpy has them, and how many units PostgreSQL begins to count later.
_FIXED = {
    PgType.SMALLINT: (">i2", 0),
    PgType.INTEGER: (">i4", 0),
    PgType.BIGINT: (">i8", 0),
    PgType.REAL: (">f4", 0),
    PgType.DOUBLE: (">f8", 0),
    PgType.BOOLEAN: ("u1", 0),
    PgType.DATE: (">i4", _DAYS),
    PgType.TIME: (">i8", 0),
    PgType.TIMESTAMP: (">i8", _MICROSECONDS),
    PgType.TIMESTAMPTZ: (">i8", _MICROSECONDS),
}


def binary(values: pa.ListArray, type_: PgType) -> pa.Array:
    """Lists as arrays of one dimension, an empty one as one of none; NULL stays NULL
    (`array_recv`, https://github.com/postgres/postgres/blob/master/src/backend/utils/adt/arrayfuncs.c).
    """
    import numpy as np
    import pyarrow as pa

    elements, starts = values.flatten(), _starts(values)
    absent = np.concatenate([[0], np.cumsum(elements.is_null().to_numpy(zero_copy_only=False))])
    header = np.empty((len(values), 5), ">i4")
    header[:, 0] = 1
    header[:, 1] = absent[starts[1:]] > absent[starts[:-1]]
    header[:, 2] = _NUMBERS[type_.element.plain]
    header[:, 3] = np.diff(starts)
    header[:, 4] = 1
    nothing = np.array([0, 0, _NUMBERS[type_.element.plain]], ">i4").tobytes()
    headers = _where(np.diff(starts) == 0, pa.scalar(nothing, pa.binary()), _rows(header))
    return _after(headers, _sized(_elements(elements, type_.element)), starts, values)


def vectors(values: pa.ListArray, type_: PgType) -> pa.Array:
    """Lists of doubles as vectors of pgvector, of which each has as many; NULL stays NULL
    (`vector_recv`, https://github.com/pgvector/pgvector/blob/master/src/vector.c).
    """
    import numpy as np

    half = type_.plain == PgType.HALFVEC
    numbers = values.flatten().to_numpy(zero_copy_only=False).astype(">f2" if half else ">f4")
    header = np.zeros((len(values), 2), ">i2")
    header[:, 0] = type_.parameters[0]
    return _after(_rows(header), _rows(numbers.reshape(-1, 1)), _starts(values), values)


def _elements(elements: pa.Array, type_: PgType) -> pa.Array:
    """The bytes of each element."""
    import numpy as np
    import pyarrow as pa

    if type_.plain == PgType.NUMERIC:
        return numeric.binary(elements)
    if type_.plain not in _FIXED:
        return elements.cast(pa.binary())
    form, later = _FIXED[type_.plain]
    if not pa.types.is_floating(elements.type) and not pa.types.is_integer(elements.type):
        elements = elements.cast({"u1": pa.uint8(), ">i4": pa.int32(), ">i8": pa.int64()}[form])
    numbers = elements.fill_null(0).to_numpy(zero_copy_only=False)
    return _where(
        elements.is_null().to_numpy(zero_copy_only=False), None, _rows((numbers - later).astype(form)[:, np.newaxis])
    )


def _sized(elements: pa.Array) -> pa.Array:
    """Each element with the number of its bytes in front, which is -1 of NULL."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    sizes = pc.binary_length(elements).fill_null(-1).to_numpy(zero_copy_only=False).astype(">i4")
    return pc.binary_join_element_wise(
        _rows(sizes[:, np.newaxis]), elements.fill_null(b""), pa.scalar(b"", pa.binary())
    )


def _after(headers: pa.Array, elements: pa.Array, starts: npt.NDArray[np.int64], values: pa.ListArray) -> pa.Array:
    """Each list's header with its elements behind it."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    nothing = pa.scalar(b"", pa.binary())
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(starts, pa.int32()), elements), nothing)
    whole = pc.binary_join_element_wise(headers, joined, nothing)
    return _where(np.asarray(values.is_null()), None, whole)


def _starts(values: pa.ListArray) -> npt.NDArray[np.int64]:
    """Where the elements of each list begin among those of all, and where the last ends."""
    import numpy as np
    import pyarrow.compute as pc

    lengths = pc.list_value_length(values).fill_null(0).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def _rows(numbers: npt.NDArray[np.generic]) -> pa.Array:
    """Rows of numbers of one size as binary."""
    import numpy as np
    import pyarrow as pa

    width = numbers.shape[1] * numbers.itemsize
    offsets = pa.py_buffer(np.arange(len(numbers) + 1, dtype=np.int32) * np.int32(width))
    return pa.Array.from_buffers(
        pa.binary(), len(numbers), [None, offsets, pa.py_buffer(np.ascontiguousarray(numbers).tobytes())]
    )


def _where(condition: npt.NDArray[np.bool_], then: pa.Scalar | None, otherwise: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(
        pa.array(condition, pa.bool_()), pa.scalar(None, pa.binary()) if then is None else then, otherwise
    )
