"""View templates."""

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import catalog
from shared.catalog import MAX_VIEW_NAME, View
from shared.daily.templates import Rendered, digest, is_another, render, timestamp
from shared.errors import TargetError
from shared.names import MAX_IDENTIFIER_BYTES

TS = "20260101T000000000000"
CREATE = "CREATE MATERIALIZED VIEW {{ view | identifier }} AS SELECT 1 AS a;"


@pytest.fixture
def rendered(tmp_path: Path):
    def rendered(template: str, name: str = "users_mv") -> Rendered:
        file = tmp_path / "users_mv.sql.jinja"
        file.write_text(template)
        return render(View(name, file, ("users",)), TS)

    return rendered


@pytest.mark.parametrize("view", catalog.load().views.values(), ids=lambda view: view.name)
def test_a_shipped_template_renders(view):
    result = render(view, TS)
    assert f'"{result.build}"' in result.create
    assert all(f'"{TS}_' in index for index in result.indexes)


def test_a_build_is_made_without_data_under_a_name_of_its_own(rendered):
    result = rendered(CREATE)
    create = f'CREATE MATERIALIZED VIEW "{TS}_users_mv" AS SELECT 1 AS a\nWITH NO DATA'
    assert result == Rendered(f"{TS}_users_mv", result.template, create, ())


def test_a_template_is_told_by_all_of_its_text(tmp_path):
    view = View("users_mv", tmp_path / "users_mv.sql.jinja", ("users",))
    texts = [CREATE, f"{CREATE}CREATE UNIQUE INDEX ON v (a);", CREATE.replace("SELECT 1", "SELECT 2"), "{% wrong"]
    digests = []
    for text in texts:
        view.template.write_text(text)
        digests.append(digest(view))
    assert len(set(digests)) == len(texts)
    view.template.write_text(CREATE)
    assert render(view, TS).template == digest(view) == digests[0]
    assert [is_another(view, built) for built in ([], [None], [digests[0]], [digests[0], digests[1]])] == [
        False,
        False,
        False,
        True,
    ]


def test_the_slowest_kind_of_index_comes_first(rendered):
    kinds = ["btree (a)", "GIST (b)", "btree (c)", "gin (d)", "spgist (e)"]
    indexes = "".join(f'CREATE INDEX "{{{{ ts_nodash }}}}_{i}" ON v USING {kind};' for i, kind in enumerate(kinds))
    result = rendered(CREATE + indexes)
    assert [re.search(r"USING (.*)", index)[1] for index in result.indexes] == [kinds[i] for i in (1, 3, 4, 0, 2)]


def test_what_counts_is_no_index(rendered):
    result = rendered(f"{CREATE} -- what is left out\n SELECT count(*) AS lost FROM v; CREATE INDEX i ON v (a);")
    assert [*result.indexes] == ["CREATE INDEX i ON v (a)"]
    assert "SELECT count(*) AS lost FROM v" in result.counts[0]


def test_comments_and_semicolons_in_strings_are_left_to_the_dba(rendered):
    sql = f"-- one; two\n/* three;\n four */\n{CREATE}\n-- five\nCREATE UNIQUE INDEX i ON v (a);\n-- six;"
    result = rendered(sql.replace("1 AS a", "';' AS a -- seven;\n"))
    assert "SELECT ';' AS a" in result.create
    assert len(result.indexes) == 1
    assert "CREATE UNIQUE INDEX i ON v (a)" in result.indexes[0]


@pytest.mark.parametrize(
    ("template", "what"),
    [
        ("", "does not begin with CREATE MATERIALIZED VIEW"),
        ("-- nothing", "does not begin with CREATE MATERIALIZED VIEW"),
        ("CREATE VIEW {{ view | identifier }} AS SELECT 1", "does not begin with CREATE MATERIALIZED VIEW"),
        ("DROP TABLE users; " + CREATE, "does not begin with CREATE MATERIALIZED VIEW"),
        (CREATE + "DROP TABLE users", "a statement after the view that is neither CREATE INDEX nor SELECT"),
        (CREATE + "CREATE INDEX i ON v (a); GRANT SELECT ON v TO public", "neither CREATE INDEX"),
        (CREATE + CREATE, "neither CREATE INDEX"),
        (CREATE.replace("view", "veiw"), "can't be rendered: 'veiw' is undefined"),
        (CREATE.replace("SELECT 1", "SELECT {{ secret.key }}"), "can't be rendered: 'secret' is undefined"),
        (CREATE + "{% if x", "can't be rendered"),
        (CREATE.replace("view", "'a b'"), "'a b' is no name"),
        (CREATE.replace("view", "'a\"; DROP TABLE users; --'"), "is no name"),
        (CREATE.replace("view", "''"), "'' is no name"),
        (CREATE.replace("view", "'é'"), "'é' is no name"),
        (CREATE.replace("view", "(view + 'x' * 63)"), "is no name of letters, digits and _, 63 bytes at most"),
    ],
)
def test_a_template_that_is_no_view_and_its_indexes_is_refused(rendered, template, what):
    with pytest.raises(TargetError) as e:
        rendered(template)
    assert e.value.where == "template users_mv.sql.jinja"
    assert what in e.value.what


def test_the_longest_view_name_leaves_room_for_its_builds(rendered):
    result = rendered(CREATE, name="v" * MAX_VIEW_NAME)
    assert len(f"{result.build}_old") == MAX_IDENTIFIER_BYTES
    assert result.build.startswith(TS)


@given(st.datetimes(min_value=datetime(1000, 1, 1)), st.datetimes(min_value=datetime(1000, 1, 1)))
def test_two_instants_never_share_a_build_name(one, other):
    names = {timestamp(at.replace(tzinfo=UTC)) for at in (one, other)}
    assert len(names) == len({one, other})


def test_a_build_is_named_by_its_instant_in_utc():
    paris = timezone(timedelta(hours=2))
    assert timestamp(datetime(2026, 7, 1, 1, 2, 3, 45, tzinfo=paris)) == "20260630T230203000045"
