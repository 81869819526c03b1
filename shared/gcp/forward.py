"""A file of which most bytes are passed in their order: one answer gives them, with what was just passed at hand."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Protocol

#: Bytes that are taken of an answer at once; and those that are rather passed than left out by another request.
_PIECE = 1 << 20
_FAR = 4 << 20


class Body(Protocol):
    """An answer of which pieces are taken."""

    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


class Forward(io.RawIOBase):
    """What `body` gives from a byte on. To read behind what is at hand, or far ahead of it, asks for another."""

    def __init__(self, body: Callable[[int], Body]) -> None:
        self._from = body
        self._body: Body | None = None
        self._at = self._start = 0
        self._held = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Nobody knows where the end is."""
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("seek from elsewhere than the start")
        self._at = offset
        return offset

    def read(self, size: int = -1, /) -> bytes:
        """So many bytes, or fewer at the end. Raises what the answer and `body` do."""
        if size < 0:
            raise io.UnsupportedOperation("read all of it")
        if self._body is None or not self._start <= self._at <= self._end + _FAR:
            self._begin()
        while self._end < self._at + size and (piece := self._more()):
            passed = min(self._at - self._start, len(self._held))
            self._start, self._held = self._start + passed, self._held[passed:] + piece
        found = self._held[self._at - self._start :][:size]
        self._at += len(found)
        return found

    @property
    def _end(self) -> int:
        return self._start + len(self._held)

    def _begin(self) -> None:
        self._leave()
        self._body, self._start, self._held = self._from(self._at), self._at, b""

    def _more(self) -> bytes:
        return self._body.read(_PIECE) if self._body is not None else b""

    def close(self) -> None:
        self._leave()
        super().close()

    def _leave(self) -> None:
        if self._body is not None:
            self._body.close()
