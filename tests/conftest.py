"""Fixtures for all tests: a home of its own for runs and jobs, widgets that do not swallow errors, notebooks that are executed once."""

import os
import shutil
from functools import cache
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock
from support import strict_callbacks
from support.asked_here import asked_here

from workbench.catalog import ask
from workbench.catalog.paths import REFERENCE_MODEL
from workbench.core.devices import Device
from workbench.engines.serving import exported
from workbench.jobs.manager import JobManager

HERE = Path(__file__).parent
pytest_plugins = ["support.lab_server"]
# No property has a time limit: another job on the same processor must not decide. Examples are the same in each run: what fails
# was caused by a change. `HYPOTHESIS_PROFILE=search` looks for new ones.
for name, examples in (("shared machine", {"derandomize": True}), ("search", {"max_examples": 2000})):
    hypothesis.settings.register_profile(
        name, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], **examples
    )
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "shared machine"))
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # threads that wait leave the processor to the other worker
# Stand-ins that run as processes of their own import ``support``, and what is tested where that is not the installed package.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
SHARED = {
    "browser/test_lab.py": "lab",
    "browser": "lab 2",
    "browser/test_reports.py": "reports",
    "notebooks": "reports",
    "app/test_start.py": "reports",
    "engines": "engines",
}
"""Which files go to one worker, one after the other, because they share a JupyterLab, a set of reports or engines; all other files go alone."""
FIRST = (
    "browser/test_lab.py",
    "browser",
    "questions/quantization/test_sensitivity.py",
    "questions/engines/test_measure.py",
    "questions/surge/test_measure.py",
    "questions/rollout/test_measure.py",
    "questions/latency/test_fault_suite.py",
    "app/test_wheel.py",
    "app/test_command_line.py",
    "questions/engines/test_cluster.py",
    "engines",  # by now their environments are installed; the fixtures wait for them
    "questions/quantization/test_checkpoint.py",
    "notebooks",
    "compress/test_variants.py",
    "questions/edge/test_measure.py",
    "questions/utilization/test_batch_size.py",
    "compress/test_measure.py",
)
"""What takes longest, in the order in which it starts, so that no worker is left alone with it."""
NOT_QUICK = (
    "app/test_command_line.py",
    "app/test_ledger.py",
    "app/test_start.py",
    "app/test_wheel.py",
    "alerts/test_notify.py",
    "alerts/test_promtool.py",
    "attention",
    "calibrate",
    "catalog/test_ask.py",
    "compress",
    "gateway/test_gateway.py",
    "gateway/test_gateway_versions.py",
    "gateway/test_shared_limits.py",
    "jobs",
    "load/test_accuracy.py",
    "load/test_dialects.py",
    "load/test_secrets.py",
    "load/test_failures.py",
    "load/test_generator.py",
    "questions/edge",
    "questions/engines",
    "questions/latency",
    "questions/long_context",
    "questions/monitoring",
    "questions/multimodal",
    "questions/quantization",
    "questions/rollout",
    "questions/security",
    "questions/surge",
    "questions/utilization",
    "questions/test_every_panel.py",
    "release/test_canary.py",
    "telemetry",
    "understanding/test_asking.py",
    "vision",
)
"""Folders and files of tests that start servers, jobs or models: ``make quick`` leaves them out."""
NO_ERRORS = (
    "panels = [p for p in list(globals().values()) if hasattr(p, 'guarded') and not isinstance(p, type)]\n"
    "assert not [e for p in panels for e in p.errors]"
)


def most_specific(place, names):
    """The longest of the names that a file is called or lies below; None where there is none."""
    return max((n for n in names if place == n or place.startswith(f"{n}/")), key=len, default=None)


def pytest_xdist_make_scheduler(config, log):
    """Give each file to one worker, and the files that share something to the same one."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            place = file.removeprefix("tests/")
            return SHARED.get(most_specific(place, SHARED), file)

    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_ignore_collect(collection_path, config):
    """Leave out what is not quick before it is imported, where only quick tests are asked for."""
    is_below = collection_path.is_relative_to(HERE) and collection_path != HERE
    if is_below and "not slow" in config.option.markexpr:
        return str(collection_path.relative_to(HERE)).startswith(NOT_QUICK) or None
    return None


def pytest_itemcollected(item):
    """Mark what is not quick."""
    place = str(item.path.relative_to(HERE))
    if place.startswith(NOT_QUICK) or {"chromium", "report_of"} & set(getattr(item, "fixturenames", ())):
        item.add_marker(pytest.mark.slow)


def pytest_collection_modifyitems(items):
    """Start with what takes longest."""

    def place(item):
        name = most_specific(str(item.path.relative_to(HERE)), FIRST)
        return FIRST.index(name) if name else len(FIRST)

    items.sort(key=place)


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("WORKBENCH_EXPORT", raising=False)


@pytest.fixture(scope="session", autouse=True)
def _models_are_asked_here(tmp_path_factory):
    """Ask models in this process, where torch is loaded already; answers of earlier sessions are not taken."""
    answers = tmp_path_factory.mktemp("answers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ask, "_ask", asked_here)
        patch.setattr(ask, "answers_folder", lambda: answers)
        yield


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
    """The report of a notebook by its name: executed once from top to bottom, with strict widgets, for all tests."""
    import nbformat

    from workbench.interface.report.notebook import write_report

    folder = tmp_path_factory.mktemp("reports")

    @cache
    def made(name):
        notebook = nbformat.read(HERE.parent / "notebooks" / f"{name}.ipynb", as_version=4)
        notebook.cells.append(nbformat.v4.new_code_cell(NO_ERRORS))
        nbformat.write(notebook, folder / f"{name}.ipynb")
        return write_report(folder / f"{name}.ipynb", folder / f"{name}.html")

    return made


@pytest.fixture(scope="session")
def exported_graph(tmp_path_factory):
    """The folder with the ONNX graph of the reference model, exported once for the tests of all workers."""
    place = tmp_path_factory.getbasetemp()
    place = place.parent if "PYTEST_XDIST_WORKER" in os.environ else place
    with FileLock(place / "graph.lock"):
        return exported(REFERENCE_MODEL, cache=place / "cache" / "inference-workbench" / "onnx", tell=print)


@pytest.fixture
def exported_before(exported_graph, monkeypatch):
    """Let the workbench and its processes find that graph where they keep exported ones."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(exported_graph.parents[2]))
