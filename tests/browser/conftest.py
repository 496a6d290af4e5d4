"""JupyterLab as `make lab` starts it, in folders of its own, and a headless browser that notes every complaint."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import pytest

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


@dataclass
class Complaints:
    """Errors of the page's console and script, and requests that left this machine."""

    errors: list = field(default_factory=list)
    requests: list = field(default_factory=list)


@pytest.fixture(scope="session")
def browser(chromium):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def page_of(browser):
    """Opens a page of a width; gives it back with its complaints."""
    contexts = []

    def open_page(width=1500, height=1700, *, color_scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=color_scheme)
        contexts.append(context)
        page = context.new_page()
        complaints = Complaints()
        page.on("console", lambda m: complaints.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: complaints.errors.append(str(e)))
        page.on("request", lambda r: complaints.requests.append(r.url))
        return page, complaints

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    (folder / "notebooks").mkdir()
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, folder / "notebooks")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {"JUPYTER_CONFIG_DIR": "c", "JUPYTER_DATA_DIR": "d", "JUPYTER_RUNTIME_DIR": "r"}
    own |= {"JUPYTERLAB_SETTINGS_DIR": "s", "JUPYTERLAB_WORKSPACES_DIR": "w", "WORKBENCH_HOME": "home"}
    environment = {**os.environ, **{k: str(folder / v) for k, v in own.items()}}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.port={port}"]
    command += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}", "--LabApp.news_url=None"]
    command += ["--KernelManager.transport=ipc", f"--ServerApp.root_dir={folder / 'notebooks'}"]
    with (folder / "lab.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        url = f"http://localhost:{port}"
        try:
            _wait_until_up(url, server)
            yield Lab(url, folder / "home")
        finally:
            server.terminate()
            server.wait(20)


def _wait_until_up(url, server):
    for _ in range(240):
        assert server.poll() is None, "JupyterLab ended"
        try:
            urllib.request.urlopen(f"{url}/api/status?token={TOKEN}", timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
        else:
            return
    raise AssertionError("JupyterLab did not start")
