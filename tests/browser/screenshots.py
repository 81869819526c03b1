"""Pictures of the status page at a fixed instant: a plausible month in docs/images, and each state to look at."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

from local import CACHE, ROOT
from local.cloud import Cloud
from local.prerequisites import MissingError
from shared.operate.status import gather
from shared.services import HourlyServices
from tests.browser import month, states
from tests.browser.site import browser, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser

IMAGES, WHOLE = ROOT / "docs" / "images", CACHE / "screenshots"

SIZES = {"desktop": (1120, 882), "phone": (390, 844)}

#: The widths at which each state is looked at.
WIDTHS = (360, 768, 1280)

#: What the docs show of the month, and of its last morning once that has gone wrong, and what it is scrolled to.
SHOWN = {("desktop", "light"): "", ("phone", "dark"): "#hours"}
TROUBLE = {("desktop", "light"): "", ("phone", "light"): ""}


def main() -> int:
    for folder in (IMAGES, WHOLE):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with browser() as chromium, Cloud() as cloud, cloud.deploy("screenshots", functions={}) as here:
            month.fill(here)
            os.environ |= month.environment(here)
            services = HourlyServices.from_environment()
            with served(lambda: gather(services, month.NOW)) as url:
                _take(chromium, url, "status", SHOWN)
                month.worsen(here)
                _take(chromium, url, "status-trouble", TROUBLE)
            _take_states(chromium)
    except MissingError as missing:
        sys.stderr.write(f"{missing}\n")
        return 1
    return 0


def _take(chromium: Browser, url: str, title: str, shown: Mapping[tuple[str, str], str]) -> None:
    """The page in each size and scheme, whole; for the docs, what a screen has of it."""
    for (device, (width, height)), scheme in product(SIZES.items(), ("light", "dark")):
        name = f"{title}-{device}-{scheme}.png"
        tab = chromium.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        tab.goto(f"{url}?day=20261121{shown.get((device, scheme), '')}")
        tab.screenshot(path=WHOLE / name, full_page=True)
        if (device, scheme) in shown:
            tab.screenshot(path=IMAGES / name)
        tab.close()


def _take_states(chromium: Browser) -> None:
    """Each state in each width, light and dark, whole."""
    for state, scheme in product(states.STATES, ("light", "dark")):
        with served(partial(states.of, state)) as url:
            tab = chromium.new_page(color_scheme=scheme)
            tab.goto(url)
            for width in WIDTHS:
                tab.set_viewport_size({"width": width, "height": 900})
                tab.screenshot(path=WHOLE / f"{state}-{width}-{scheme}.png", full_page=True)
            tab.close()


if __name__ == "__main__":
    sys.exit(main())
