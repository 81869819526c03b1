"""Files that nobody here wrote: a seeded lot of odd and damaged ones, given to a real function process."""

import pytest

from tests.fuzz.trial import trial


@pytest.fixture(scope="module")
def tried(cloud, tmp_path_factory):
    with trial(cloud, "odd-files", tmp_path_factory.mktemp("tree")) as tried:
        yield tried


def test_whatever_the_file_it_arrives_exactly_or_is_refused_by_name(tried, pytestconfig):
    first = pytestconfig.getoption("randomly_seed", 0) * 1_000
    wrong = [what for seed in range(first, first + pytestconfig.getoption("odd_files")) for what in tried.of(seed)]
    assert not wrong, "\n".join(wrong)
    assert tried.arrived
