"""Fixtures: one Chromium per run. Without Chromium the tests are skipped, and the skip says what to install."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from shared.operate.status import Report


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    from local.prerequisites import MissingError
    from tests.browser.site import browser

    with ExitStack() as stack:
        try:
            yield stack.enter_context(browser())
        except MissingError as missing:
            pytest.skip(str(missing))


@pytest.fixture
def show(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a report in a tab of its own; a message in the console, or a request for anything else, fails the test."""
    from tests.browser.site import served

    complaints: list[str] = []
    with ExitStack() as stack:

        def show(report: Report, width: int = 1180, scheme: str = "light", query: str = "") -> Page:
            url = stack.enter_context(served(lambda: report))
            tab = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            stack.callback(tab.close)
            tab.on("console", lambda message: complaints.append(message.text))
            tab.on("pageerror", lambda error: complaints.append(str(error)))
            tab.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
            tab.on("request", lambda request: None if request.url.startswith(url) else complaints.append(request.url))
            tab.goto(url + query)
            return tab

        yield show
        # The icon is in the page, and a page that lacks a part is a 503.
        expected = (
            "data:,",
            "Failed to load resource: the server responded with a status of 503 (SERVICE UNAVAILABLE)",
        )
        assert [text for text in complaints if text not in expected] == []
