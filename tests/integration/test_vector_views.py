"""Embeddings: readers find neighbours by an index, of a view's template or declared for the table."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from shared.catalog import Index
from shared.daily.refresh import rebuild
from shared.errors import TargetError
from shared.names import SnapshotId
from shared.operate import decisions
from shared.services import Services
from tests.kit.typed_tables import TABLE, Place, numbered, place, skip_without_pgvector
from tests.kit.uploads import Upload, arrive

#: By access method: the columns and options of an index, and the operator that it serves.
METHODS = {
    "hnsw": ("USING hnsw (embedding {}_l2_ops) WITH (m = 8, ef_construction = 16)", "<->"),
    "ivfflat": ("USING ivfflat (embedding {}_cosine_ops) WITH (lists = 1)", "<=>"),
}
NUMBERS = [[float(n % 10), float(n // 10), 1.0] for n in range(100)]
ROWS = numbered(embedding=pa.array([*NUMBERS, None], pa.list_(pa.float64())))


@pytest.fixture(scope="module")
def shared_place(cloud, tmp_path_factory):
    with place(cloud, "vectors", tmp_path_factory.mktemp("catalog")) as shared:
        yield shared


@pytest.fixture
def here(shared_place):
    skip_without_pgvector(shared_place)
    shared_place.empty()
    return shared_place


def declaring(services: Services, definition: str) -> Services:
    table = replace(services.catalog.tables[TABLE], indexes=(Index(definition),))
    return replace(services, catalog=replace(services.catalog, tables={TABLE: table}))


def nearest(here: Place, relation: str, operator: str) -> tuple[int, str]:
    """The row that is nearest to [7, 3, 1], where the server is not let read all rows, and how it finds it."""
    query = f"SELECT n FROM {relation} ORDER BY embedding {operator} '[7,3,1]' LIMIT 1"
    here.database.execute("SET enable_seqscan = off")
    plan = here.database.execute(f"EXPLAIN {query}").fetchall()
    found = here.database.execute(query).fetchone()
    here.database.execute("RESET enable_seqscan")
    return found[0], "\n".join(line for (line,) in plan)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("type_", ["vector", "halfvec"])
def test_a_view_finds_neighbours_by_an_index_of_its_template(here, type_, method):
    index, operator = METHODS[method]
    template = (
        "CREATE MATERIALIZED VIEW {{ view | identifier }} AS SELECT n, embedding FROM typed;\n"
        f'CREATE INDEX "{{{{ ts_nodash }}}}_nearest" ON {{{{ view | identifier }}}} {index.format(type_)};\n'
    )
    columns = {"embedding": f"{type_}(3)"}
    here.publish(columns, ROWS)
    (here.folder / "typed_mv.sql.jinja").write_text(template)
    services = here.upload(columns).services
    for _ in range(2):
        rebuild(services, services.catalog.views["typed_mv"])
        found, plan = nearest(here, "typed_mv", operator)
        assert found == 37
        assert "Index Scan using" in plan


@pytest.mark.parametrize("method", METHODS)
def test_a_table_finds_neighbours_by_a_declared_index_after_each_publish_and_rollback(here, method):
    index, operator = METHODS[method]
    upload = here.upload({"embedding": "vector(3)"})
    services = declaring(upload.services, index.format("vector"))
    second = Upload(services, TABLE, SnapshotId.parse("20260102T000000Z"))
    for each in (replace(upload, services=services), second):
        assert arrive(services, each.part(ROWS), each.manifest(source_rows=ROWS.num_rows)) == ["staged", "published"]
        found, plan = nearest(here, TABLE, operator)
        assert found == 37
        assert "Index Scan using" in plan
    decisions.rollback(services, TABLE, upload.snapshot, "an operator")
    assert "Index Scan using" in nearest(here, TABLE, operator)[1]


def test_an_index_of_more_dimensions_than_pgvector_takes_is_refused_by_its_name(here):
    upload = here.upload({"embedding": "vector(2001)"})
    services = declaring(upload.services, "USING hnsw (embedding vector_l2_ops)")
    upload = replace(upload, services=services)
    rows = numbered(embedding=pa.array([[0.5] * 2001], pa.list_(pa.float64())))
    with pytest.raises(
        TargetError, match=r"its index USING hnsw .* can't be made: column cannot have more than 2000 dim"
    ):
        arrive(services, upload.part(rows), upload.manifest(source_rows=1))
