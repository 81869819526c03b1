r"""JSON that holds \u0000: it arrives, and a view that can't read it tells where it stands."""

import pyarrow as pa
import pytest

from shared.daily.refresh import refresh
from shared.errors import DataError
from tests.kit.typed_tables import TABLE, numbered, place
from tests.kit.uploads import arrive

NUL = '{"a": "secret \\\\\\u0000"}'
ESCAPED = '{"a": "\\\\u0000"}'
VIEW = "CREATE MATERIALIZED VIEW {{{{ view | identifier }}}} AS SELECT n, {} AS a FROM typed;"
INDEX = "CREATE INDEX \"{{ ts_nodash }}_a\" ON {{ view | identifier }} ((a ->> 'a'));"
UNREADABLE = {
    "json in the view": ("json", VIEW.format("doc ->> 'a'")),
    "json as jsonb": ("json", VIEW.format("doc::jsonb")),
    "text as json": ("text", VIEW.format("doc::jsonb ->> 'a'")),
    "json in its index": ("json", VIEW.format("doc") + INDEX),
}


@pytest.fixture(scope="module")
def shared_place(cloud, tmp_path_factory):
    with place(cloud, "unreadable", tmp_path_factory.mktemp("catalog")) as shared:
        yield shared


@pytest.fixture
def publish(shared_place):
    """Publish documents, three to a part, under a view; the upload, and the parts' objects."""

    def publish(type_, template, *documents):
        shared_place.empty()
        upload = shared_place.upload({"doc": type_})
        (shared_place.folder / "typed_mv.sql.jinja").write_text(template)
        numbers = range(0, len(documents), 3)
        parts = [upload.part(numbered(doc=pa.array(documents[n : n + 3], pa.string()))) for n in numbers]
        assert arrive(upload.services, *parts, upload.manifest())[-1] == "published"
        return upload, parts

    return publish


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_view_that_cannot_read_a_document_tells_its_column_and_row(publish, shared_place, case):
    upload, parts = publish(*UNREADABLE[case], *['{"a": 1}', None, ESCAPED] * 3, ESCAPED, NUL)
    with pytest.raises(DataError) as e:
        refresh(upload.services, TABLE, 1)
    assert e.value.where == f"typed.doc, row 2 of {parts[3]}, read by typed_mv"
    assert "\\u0000 in JSON" in str(e.value)
    assert "secret" not in str(e.value)
    recorded = shared_place.database.execute("SELECT kind, message FROM recosync.failure").fetchall()
    assert recorded == [("DataError", str(e.value))]


def test_a_view_that_hands_documents_on_as_they_are_has_them_all(publish, shared_place):
    upload, _ = publish("json", VIEW.format("doc"), ESCAPED, NUL)
    assert refresh(upload.services, TABLE, 1) == "refreshed"
    found = shared_place.database.execute("SELECT a::text FROM typed_mv ORDER BY n").fetchall()
    assert found == [(ESCAPED,), (NUL,)]


def test_a_column_of_jsonb_refuses_it_as_it_is_staged(shared_place):
    shared_place.empty()
    upload = shared_place.upload({"doc": "jsonb"})
    part = upload.part(numbered(doc=['{"a": 1}', NUL]), row_group_size=1)
    with pytest.raises(DataError) as e:
        arrive(upload.services, part)
    assert e.value.where == f"typed.doc, row group 1 of {part}"
    assert "secret" not in str(e.value)
