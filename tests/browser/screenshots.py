"""Pictures of the status page with a plausible month, at a fixed instant: docs/images, and whole pages to look at."""

from __future__ import annotations

import os
import sys
from itertools import product

from local import CACHE, ROOT
from local.cloud import Cloud
from local.prerequisites import MissingError
from shared.operate.status import gather
from shared.services import HourlyServices
from tests.browser import month
from tests.browser.site import browser, served

IMAGES, WHOLE = ROOT / "docs" / "images", CACHE / "screenshots"

SIZES = {"desktop": (1120, 882), "phone": (390, 844)}

#: What the README shows, and what it is scrolled to.
SHOWN = {("desktop", "light"): "", ("phone", "dark"): "#hours"}


def main() -> int:
    try:
        with Cloud() as cloud, cloud.deploy("screenshots", functions={}) as here:
            month.fill(here)
            os.environ |= month.environment(here)
            services = HourlyServices.from_environment()
            with served(lambda: gather(services, month.NOW)) as url:
                _take(url)
    except MissingError as missing:
        sys.stderr.write(f"{missing}\n")
        return 1
    return 0


def _take(url: str) -> None:
    for folder in (IMAGES, WHOLE):
        folder.mkdir(parents=True, exist_ok=True)
    with browser() as chromium:
        for (device, (width, height)), scheme in product(SIZES.items(), ("light", "dark")):
            name = f"status-{device}-{scheme}.png"
            tab = chromium.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            tab.goto(f"{url}?day=20261121{SHOWN.get((device, scheme), '')}")
            tab.screenshot(path=WHOLE / name, full_page=True)
            if (device, scheme) in SHOWN:
                tab.screenshot(path=IMAGES / name)
            tab.close()


if __name__ == "__main__":
    sys.exit(main())
