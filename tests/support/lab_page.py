"""What a reader does with a notebook in JupyterLab, through Playwright."""

import os
import re
from pathlib import Path
from typing import Any

HARMLESS = re.compile(r"favicon|net::ERR_(ABORTED|INTERNET|NAME|BLOCKED)|^Disposed$")
"""Complaints without meaning; "Disposed" is what JupyterLab's own promise of a session says that was closed while something waited for it."""


def run_all(page: Any, ready: str) -> None:
    """Run all cells of the open notebook, until something is there and the kernel is idle again.

    Args:
        page: Playwright's page.
        ready: Selector of what must appear.
    """
    from playwright.sync_api import TimeoutError as PageTimeout
    from playwright.sync_api import expect

    page.wait_for_selector(".jp-Notebook", timeout=180_000)
    for attempt in (1, 2, 3):  # a click right after loading can be lost
        expect(page.locator("#jp-main-statusbar")).to_contain_text("Idle", timeout=180_000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        try:
            page.wait_for_selector(ready, timeout=60_000)
        except PageTimeout:
            if attempt == 3:
                raise
        else:
            # The cells below go on; what a control asks for waits for them.
            expect(page.locator("#jp-main-statusbar")).to_contain_text("Idle", timeout=180_000)
            return


def scroll_to(page: Any, selector: str, *, up: bool = False) -> Any:
    """Bring an element into view: JupyterLab draws only the cells near the window, and Run All ends at the last one."""
    from playwright.sync_api import Error

    found = page.locator(selector)
    page.mouse.move(900, 800)
    for _ in range(80):
        if found.count() and found.first.is_visible():
            break
        page.mouse.wheel(0, -500 if up else 500)
        page.wait_for_timeout(150)
    for attempt in (1, 2, 3):  # an element that is drawn anew meanwhile is another one
        try:
            found.first.scroll_into_view_if_needed()
        except Error as error:
            if attempt == 3 or "not attached" not in error.message:
                raise
        else:
            break
    page.wait_for_timeout(300)
    return found.first


def wait_until_drawn(page: Any, selector: str, n: int) -> None:
    """Wait until a panel has drawn so many plots."""
    titles = f"document.querySelectorAll('{selector} .js-plotly-plot .gtitle')"
    page.wait_for_function(f"() => {titles}.length === {n}", timeout=180_000)


def shoot(page: Any, folder: Path, name: str, *, full_page: bool = False) -> None:
    """A picture of the page as it is, for people who ask for pictures with ``SCREENSHOTS=1``."""
    if os.environ.get("SCREENSHOTS"):
        folder.mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(700)
        page.screenshot(path=folder / f"{name}.png", full_page=full_page)


def complaints_of(complaints: Any) -> list[str]:
    """Errors of the page's console and scripts that mean something."""
    return [e for e in complaints.errors if not HARMLESS.search(e)]


def serious_findings(page: Any, within: str | None = None) -> list[str]:
    """What axe-core calls serious or critical on a page, or within a selector of it: the rule and the first place."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, context=within).response["violations"]
    return [f"{f['id']}: {f['nodes'][0]['html'][:200]}" for f in found if f["impact"] in {"serious", "critical"}]
