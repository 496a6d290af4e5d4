"""How fast the notebooks are for their reader. Of the quantization notebook: kernel to first widget, dropdown to redrawn plot, budget to plan.

    .venv/bin/python benchmarks/ui.py            prints JSON: medians, samples, versions, machine
    .venv/bin/python benchmarks/ui.py --every    prints a table: the first reaction of every list and button of every panel
    .venv/bin/python benchmarks/ui.py --every --notebooks 08_cost 14_tuning    those of these notebooks alone

Measured in real JupyterLab through headless Chromium, as the browser tests start it. The first kernel is a warm-up.
"""

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parents[1]
TOKEN = "a-token-for-benchmarks"
CHANGES = 20
KERNELS = 4
QUIET_MS = 600
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]

# Resolves with the milliseconds from the change of the control to the frame that shows the new plot.
REDRAW = """([label, option]) => new Promise((done) => {
  const select = [...document.querySelectorAll('.wb-controls label')].find(l => l.textContent === label).parentElement.querySelector('select');
  const started = performance.now();
  const watch = new MutationObserver(() => {
    const titles = [...document.querySelectorAll('.js-plotly-plot .gtitle')];
    if (titles.some(t => t.textContent.includes(`measured at batch ${option}`))) { watch.disconnect(); requestAnimationFrame(() => done(performance.now() - started)); }
  });
  watch.observe(document.querySelector('.wb-plots'), {childList: true, subtree: true, characterData: true});
  select.value = option;
  select.dispatchEvent(new Event('change', {bubbles: true}));
})"""


# Resolves with the milliseconds from a step of the budget's slider to the frame with the new heat map and verdict, and
# to the frame with the new marker in the plot.
DRAG = """(key) => new Promise((done) => {
  const panel = document.querySelector('.wb-mixed'), handle = panel.querySelector('.noUi-handle');
  const told = () => panel.querySelector('.wb-verdict').textContent + panel.querySelector('.wb-heat').textContent;
  const marker = () => panel.querySelector('.js-plotly-plot')?.data?.find(t => t.name === 'chosen plan')?.x[0];
  const [before, at] = [told(), marker()];
  handle.focus();
  const started = performance.now();
  let answered = null;
  const look = () => {
    if (answered === null && told() !== before) answered = performance.now() - started;
    if (answered !== null && marker() !== undefined && marker() !== at) done([answered, performance.now() - started]);
    else if (performance.now() - started > 5000) done(null);
    else requestAnimationFrame(look);
  };
  handle.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
  requestAnimationFrame(look);
})"""


# Resolves when nothing of the page has changed for so many milliseconds: plots of the last change, or of the opening, are drawn.
QUIET = """(ms) => new Promise((done) => {
  let last = performance.now();
  const watch = new MutationObserver(() => { last = performance.now(); });
  watch.observe(document.body, {childList: true, subtree: true, characterData: true, attributes: true});
  const look = () => {
    if (performance.now() - last > ms) { watch.disconnect(); done(); } else setTimeout(look, 50);
  };
  look();
})"""


# Resolves with the name of a control of a panel and the milliseconds until the frame after the first change of its view;
# null without any, as of a list with one entry.
REACT = """([panel, at]) => new Promise((done) => {
  const root = document.querySelectorAll('.wb-panel')[panel];
  const controls = [...root.querySelectorAll('.wb-controls select, .wb-controls button[aria-pressed]')].filter(e => e.offsetParent && !e.disabled);
  if (at >= controls.length) { done(null); return; }
  const control = controls[at];
  const name = control.tagName === 'SELECT' ? control.closest('.widget-dropdown, .jupyter-widgets')?.querySelector('label')?.textContent : control.textContent;
  if (control.options?.length === 1) { done([name, null]); return; }
  const started = performance.now();
  const watch = new MutationObserver((changes) => {
    if (changes.every(c => c.target.parentElement?.closest('.wb-job'))) return;
    watch.disconnect();
    requestAnimationFrame(() => done([name, performance.now() - started]));
  });
  watch.observe(root.querySelector('.wb-view'), {childList: true, subtree: true, characterData: true, attributes: true});
  setTimeout(() => { watch.disconnect(); done([name, null]); }, 3000);
  if (control.tagName === 'SELECT') {
    control.selectedIndex = (control.selectedIndex + 1) % control.options.length;
    control.dispatchEvent(new Event('change', {bubbles: true}));
  } else control.click();
})"""


def start_lab(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A server in folders of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    own = {"JUPYTER_CONFIG_DIR": "c", "JUPYTER_DATA_DIR": "d", "JUPYTER_RUNTIME_DIR": "r", "WORKBENCH_HOME": "home"}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.port={port}"]
    command += [f"--IdentityProvider.token={TOKEN}", "--LabApp.news_url=None", "--KernelManager.transport=ipc"]
    command += [f"--ServerApp.root_dir={folder / 'notebooks'}"]
    environment = {**os.environ, **{k: str(folder / v) for k, v in own.items()}}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    url = f"http://localhost:{port}"
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{url}/api/status?token={TOKEN}", timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
        else:
            return server, url
    raise RuntimeError("JupyterLab did not start; see its log")


def first_widget_s(page: Page, url: str, notebook: str = "02_quantization", first: str = ".wb-verdict") -> float:
    """From Run All in a fresh kernel to the first visible answer."""
    page.goto(f"{url}/lab/tree/{notebook}.ipynb?token={TOKEN}&reset")
    page.wait_for_selector(".jp-Notebook", timeout=60_000)
    page.wait_for_timeout(2_000)
    expect(page.locator("#jp-main-statusbar")).to_contain_text("Idle", timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    started = time.perf_counter()
    page.get_by_text("Run All Cells", exact=True).click()
    page.wait_for_selector(first, timeout=60_000)
    return time.perf_counter() - started


def restart_kernel(url: str) -> None:
    """End all kernels, so that the next notebook starts a fresh one."""
    base = f"{url}/api/sessions"
    listed = json.load(urllib.request.urlopen(f"{base}?token={TOKEN}", timeout=10))
    for session in listed:
        request = urllib.request.Request(f"{base}/{session['id']}?token={TOKEN}", method="DELETE")
        urllib.request.urlopen(request, timeout=10).close()


def budget_steps(page: Page) -> list[tuple[float, float]]:
    """Milliseconds to the answer and to the redrawn plot, of steps of the budget that change the plan."""
    page.mouse.move(900, 800)
    for _ in range(60):
        if page.locator(".wb-mixed .js-plotly-plot").count():
            break
        page.mouse.wheel(0, 400)
        page.wait_for_timeout(200)
    page.locator(".wb-mixed").first.scroll_into_view_if_needed()
    page.wait_for_timeout(2_000)
    made = []
    for i in range(4 * CHANGES):
        steps = page.evaluate(DRAG, "PageUp" if i % 8 < 4 else "PageDown")
        page.wait_for_timeout(150)
        if steps:
            made.append((steps[0], steps[1]))
        if len(made) == CHANGES + 2:
            break
    return made[2:]


def reactions(page: Page) -> Iterator[tuple[str, list[tuple[str, float | None]]]]:
    """Title of each panel with the first reaction of each of its lists and buttons in milliseconds; None: none within three seconds."""
    for panel in range(page.locator(".wb-panel").count()):
        root = page.locator(".wb-panel").nth(panel)
        root.scroll_into_view_if_needed()
        title = root.locator("xpath=ancestor::*[contains(@class, 'wb-root')][1]").locator("h2").first.inner_text()
        found: list[tuple[str, float | None]] = []
        page.evaluate(QUIET, QUIET_MS)
        while reaction := page.evaluate(REACT, [panel, len(found)]):
            found.append((reaction[0], reaction[1]))
            page.evaluate(QUIET, QUIET_MS)
            expect(page.locator("#jp-main-statusbar")).to_contain_text("Idle", timeout=60_000)
        yield title, found


def every_panel(browser: Browser, url: str, notebooks: list[str]) -> None:
    """Print a line for each panel of notebooks, of all where none is named: reaction of its controls, median and largest."""
    print("| notebook | panel | first answer | controls | median | largest | without a reaction |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for path in sorted((ROOT / "notebooks").glob("[01]*.ipynb"))[1:]:
        if notebooks and path.stem not in notebooks:
            continue
        page = browser.new_page(viewport={"width": 1500, "height": 6000})
        seconds = first_widget_s(page, url, path.stem)
        expect(page.locator("#jp-main-statusbar")).to_contain_text("Idle", timeout=180_000)
        for title, found in reactions(page):
            took = sorted((ms, name) for name, ms in found if ms is not None)
            silent = ", ".join(name for name, ms in found if ms is None) or "–"
            shown = (
                f"{statistics.median(ms for ms, _ in took):.0f} ms | {took[-1][0]:.0f} ms ({took[-1][1]})"
                if took
                else "– | –"
            )
            print(f"| {path.stem} | {title} | {seconds:.1f} s | {len(found)} | {shown} | {silent} |", flush=True)
        page.close()
        restart_kernel(url)
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {datetime.now(UTC).date()}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--every", action="store_true", help="Every panel's controls instead of the quantization notebook."
    )
    parser.add_argument("--notebooks", nargs="*", default=[], help="Of --every: these notebooks alone.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        server, url = start_lab(Path(name))
        try:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            if asked.every:
                every_panel(browser, url, asked.notebooks)
                browser.close()
                return
            starts, redraws, drags = [], [], []
            for kernel in range(KERNELS):
                page = browser.new_page(viewport={"width": 1500, "height": 1700})
                starts.append(first_widget_s(page, url))
                page.wait_for_function(
                    "() => document.querySelectorAll('.js-plotly-plot .gtitle').length === 2", timeout=30_000
                )
                if kernel == KERNELS - 1:
                    for i in range(CHANGES + 2):
                        page.wait_for_timeout(300)
                        option = ("8", "1")[i % 2]
                        redraws.append(page.evaluate(REDRAW, ["Batch, sequences decoded together", option]))
                    drags = budget_steps(page)
                page.close()
                restart_kernel(url)
            browser.close()
        finally:
            server.terminate()
            server.wait(20)
    result = {
        "fresh_kernel_to_first_widget_s": {"median": statistics.median(starts[1:]), "samples": starts[1:]},
        "dropdown_to_redrawn_plot_s": {
            "median": statistics.median(redraws[2:]) / 1e3,
            "samples": [r / 1e3 for r in redraws[2:]],
        },
        "budget_to_plan_and_verdict_s": {
            "median": statistics.median(d[0] for d in drags) / 1e3,
            "samples": [d[0] / 1e3 for d in drags],
        },
        "budget_to_redrawn_plot_s": {
            "median": statistics.median(d[1] for d in drags) / 1e3,
            "samples": [d[1] / 1e3 for d in drags],
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
