from shared.names import SnapshotId
from tests.uploads import Upload, arrive, rows


def test_a_snapshot_is_published(services, database):
    upload = Upload(services, "non_recommendable_items_data", SnapshotId.parse("20260101T000000Z"))
    part = upload.part(rows(upload.table, services, {"user_id": ["a", "b"], "item_id": ["x", None]}))
    assert arrive(services, part, upload.manifest(source_rows=2)) == ["staged", "published"]
    assert database.execute("SELECT * FROM non_recommendable_items_data").fetchall() == [("a", "x"), ("b", None)]
