"""A real browser: Debian's Chromium, driven by Playwright. Playwright's own browsers are never downloaded.

with browser() as chromium, chromium.new_context(locale="en-US") as context: …
accessible(page)                    # fails with what axe found
picture(page, "repository")         # docs/pictures/…, only with ONGGI_PICTURES=1
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
DESKTOP, PHONE = ViewportSize(width=1280, height=800), ViewportSize(width=390, height=844)
_axe = Axe()
_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@contextmanager
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        # As root Chromium has no sandbox of its own; all it sees here is what the test made.
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield chromium
        finally:
            chromium.close()


def accessible(page: Page) -> None:
    """Nothing that axe calls a violation, in light and dark; and nothing to scroll sideways for."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found = _axe.run(page, options=_RULES).response["violations"]
        assert not found, f"{page.url} ({scheme}): {[_told(each) for each in found]}"
    page.emulate_media(color_scheme="light")
    width = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert width[0] <= width[1], f"{page.url} is {width[0]} wide on a screen of {width[1]}"


def _told(violation: dict[str, Any]) -> str:
    nodes = [f"{node['html'][:150]}: {node.get('failureSummary', '')[:200]}" for node in violation["nodes"][:3]]
    return f"{violation['id']} ({violation['help']}): {nodes}"


def picture(page: Page, name: str) -> None:
    """Keep what is seen, where pictures are asked for."""
    if os.environ.get("ONGGI_PICTURES") == "1":
        PICTURES.mkdir(exist_ok=True)
        page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")
