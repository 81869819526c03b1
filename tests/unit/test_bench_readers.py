"""What the benchmark's readers say, and how it is understood."""

import pytest

from tests.bench.reader_client import DONE, READY, Configuration, Query, Read, parse

READS = [Read("offer", 12.5, 0.001234, 0.0), Read("place", 12.505, 0.25, 17.125)]


def test_reads_are_understood_as_they_are_said():
    assert parse("\n".join([READY, *map(str, READS), DONE, ""])) == READS


@pytest.mark.parametrize("output", ["", f"{READY}\n{READS[0]}\nTraceback", f"Traceback\n{DONE}"])
def test_readers_that_failed_are_not_taken_for_quick_ones(output):
    with pytest.raises(RuntimeError, match="the readers failed"):
        parse(output)


def test_a_configuration_is_read_as_it_was_saved(tmp_path):
    queries = [Query("probe", "SELECT 1", [[]]), Query("offer", "SELECT %s", [["a"], ["b"]])]
    saved = Configuration("postgresql://api@host/db", 200, 8, queries)
    saved.save(tmp_path / "file")
    assert Configuration.load(tmp_path / "file") == saved
