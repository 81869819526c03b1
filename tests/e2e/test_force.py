"""A snapshot of now. No event publishes an earlier one after it, so it has a project of its own."""

from datetime import UTC, datetime


def test_force_makes_a_new_snapshot_of_now(emulated, system):
    system.fill(1)
    system.schedule(datetime(2026, 1, 10, 4, 30, tzinfo=UTC), "iris_france")
    system.fill(2)
    before = datetime.now(UTC)
    status, answer = system.call({"tables": ["iris_france"], "force": True, "date": "20260110"})
    assert status == 200
    assert any(f'"snapshot_id": "{now:%Y%m%d}T' in answer for now in (before, datetime.now(UTC)))
    emulated.eventarc.wait_idle()
    assert system.agrees("iris_france")
