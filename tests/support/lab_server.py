"""JupyterLab as `make lab` starts it, in folders of its own, and a headless browser that notes every complaint."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.lab_page import run_all
from workbench.engines.server import free_port

ROOT = Path(__file__).parents[2]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TOKEN = "a-token-for-tests"


@dataclass
class Lab:
    """A running server with its home for runs."""

    url: str
    home: Path

    def notebook(self, name):
        return f"{self.url}/lab/tree/{name}.ipynb?token={TOKEN}&reset"

    def end_kernels(self):
        with urllib.request.urlopen(f"{self.url}/api/sessions?token={TOKEN}", timeout=60) as answer:
            sessions = json.load(answer)
        for session in sessions:
            url = f"{self.url}/api/sessions/{session['id']}?token={TOKEN}"
            urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=60).close()


@dataclass
class Complaints:
    """Errors of the page's console and script, and requests that left this machine."""

    errors: list = field(default_factory=list)
    requests: list = field(default_factory=list)


@pytest.fixture(scope="session")
def browser(chromium):
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=120_000)  # what is waited for comes late on a busy machine
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield launched
        launched.close()


def context_of(browser, width=1500, height=1700, *, color_scheme="light"):
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=color_scheme)
    context.set_default_timeout(180_000)
    return context


def page_in(context):
    """A new page with its complaints."""
    page, complaints = context.new_page(), Complaints()
    page.on("console", lambda m: complaints.errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: complaints.errors.append(str(e)))
    page.on("request", lambda r: complaints.requests.append(r.url))
    return page, complaints


@pytest.fixture
def page_of(browser):
    """Opens a page of a width; gives it back with its complaints."""
    contexts = []

    def open_page(*size, **options):
        contexts.append(context_of(browser, *size, **options))
        return page_in(contexts[-1])

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def notebook(lab, browser):
    """Opens a notebook in one page of JupyterLab and runs its cells; tests that want the same one go on with it."""
    context = context_of(browser)
    page, complaints = page_in(context)
    page.goto(f"{lab.url}/lab?token={TOKEN}&reset")
    page.wait_for_function("window.jupyterapp?.restored.then(() => true)")
    opened = []

    def open_notebook(name, ready):
        page.set_viewport_size({"width": 1500, "height": 1700})
        if opened != [name]:
            page.evaluate("[...jupyterapp.shell.widgets('main')].forEach(widget => widget.dispose())")
            lab.end_kernels()
            opened[:] = [name]
            page.evaluate(
                "path => jupyterapp.commands.execute('docmanager:open', {path}).then(() => null)", f"{name}.ipynb"
            )
            run_all(page, ready)
        complaints.errors.clear()
        return page, complaints

    yield open_notebook
    context.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    (folder / "notebooks").mkdir()
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, folder / "notebooks")
    port = free_port()
    own = {"JUPYTER_CONFIG_DIR": "c", "JUPYTER_DATA_DIR": "d", "JUPYTER_RUNTIME_DIR": "r"}
    own |= {"JUPYTERLAB_SETTINGS_DIR": "s", "JUPYTERLAB_WORKSPACES_DIR": "w", "WORKBENCH_HOME": "home"}
    environment = {**os.environ, **{k: str(folder / v) for k, v in own.items()}}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.port={port}"]
    command += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}", "--LabApp.news_url=None"]
    command += [
        "--LabApp.expose_app_in_browser=True",
        "--KernelManager.transport=ipc",
        f"--ServerApp.root_dir={folder / 'notebooks'}",
    ]
    with (folder / "lab.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        url = f"http://localhost:{port}"
        try:
            _wait_until_up(url, server)
            yield Lab(url, folder / "home")
        finally:
            server.terminate()
            server.wait(60)


def _wait_until_up(url, server):
    for _ in range(1200):
        assert server.poll() is None, "JupyterLab ended"
        try:
            urllib.request.urlopen(f"{url}/api/status?token={TOKEN}", timeout=60).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
        else:
            return
    raise AssertionError("JupyterLab did not start")
