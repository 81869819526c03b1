"""What a failing test's report shows of the product's log."""

from __future__ import annotations

import json
import logging

import pytest

from shared import log
from tests.kit.log_lines import LAST, WIDTH, LogLines


@pytest.fixture
def lines(tmp_path):
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    lines = LogLines()
    lines.folder = tmp_path
    yield lines
    root.handlers[:] = before


def logged(message, **fields):
    return json.dumps({"severity": "ERROR", "message": message, "logger": "recosync", **fields}) + "\n"


def test_of_a_function_the_lines_since_the_test_began(lines, tmp_path):
    file = tmp_path / "e2e0-gcs_import-1.log"
    file.write_text(logged("before"))
    lines.begin()
    with file.open("a") as log:
        log.write(logged("event failed", table="enriched_user", retryable=False))
        log.write("[2026-11-28] [ERROR] no JSON at all\n")
    expected = "ERROR   event failed  table=enriched_user\n[2026-11-28] [ERROR] no JSON at all"
    assert list(lines.sections()) == [("what e2e0-gcs_import-1 logged", expected)]


def test_the_emulators_keep_their_lines_to_themselves(lines, tmp_path):
    (tmp_path / "bigquery.log").write_text("GET /bigquery/v2/projects\n")
    assert list(lines.sections()) == []


def test_of_the_tests_own_process_the_product_alone(lines):
    lines.begin()
    log.info("part staged", rows=3)
    logging.getLogger("urllib3").warning("retrying")
    assert list(lines.sections()) == [("what the test's own process logged", "INFO    part staged  rows=3")]
    lines.begin()
    assert list(lines.sections()) == []


def test_much_is_cut_to_what_fits_a_screen(lines):
    for number in range(100):
        log.info(f"{number} " + "long " * 100)
    ((_, shown),) = lines.sections()
    assert [line.split()[1] for line in shown.splitlines()] == [str(n) for n in range(100 - LAST, 100)]
    assert max(map(len, shown.splitlines())) == WIDTH
