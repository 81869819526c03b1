"""The status page on a loopback port, with a clock of one's own, and Debian's Chromium to look at it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import flask
from werkzeug.serving import make_server

from local.prerequisites import chromium
from shared.operate.status import Report, page

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@contextmanager
def served(report: Callable[[], Report]) -> Iterator[str]:
    """The address of a page that shows what `report` gives."""
    app = flask.Flask(__name__)

    @app.get("/")
    def status() -> flask.Response:
        return flask.Response(*page.answer(report(), page.parse(flask.request.args)))

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def browser() -> Iterator[Browser]:
    """Raises MissingError when there is no Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Root, in a container, has no namespaces to make a sandbox of; the page is our own.
        yield playwright.chromium.launch(executable_path=str(chromium()), args=["--no-sandbox"])
