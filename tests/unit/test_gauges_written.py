"""What is sent to Cloud Monitoring, through real HTTP."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from shared.errors import ConfigurationError, RetryableError
from shared.gcp.monitoring import Monitoring
from shared.operate.status.gauges import Gauge

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


class _Monitoring(HTTPServer):
    def __init__(self):
        self.taken, self.status, self.answer = [], 200, b"{}"
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.taken.append((self.path, body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.answer)))
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def service():
    with _Monitoring() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def write(server, count=1):
    gauges = [Gauge("table_held", 1, {"table": f"t{n}"}) for n in range(count)]
    Monitoring("project", "dev", f"http://127.0.0.1:{server.server_port}").write(gauges, NOW)


def test_a_gauge_is_one_point_of_its_series(service):
    write(service)
    ((path, body),) = service.taken
    assert path == "/v3/projects/project/timeSeries"
    (series,) = body["timeSeries"]
    assert series["metric"] == {
        "type": "custom.googleapis.com/recosync/table_held",
        "labels": {"environment": "dev", "table": "t0"},
    }
    assert series["points"] == [{"interval": {"endTime": "2026-03-02T12:00:00Z"}, "value": {"doubleValue": 1.0}}]


def test_a_request_holds_no_more_series_than_the_service_takes(service):
    write(service, 401)
    assert [len(body["timeSeries"]) for _, body in service.taken] == [200, 200, 1]


def test_a_point_that_another_call_has_just_written_is_no_failure(service):
    service.status, service.answer = 400, b'{"error": {"message": "Points must be written in order."}}'
    write(service)


@pytest.mark.parametrize(("status", "error"), [(503, RetryableError), (429, RetryableError), (403, ConfigurationError)])
def test_a_refusal_is_told(service, status, error):
    service.status = status
    with pytest.raises(error):
        write(service)
