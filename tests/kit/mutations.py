"""Good documents with one thing or a few changed in them, as no program that knows them would write it."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import strategies as st

from shared.errors import SyncError

#: What stands in the odd texts, and never in an answer.
SECRET = "s3cr3t!"

type Path = tuple[str | int, ...]

_TEXTS = (SECRET, f"{SECRET}\0", f"\ud800{SECRET}", f"\u202e{SECRET}", SECRET * 10_000, "", "٣", "1e3", "-1", "9" * 40)
_NUMBERS = (0, -1, 1, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400, 10**4_000, 0.5, 1.0, 1e300, math.inf, math.nan)
_KEYS = ("odd key", "\u202ekey", "key\0", "\ud800", "k" * 10_000, "", "٣")
_NESTED = "[" * 50 + "]" * 50
_OTHERS = (None, True, False, [], {}, [SECRET], {"odd key": SECRET}, [[]] * 2_000, json.loads(_NESTED))

odd = st.sampled_from((*_TEXTS, *_NUMBERS, *_OTHERS)).map(copy.deepcopy) | st.text(max_size=9) | st.integers()


#: Odd texts alone.
texts = st.sampled_from(_TEXTS) | st.text(max_size=9) | st.integers().map(str)


@st.composite
def mutated(draw: st.DrawFn, document: object) -> object:
    """The document after one to three changes: another value, a field or item less, more, or twice."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(_paths(changed))))
        changed = _replaced(draw, changed, path)
    return changed


@st.composite
def bytes_of(draw: st.DrawFn, document: object) -> bytes:
    """A mutated document as JSON, at times cut off or with bytes in it that are none of its."""
    content = json.dumps(draw(mutated(document)), ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")
    match draw(st.sampled_from(("whole", "whole", "whole", "cut", "inserted", "marked", "other"))):
        case "cut":
            return content[: draw(st.integers(0, len(content)))]
        case "inserted":
            at = draw(st.integers(0, len(content)))
            return content[:at] + draw(st.sampled_from((b"\xff", b"\0", b"[" * 9_000, b"NaN", b"1e999"))) + content[at:]
        case "marked":
            return b"\xef\xbb\xbf" + content
        case "other":
            return draw(st.binary(max_size=40))
    return content


@contextmanager
def answered(*kinds: type[SyncError], where: str = "") -> Iterator[None]:
    """The block may fail with these kinds, each time with what can be shown and logged: short, in characters that
    print, and with no value quoted of what was read.
    """
    try:
        yield
    except kinds as e:
        told = str(e)
    else:
        return
    assert told.startswith(where)
    assert len(told.encode()) < 8_000
    assert SECRET not in told
    assert all(c.isprintable() or c == "\n" for c in told), ascii(told)
    assert not any(word in told for word in ("NoneType", "object is not", "Error at", "invalid literal")), told


def _paths(document: object, path: Path = ()) -> Iterator[Path]:
    yield path
    if isinstance(document, dict):
        for key in document:
            yield from _paths(document[key], (*path, key))
    elif isinstance(document, list):
        for index in range(min(len(document), 5)):
            yield from _paths(document[index], (*path, index))


def _replaced(draw: st.DrawFn, document: object, path: Path) -> object:
    if not path:
        return draw(odd) if draw(st.integers(0, 9)) == 0 else document
    *way, last = path
    at = document
    for step in way:
        at = at[step]  # type: ignore[index]
    match draw(st.sampled_from(("odd", "odd", "gone", "twice"))):
        case "gone":
            del at[last]  # type: ignore[attr-defined]
        case "twice" if isinstance(at, list):
            at.append(copy.deepcopy(at[last]))  # type: ignore[index]
        case "twice":
            at[draw(st.sampled_from(_KEYS))] = copy.deepcopy(at[last])  # type: ignore[index]
        case _:
            at[last] = draw(odd)  # type: ignore[index]
    return document
