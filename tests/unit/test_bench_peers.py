"""What readers of a table that a peer replaces are said to see."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import errors as pg

from tests.bench import peers


class Server:
    """Gives one answer after the other, the last one again and again."""

    def __init__(self, *answers: int | Exception) -> None:
        self._answers, self.told = list(answers), threading.Event()

    @contextmanager
    def connect(self, *_: object, **__: object):
        yield self

    def execute(self, _: bytes) -> Server:
        if len(self._answers) == 1:
            self.told.set()
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        self._rows = answer
        return self

    def fetchone(self) -> tuple[int]:
        return (self._rows,)


ALL = peers._TRIAL_ROWS


@pytest.mark.parametrize(("answers", "told"), [
    ([ALL], "have the old rows or the new ones"),
    ([ALL, 0, ALL], "see no rows"),
    ([1, pg.UndefinedTable(), ALL], "find no table or see a part of the rows"),
    ([pg.LockNotAvailable(), ALL], "are locked out"),
    ([pg.DeadlockDetected(), ALL], "fail with DeadlockDetected"),
])  # fmt: skip
def test_what_readers_saw_is_told(monkeypatch, answers, told):
    server = Server(*answers)
    monkeypatch.setattr(psycopg, "connect", server.connect)
    with peers._Readers("") as readers:
        assert server.told.wait(30)
    assert readers.told() == told


def test_readers_that_could_not_look_saw_nothing_good(monkeypatch):
    def connect(*_: object, **__: object):
        raise psycopg.OperationalError

    monkeypatch.setattr(psycopg, "connect", connect)
    with peers._Readers("") as readers:
        pass
    assert readers.told() == "fail with OperationalError"
    assert peers._Readers("").told() == "had no look"
