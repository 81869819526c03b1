"""A file that is read forward: the same bytes as of any other, in few answers."""

import io
import random

from shared.gcp.forward import Forward

CONTENT = random.Random(7).randbytes(12 << 20)  # noqa: S311 - no secret


class Answers:
    """The content from a byte on, and how often it was asked for."""

    def __init__(self):
        self.begins = []

    def __call__(self, at):
        self.begins.append(at)
        return io.BytesIO(CONTENT[at:])


def test_the_bytes_are_those_of_the_file_wherever_it_is_read():
    chance, file = random.Random(7), Forward(Answers())  # noqa: S311 - no secret
    at = 0
    for _ in range(500):
        at = max(0, min(at + chance.choice([-5_000, 0, 10, 4_096, 70_000, 3 << 20, -(8 << 20)]), len(CONTENT)))
        size = chance.choice([0, 1, 4_096, 100_000, 2 << 20])
        file.seek(at)
        assert file.read(size) == CONTENT[at : at + size]
        assert file.tell() == min(at + size, len(CONTENT))


def test_one_answer_gives_all_that_is_near():
    answers = Answers()
    file = Forward(answers)
    for at in range(0, len(CONTENT), 500_000):
        file.seek(at + 3_000)
        file.read(4_096)
        file.seek(at + 1_000)  # the next page may begin in what was read for the header of the last
        assert file.read(10) == CONTENT[at + 1_000 : at + 1_010]
    assert answers.begins == [3_000, 1_000]


def test_what_is_far_ahead_is_another_answer():
    answers = Answers()
    file = Forward(answers)
    file.read(10)
    file.seek(9 << 20)
    assert file.read(10) == CONTENT[9 << 20 :][:10]
    assert answers.begins == [0, 9 << 20]
