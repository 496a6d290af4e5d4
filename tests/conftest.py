"""Fixtures for all tests: a home of its own for runs and jobs, and widgets that do not swallow errors."""

import shutil
from functools import cache
from pathlib import Path

import pytest

from workbench.core.devices import Device
from workbench.export.notebook import write_report
from workbench.jobs.manager import JobManager
from workbench.testing import strict_callbacks


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("WORKBENCH_EXPORT", raising=False)


@pytest.fixture
def manager(tmp_path):
    return JobManager(tmp_path / "home")


@pytest.fixture
def strict(monkeypatch):
    with strict_callbacks(monkeypatch.setattr):
        yield


@pytest.fixture
def cpu():
    return Device(kind="cpu", name="test device", memory_bytes=2**34, free_bytes=2**33)


@pytest.fixture(scope="session")
def chromium():
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("Chromium is not installed")
    return path


@pytest.fixture(scope="session")
def report_of(tmp_path_factory):
    """The report of a notebook by its name, made once for all tests."""
    folder = tmp_path_factory.mktemp("reports")

    @cache
    def made(name):
        return write_report(Path(__file__).parents[1] / "notebooks" / f"{name}.ipynb", folder / f"{name}.html")

    return made
