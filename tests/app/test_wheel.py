"""A wheel in a new environment, outside the checkout, answers commands and opens the notebooks that it carries."""

import contextlib
import json
import os
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

from workbench.engines.server import free_port

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The Python of an environment with the wheel; every other package is that of the tests."""
    place = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(place)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    venv.create(place / "env")
    packages = next((place / "env" / "lib").glob("python*")) / "site-packages"
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(packages)
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "env" / "bin" / "python"


def answer(python, folder, *words):
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "WORKBENCH_DATA"}}
    command = [python, "-m", "workbench.app", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_package_is_the_installed_one(installed, tmp_path):
    code = "import workbench; print(workbench.__file__)"
    out = subprocess.run([installed, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert str(installed.parents[1]) in out


def test_the_wheel_carries_the_languages(installed, tmp_path):
    code = "from workbench.core.language import gettext; print(gettext('Cancel'))"
    environment = {**os.environ, "WORKBENCH_LANG": "zh_CN", "PYTHONIOENCODING": "utf-8"}
    command = [installed, "-P", "-c", code]
    out = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert out == "取消\n"


def test_commands_find_the_data_that_the_wheel_carries(installed, tmp_path):
    assert json.loads(answer(installed, tmp_path, "doctor", "--json"))
    price = json.loads(answer(installed, tmp_path, "cost", "meta-llama/Meta-Llama-3.1-8B", "h200-sxm", "--json"))
    assert price["usd_per_hour"] > 0
    assert "tokens" in answer(installed, tmp_path, "images", "tokens", "Qwen/Qwen3-VL-8B-Instruct", "448x448")
    options = [
        "--methods",
        "fp32",
        "--windows",
        "2",
        "--window-tokens",
        "64",
        "--rounds",
        "1",
        "--batches",
        "1",
        "--json",
    ]
    run = json.loads(answer(installed, tmp_path, "quantize", "data/models/stdlib-9m", *options))
    assert run["results"][0]["accuracy"]["perplexity"] > 1
    assert run["id"] in answer(installed, tmp_path, "runs", "list")
    assert list(tmp_path.iterdir()) == [tmp_path / "home"]  # nothing else is written where it is called


def test_lab_opens_the_notebooks_that_the_wheel_carries(installed, tmp_path):
    port = free_port()
    options = ["--no-browser", f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=t"]
    process = subprocess.Popen(
        [installed, "-m", "workbench.app", "lab", "--", *options], cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    try:
        names = {item["name"] for item in contents(port, process)}
    finally:
        process.terminate()
        process.wait(30)
    assert names >= {p.name for p in (ROOT / "notebooks").glob("*.ipynb")}


def contents(port, process):
    for _ in range(1200):
        assert process.poll() is None, "JupyterLab ended"
        url = f"http://localhost:{port}/api/contents?token=t"
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=20) as reply:
            return json.load(reply)["content"]
        time.sleep(0.25)
    raise AssertionError("JupyterLab did not start")
