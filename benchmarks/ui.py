"""How fast the quantization notebook is for its reader: kernel to first widget, dropdown to redrawn plot, budget to plan.

    .venv/bin/python benchmarks/ui.py            prints JSON: medians, samples, versions, machine

Measured in real JupyterLab through headless Chromium, as the browser tests start it. The first kernel is a warm-up.
"""

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
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).parents[1]
TOKEN = "a-token-for-benchmarks"
CHANGES = 20
KERNELS = 4
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


def first_widget_s(page: Page, url: str) -> float:
    """From Run All in a fresh kernel to the first visible answer."""
    page.goto(f"{url}/lab/tree/02_quantization.ipynb?token={TOKEN}&reset")
    page.wait_for_selector(".jp-Notebook", timeout=60_000)
    page.wait_for_timeout(2_000)
    expect(page.locator("#jp-main-statusbar")).to_contain_text("Idle", timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    started = time.perf_counter()
    page.get_by_text("Run All Cells", exact=True).click()
    page.wait_for_selector(".wb-verdict", timeout=60_000)
    seconds = time.perf_counter() - started
    page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot .gtitle').length === 2", timeout=30_000)
    return seconds


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


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        server, url = start_lab(Path(name))
        try:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            starts, redraws, drags = [], [], []
            for kernel in range(KERNELS):
                page = browser.new_page(viewport={"width": 1500, "height": 1700})
                starts.append(first_widget_s(page, url))
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
