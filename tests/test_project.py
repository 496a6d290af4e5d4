"""Promises of the project's own files."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SAME = {"pytorch": "torch", "pynvml": "nvidia-ml-py", "typing-extensions": "typing_extensions"}


def normal(requirement):
    name, rule = re.match(r"([A-Za-z0-9_.-]+)(?:\[.*\])?\s*(.*)", requirement).groups()
    name = name.lower().replace("_", "-")
    return SAME.get(name, name), "".join(sorted(rule.replace(" ", "").split(",")))


def conda_requirements(text):
    entries = yaml.safe_load(text)["dependencies"]
    pip = next((e["pip"] for e in entries if isinstance(e, dict)), [])
    return [e for e in entries if isinstance(e, str)] + pip


def test_environment_yml_and_pyproject_ask_for_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = dict(map(normal, [*project["dependencies"], *project["optional-dependencies"]["dev"]]))
    conda = dict(map(normal, conda_requirements((ROOT / "environment.yml").read_text())))
    assert conda.pop("python", None) == normal("python" + project["requires-python"])[1]
    conda.pop("pip", None)
    assert conda == wanted


def test_constraints_pin_every_dependency_within_its_range():
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pins = {k.lower().replace("_", "-"): v for k, v in pins.items()}
    for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        requirement = Requirement(text)
        name = requirement.name.lower().replace("_", "-")
        assert requirement.specifier.contains(pins[name]), text


def test_no_file_is_longer_than_four_hundred_lines():
    long = {
        str(p.relative_to(ROOT)): n
        for p in ROOT.glob("workbench/**/*.py")
        if (n := len(p.read_text().splitlines())) > 400
    }
    assert long == {}


def test_nothing_tracked_names_a_machine():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not files:
        pytest.skip("not a git checkout")
    words = re.compile(r"/work/(main|shared)|/root/|/home/[a-z]+/|\.library")
    skipped = ("vendor", "data/text", "data/models", "tests/")
    bad = [f for f in files if not any(s in f for s in skipped) and words.search((ROOT / f).read_text(errors="ignore"))]
    assert bad == []


def test_the_command_line_answers():
    out = subprocess.run(
        [sys.executable, "-m", "workbench.app", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "quantize" in out
    assert "doctor" in out


PANELS = sorted(
    ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for p in [*ROOT.glob("workbench/questions/**/panel.py"), *ROOT.glob("workbench/questions/**/panel/__init__.py")]
)


def test_commands_and_panels_start_without_torch():
    """It takes seconds to import, and no command or panel needs it before something is measured."""
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    heavy = {'torch', 'vllm', 'onnxruntime'} & set(sys.modules)\n"
        "    assert not heavy, f'{name} imports {heavy}'"
    )
    modules = ["workbench.app.main", "workbench.app.start", *PANELS]
    done = subprocess.run([sys.executable, "-c", code, *modules], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
