"""The documents lead somewhere: their links, the headings that these name, and the files that they speak of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.catalog import ROOT
from tests.kit.commands import old_commands

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *ROOT.glob("t*/**/README.md")])

#: Where code, SQL and Terraform may send a reader to a page.
CODE = sorted(
    path
    for folder in ("functions", "local", "shared", "sql", "terraform", "tests")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".sql", ".jinja", ".tf", ".hcl", ".toml"} and ".terraform" not in path.parts
)

#: Files and folders that pages name as code, but for what Terraform makes.
NAMED = re.compile(r"`((?:functions|local|shared|sql|terraform|tests)/(?!\.terraform)[\w./-]*\w/?)`")


def anchors(page: Path) -> set[str]:
    """The anchors of the headings, as GitHub makes them of the text."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead(start: Path, link: str) -> bool:
    """Whether a relative link leads nowhere from a file or folder."""
    name, _, anchor = link.partition("#")
    target = start.parent / name if name else start
    return not target.exists() or bool(anchor and anchor not in anchors(target))


def test_anchors_are_those_that_a_browser_is_sent_to(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# How long a value may be\n```bash\n# no heading\n```\n## `recosync`: one, two\n")
    assert anchors(page) == {"how-long-a-value-may-be", "recosync-one-two"}
    assert not dead(page, "page.md#how-long-a-value-may-be")
    assert dead(page, "#no-heading")
    assert dead(page, "other.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page):
    text = page.read_text()
    links = [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r'<img src="([^"]+)"', text)]
    assert [link for link in links if not re.match(r"https?://", link) and dead(page, link)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_is_there(page):
    assert [name for name in NAMED.findall(page.read_text()) if not (ROOT / name).exists()] == []


def test_every_page_that_code_names_is_there():
    found = [
        (path.relative_to(ROOT), page)
        for path in CODE
        for page in re.findall(r"(?<![\w/])docs/[\w-]+\.(?:md|json)(?:#[\w-]+)?", path.read_text())
    ]
    assert [(path, page) for path, page in found if dead(ROOT / "README.md", page)] == []


#: What the job before promised besides its command lines: variables, the secret, words of templates, jobs, names.
PROMISED = (
    *("ENV_SHORT_NAME", "GCP_PROJECT_ID", "BIGQUERY_ML_RECOMMENDATION_DATASET", "BIGQUERY_SEED_DATASET"),
    *("RECOMMENDATION_SQL_INSTANCE", "{RECOMMENDATION_SQL_INSTANCE}_database_url", "tmp_{ENV_SHORT_NAME}", "ts_nodash"),
    *("sync_bq_to_cloudsql_recommendation_tables", "export_cloudsql_tables_to_bigquery_hourly", "import_hour"),
    *("enriched_user", "recommendable_offers_raw", "non_recommendable_items_data", "iris_france", "past_offer_context"),
    *("enriched_user_mv", "item_ids_mv", "non_recommendable_items_mv", "iris_france_mv", "recommendable_offers_raw_mv"),
)


def test_what_the_job_before_promised_is_one_link_from_the_readme():
    front = ROOT / "README.md"
    linked = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", front.read_text())}
    text = "\n".join(page.read_text() for page in (front, *(ROOT / link for link in linked if link.endswith(".md"))))
    commands = old_commands()
    words = {command[0] for command in commands} | {
        word for command in commands for word in command if word.startswith("--")
    }
    assert {word for word in words if not re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text)} == set()
    assert [name for name in PROMISED if not re.search(rf"\b{re.escape(name.lstrip('{'))}(?!\w)", text)] == []


def test_the_readme_is_a_front_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_a_newcomer_reads_the_design_in_ten_minutes():
    assert len((ROOT / "docs" / "design.md").read_text().splitlines()) <= 150
