"""The export, against the emulated BigQuery and Cloud Storage."""

import io
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest

from shared import catalog
from shared.daily import export, manifest
from shared.daily.names import SnapshotFolder
from shared.errors import RetryableError, SourceError
from shared.gcp.bigquery import BigQuery
from shared.gcp.storage import Storage
from shared.names import JobName, SnapshotId, TableRef
from shared.services import Services
from tests.kit.uploads import arrive

TABLE = "non_recommendable_items_data"
SOURCE = "ml_reco_local.user_booked_item"
PLANNED = datetime(2026, 3, 1, 2, tzinfo=UTC)
SNAPSHOT = SnapshotId(PLANNED)
QUERY, EXTRACT = (f"recosync-{step}-{TABLE}-{SNAPSHOT}" for step in ("query", "extract"))
#: Three parts of the test cloud, and columns that must not travel.
ROWS = """
    SELECT CONCAT('user-', CAST(n AS STRING)) AS user_id, 'secret' AS email, IF(MOD(n, 7) = 0, NULL, 'item') AS item_id
    FROM UNNEST(GENERATE_ARRAY(1, 2500)) AS n
"""


class Export:
    """The sources, and what exports made of them."""

    def __init__(self, here, services: Services) -> None:
        self.client, self.services = here.bigquery_client, services
        self.folder = SnapshotFolder(services.settings.prefix, TABLE, SNAPSHOT)
        #: The first attempt's.
        self.temporary = f"tmp_local.{TABLE}_{SNAPSHOT}_1"

    def source(self, sql: str = ROWS, kind: str = "TABLE", name: str = SOURCE) -> None:
        self.client.query(f"CREATE OR REPLACE {kind} {name} AS {sql}").result()

    def ask(self, *tables: str, scheduled: datetime | None = PLANNED, **body: object) -> tuple[dict, int]:
        """What a call answers."""
        now = datetime.now(UTC)
        asked = export.parse(self.services, {"tables": list(tables) or [TABLE], **body}, scheduled, now)
        return export.run(self.services, asked)

    def once(self) -> export.Exported:
        """Export the one table."""
        table = self.services.catalog.tables[TABLE]
        return export.export(self.services, table, SNAPSHOT, datetime.now(UTC), time.monotonic() + 60)

    def objects(self, folder: object = "") -> dict[str, int]:
        """The name and generation of every object that stands."""
        prefix = f"{folder or self.folder}/"
        found = self.services.storage.objects(self.services.settings.bucket, prefix)
        return {stored.version.name.removeprefix(prefix): stored.version.generation for stored in found}

    def jobs(self) -> list[str]:
        return sorted(job.job_id for job in self.client.list_jobs() if job.job_id.startswith("recosync-"))

    def manifest(self) -> manifest.Manifest:
        bucket = self.services.settings.bucket
        content = self.services.storage.read(self.services.storage.find(bucket, self.folder.manifest).version)
        return manifest.parse(content, self.folder, [c.name for c in self.services.catalog.tables[TABLE].columns])

    def parts(self) -> list[pq.ParquetFile]:
        """The parts that the manifest names."""
        contents = (
            self.services.storage.read(version)
            for version, _ in self.manifest().versions(self.services.settings.bucket)
        )
        return [pq.ParquetFile(io.BytesIO(content)) for content in contents]

    def temporary_tables(self) -> list[str]:
        return [table.table_id for table in self.client.list_tables("tmp_local")]


@pytest.fixture
def exported(here, services) -> Export:
    return Export(here, services)


def assert_complete(exported: Export, attempt: int) -> None:
    """One snapshot stands, whose manifest names exactly the files that this attempt's extract counted."""
    parts = exported.manifest().parts
    folder = exported.folder.attempt(attempt)
    assert [part.name for part in parts] == [f"{folder}part-{n:012d}.parquet" for n in range(3)]
    stored = exported.objects()
    assert [stored[part.name.removeprefix(f"{exported.folder}/")] for part in parts] == [p.generation for p in parts]
    assert [file.metadata.num_rows for file in exported.parts()] == [part.rows for part in parts] == [1000, 1000, 500]
    assert exported.temporary_tables() == []


def test_a_snapshot_has_the_catalogs_columns_in_snappy_parts(exported):
    exported.source()
    assert exported.ask() == (
        {
            "tables": [
                {
                    "table": TABLE,
                    "source": "{BIGQUERY_ML_RECOMMENDATION_DATASET}.user_booked_item",
                    "snapshot_id": "20260301T020000Z",
                    "status": "exported",
                    "rows": 2500,
                    "parts": 3,
                    "bytes": sum(part.bytes for part in exported.manifest().parts),
                }
            ],
            "failed": [],
        },
        200,
    )
    assert_complete(exported, 1)
    for part in exported.parts():
        assert part.schema_arrow.names == ["user_id", "item_id"]
        assert part.metadata.row_group(0).column(0).compression == "SNAPPY"


def test_the_manifest_is_the_contract(exported):
    exported.source()
    exported.once()
    found = exported.manifest()
    assert (found.table, found.snapshot, found.source_rows) == (TABLE, SNAPSHOT, 2500)
    assert found.columns == (("user_id", "STRING"), ("item_id", "STRING"))
    stored = {s.version: s for s in exported.services.storage.objects(exported.services.settings.bucket, "")}
    for part, (version, _) in zip(found.parts, found.versions(exported.services.settings.bucket), strict=True):
        assert (part.bytes, part.crc32c) == (stored[version].bytes, stored[version].crc32c)


def test_an_exported_snapshot_can_be_imported(exported, database):
    exported.source()
    exported.once()
    found = exported.services.storage.find(exported.services.settings.bucket, exported.folder.manifest)
    assert arrive(exported.services, found.version) == ["published"]
    query = f"SELECT count(*), count(item_id), count(DISTINCT user_id) FROM {TABLE}"
    assert database.execute(query).fetchone() == (2500, 2500 - 357, 2500)


def test_jobs_bear_labels_and_a_limit_and_the_temporary_table_expires(exported, monkeypatch):
    settings = replace(exported.services.settings, maximum_bytes_billed=10**9)
    exported.services = replace(exported.services, settings=settings)
    exported.source()
    kill(monkeypatch, BigQuery, "extract", after=True)
    with pytest.raises(Killed):
        exported.once()
    expires = exported.client.get_table(exported.temporary).expires
    assert expires is not None
    assert expires > datetime.now(UTC)
    jobs = [exported.client.get_job(f"{name}-1") for name in (QUERY, EXTRACT)]
    assert [job.labels for job in jobs] == [{"table": TABLE, "snapshot": "20260301t020000z"}] * 2
    assert jobs[0].maximum_bytes_billed == 10**9


def test_a_null_of_json_stays_null(exported, tmp_path):
    (tmp_path / "typed_mv.sql.jinja").touch()
    file = tmp_path / "catalog.toml"
    file.write_text(
        f'[tables.{TABLE}]\nsource = "user_booked_item"\ndataset = "BIGQUERY_ML_RECOMMENDATION_DATASET"\n'
        f'[tables.{TABLE}.columns]\nj = "json"\n'
        f'[views.typed_mv]\ntemplate = "typed_mv.sql.jinja"\nreads = ["{TABLE}"]\n'
    )
    exported.services = replace(exported.services, catalog=catalog.load(catalog.Place(file, tmp_path)))
    exported.source("""SELECT PARSE_JSON('{"a": 1}') AS j UNION ALL SELECT NULL UNION ALL SELECT JSON 'null'""")
    exported.once()
    (part,) = exported.parts()
    texts = part.read()["j"].to_pylist()
    assert texts.count(None) == 1
    assert sorted(json.dumps(json.loads(text)) for text in texts if text) == ["null", '{"a": 1}']


def test_a_view_can_be_a_source(exported):
    exported.source(name="ml_reco_local.bookings")
    exported.source("SELECT * FROM ml_reco_local.bookings", kind="VIEW")
    exported.once()
    assert_complete(exported, 1)


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        (None, "ml_reco_local.user_booked_item: does not exist"),
        ("SELECT 'a' AS user_id", "column item_id is missing, character varying takes STRING"),
        ("SELECT 1 AS user_id, 'b' AS item_id", "column user_id is INT64, character varying takes STRING"),
        ("SELECT ['a'] AS user_id, b'b' AS item_id", "column user_id is ARRAY<STRING>, .*; column item_id is BYTES, "),
    ],
)
def test_a_source_that_is_not_what_the_catalog_says_is_named(exported, sql, what):
    if sql:
        exported.source(sql)
    with pytest.raises(SourceError, match=what):
        exported.once()
    assert exported.temporary_tables() == []


@pytest.mark.parametrize("kind", ["TABLE", "VIEW"])
def test_an_empty_source_is_named(exported, kind):
    exported.source(f"{ROWS} WHERE n < 0", kind=kind)
    with pytest.raises(SourceError, match="user_booked_item: has no rows"):
        exported.once()
    assert exported.temporary_tables() == []


def test_an_empty_source_is_exported_where_the_catalog_allows_it(exported):
    table = replace(exported.services.catalog.tables[TABLE], allow_empty=True)
    tables = {**exported.services.catalog.tables, TABLE: table}
    exported.services = replace(exported.services, catalog=replace(exported.services.catalog, tables=tables))
    exported.source(f"{ROWS} WHERE n < 0")
    assert exported.once().rows == 0
    assert exported.manifest().source_rows == 0


def test_a_table_that_fails_for_good_leaves_the_others_alone(exported):
    exported.source()
    body, status = exported.ask(TABLE, "iris_france")
    assert status == 200
    assert [table["table"] for table in body["tables"]] == [TABLE]
    (failed,) = body["failed"]
    assert (failed["table"], failed["retryable"]) == ("iris_france", False)
    assert "seed_local.iris_france: does not exist" in failed["error"]


def test_a_table_that_may_succeed_later_asks_for_a_repetition(exported, monkeypatch):
    exported.source()

    def unavailable(*args: object) -> None:
        raise RetryableError("BigQuery did not answer")

    monkeypatch.setattr(BigQuery, "extract", unavailable)
    body, status = exported.ask(TABLE, "iris_france")
    assert status == 500
    assert {failed["table"]: failed["retryable"] for failed in body["failed"]} == {TABLE: True, "iris_france": False}


def test_a_table_whose_export_crashes_leaves_the_others_alone_and_asks_for_a_repetition(exported, monkeypatch):
    exported.source()
    original = BigQuery.table

    def crash(self: BigQuery, ref: TableRef) -> object:
        return original(self, ref) if ref.table == "user_booked_item" or ref.dataset == "tmp_local" else 1 / 0

    monkeypatch.setattr(BigQuery, "table", crash)
    body, status = exported.ask(TABLE, "iris_france")
    assert status == 500
    assert [table["table"] for table in body["tables"]] == [TABLE]
    assert body["failed"] == [
        {"table": "iris_france", "error": "iris_france: crashed; the log says where", "retryable": True}
    ]


def test_an_export_into_a_missing_data_set_is_repeated_until_somebody_makes_it(exported):
    exported.source()
    exported.client.delete_dataset("tmp_local")
    body, status = exported.ask()
    assert (status, body["failed"][0]["retryable"]) == (500, True)
    assert "Check the data sets, the bucket, and their roles" in body["failed"][0]["error"]
    exported.client.create_dataset("tmp_local")
    exported.once()
    assert_complete(exported, 2)


def snapshot_of(answer: tuple[dict, int]) -> str:
    return answer[0]["tables"][0]["snapshot_id"]


def test_a_day_without_a_snapshot_gets_one_of_its_midnight(exported):
    exported.source()
    assert snapshot_of(exported.ask(date="20260115")) == "20260115T000000Z"


def test_a_day_means_its_latest_snapshot(exported):
    exported.source()
    for hour in (2, 5):
        exported.ask(scheduled=datetime(2026, 1, 15, hour, tzinfo=UTC))
    jobs = exported.jobs()
    answer = exported.ask(date="20260115")
    assert snapshot_of(answer) == "20260115T050000Z"
    assert answer[0]["tables"][0]["status"] == "exported already"
    assert exported.jobs() == jobs


def test_force_makes_a_new_snapshot(exported):
    exported.source()
    before = SnapshotId(datetime.now(UTC))
    assert SnapshotId.parse(snapshot_of(exported.ask(date="20260115", force=True))) >= before


def test_a_repeated_call_does_nothing_twice(exported):
    exported.source()
    exported.ask()
    jobs, objects = exported.jobs(), exported.objects()
    body, status = exported.ask()
    assert (status, body["tables"][0]["status"]) == (200, "exported already")
    assert (exported.jobs(), exported.objects()) == (jobs, objects)
    assert jobs == [f"{EXTRACT}-1", f"{QUERY}-1"]


def test_concurrent_calls_make_one_snapshot(exported, here):
    exported.source()
    calls = [Export(here, Services.from_environment(here.env)) for _ in range(3)]
    with ThreadPoolExecutor(len(calls)) as executor:
        answers = list(executor.map(Export.once, calls))
    assert sorted(answer.new for answer in answers) == [False, False, True]
    assert len({(answer.rows, answer.parts, answer.bytes) for answer in answers}) == 1
    assert exported.jobs() == [f"{EXTRACT}-1", f"{QUERY}-1"]
    assert_complete(exported, 1)


def test_a_call_counts_what_another_call_has_finished_and_dropped(exported, here, monkeypatch):
    exported.source()
    first, second = (Export(here, Services.from_environment(here.env)) for _ in range(2))
    count = BigQuery.rows

    def overtaken(*arguments):
        monkeypatch.setattr(BigQuery, "rows", count)
        assert second.once().new
        return count(*arguments)

    monkeypatch.setattr(BigQuery, "rows", overtaken)
    assert not first.once().new
    assert exported.jobs() == [f"{EXTRACT}-1", f"{QUERY}-1"]
    assert_complete(exported, 1)


class Killed(BaseException):
    """The end of a process, as far as one process can tell."""


def kill(monkeypatch: pytest.MonkeyPatch, adapter: type, method: str, *, after: bool) -> None:
    """End the next call before or after it lets the adapter do this."""
    original: Callable[..., object] = getattr(adapter, method)

    def killed(*args: object, **kwargs: object) -> None:
        monkeypatch.setattr(adapter, method, original)
        if after:
            original(*args, **kwargs)
        raise Killed

    monkeypatch.setattr(adapter, method, killed)


@pytest.mark.parametrize(
    ("adapter", "method"),
    [
        (BigQuery, "query"),
        (BigQuery, "extract"),
        (Storage, "objects"),
        (Storage, "create"),
        (BigQuery, "drop"),
    ],
)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_call_that_was_killed_is_taken_up_by_the_next(exported, monkeypatch, adapter, method, after):
    exported.source()
    kill(monkeypatch, adapter, method, after=after)
    with pytest.raises(Killed):
        exported.once()
    standing = exported.objects()
    exported.once()
    assert standing.items() <= exported.objects().items()
    assert exported.jobs() == [f"{EXTRACT}-1", f"{QUERY}-1"]
    assert_complete(exported, 1)


def test_a_failed_attempt_is_burnt_and_the_next_call_makes_another(exported):
    exported.source("SELECT CAST(ERROR('boom') AS STRING) AS user_id, 'a' AS item_id", kind="VIEW")
    with pytest.raises(SourceError, match=f"job {QUERY}-1: ") as e:
        exported.once()
    assert "boom" not in str(e.value)  # it might be a row's
    assert exported.jobs() == [f"{QUERY}-1"]
    exported.client.query(f"DROP VIEW {SOURCE}").result()
    exported.source()
    exported.once()
    assert exported.jobs() == [f"{EXTRACT}-2", f"{QUERY}-1", f"{QUERY}-2"]
    assert_complete(exported, 2)


def lose_the_result(exported, monkeypatch):
    """Leave an attempt whose query is done and whose table is gone."""
    exported.source()
    kill(monkeypatch, BigQuery, "extract", after=False)
    with pytest.raises(Killed):
        exported.once()
    exported.client.delete_table(exported.temporary)


def test_a_query_whose_result_is_gone_is_burnt(exported, monkeypatch):
    lose_the_result(exported, monkeypatch)
    exported.once()
    assert exported.jobs() == [f"{EXTRACT}-2", f"{QUERY}-1", f"{QUERY}-2"]
    assert_complete(exported, 2)


def test_a_call_that_is_late_on_a_burnt_attempt_drops_nothing_of_the_next(exported, monkeypatch):
    lose_the_result(exported, monkeypatch)
    drop = BigQuery.drop

    def late(*args: object) -> None:
        """Another call burns the attempt and makes the next, before this one gets to drop its table."""
        monkeypatch.setattr(BigQuery, "drop", drop)
        kill(monkeypatch, BigQuery, "extract", after=False)
        with pytest.raises(Killed):
            exported.once()
        drop(*args)
        raise Killed

    monkeypatch.setattr(BigQuery, "drop", late)
    with pytest.raises(Killed):
        exported.once()
    assert exported.temporary_tables() == [f"{TABLE}_{SNAPSHOT}_2"]


def test_an_attempt_whose_files_are_gone_is_burnt_and_its_others_are_not_named(exported, monkeypatch):
    exported.source()
    kill(monkeypatch, Storage, "objects", after=False)
    with pytest.raises(Killed):
        exported.once()
    bucket = exported.services.storage._client.bucket(exported.services.settings.bucket)
    bucket.blob(f"{exported.folder.attempt(1)}part-000000000001.parquet").delete()
    exported.once()
    assert_complete(exported, 2)
    assert "1/part-000000000000.parquet" in exported.objects()


def test_a_file_that_the_extract_did_not_count_burns_the_attempt(exported, monkeypatch):
    exported.source()
    bucket = exported.services.storage._client.bucket(exported.services.settings.bucket)
    bucket.blob(f"{exported.folder.attempt(1)}part-000000000099.parquet").upload_from_string("stray")
    with pytest.raises(RetryableError, match="wrote 3 files, and 4 can be found"):
        exported.once()
    exported.once()
    assert_complete(exported, 2)


def test_a_call_makes_one_new_attempt_at_most(exported):
    exported.source("SELECT CAST(ERROR('boom') AS STRING) AS user_id, 'a' AS item_id", kind="VIEW")
    for attempt in (1, 2, 3):
        with pytest.raises(SourceError):
            exported.once()
        assert exported.jobs() == [str(JobName("query", TABLE, SNAPSHOT, n)) for n in range(1, attempt + 1)]


def test_rows_that_a_policy_of_the_source_hides_are_missed_though_every_count_of_the_export_agrees(here, monkeypatch):
    """No emulator has row access policies: its metadata tells of a row more than it shows."""
    exported = Export(here, Services.from_environment())
    exported.source()
    table = BigQuery.table

    def hiding(bigquery, ref):
        info = table(bigquery, ref)
        source = str(ref).endswith(SOURCE)
        return replace(info, rows=info.rows + 1, modified=datetime(2026, 1, 1, tzinfo=UTC)) if source else info

    monkeypatch.setattr(BigQuery, "table", hiding)
    for _ in range(2):  # the attempt is burnt: nobody goes on with what it read
        answer, status = exported.ask()
        assert status == 500
        assert "shows 2,500 of its 2,501 rows: row access policies hide" in answer["failed"][0]["error"]
    assert exported.objects() == {}
    monkeypatch.setattr(BigQuery, "table", table)
    assert exported.ask()[1] == 200
    assert exported.manifest().rows == 2500
