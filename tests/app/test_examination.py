"""An engine in an environment of its own counts as installed."""

import json

from workbench.app import examination
from workbench.engines import environments
from workbench.telemetry.devices import cpu_device


def vllm_line(tmp_path):
    return next(f for f in examination.examine_all(tmp_path) if f.topic == "vLLM for CPU")


def test_the_examination_finds_own_environments(tmp_path, monkeypatch):
    monkeypatch.setattr(examination, "chosen_device", lambda _: cpu_device())
    monkeypatch.setenv("WORKBENCH_ENGINES", str(tmp_path))
    monkeypatch.delenv("WORKBENCH_VLLM_PYTHON", raising=False)
    missing = vllm_line(tmp_path)
    assert missing.state == "missing"
    assert "workbench engines install vllm" in missing.remedy
    folder = tmp_path / "vllm-cpu"
    folder.mkdir()
    requirements = list(environments.RECIPES["vllm", "cpu"].requirements)
    (folder / environments.MARKER).write_text(json.dumps({"version": "0.32.0", "requirements": requirements}))
    found = vllm_line(tmp_path)
    assert (found.state, found.remedy) == ("ok", "")
    assert "0.32.0" in found.value
    monkeypatch.setenv("WORKBENCH_VLLM_PYTHON", str(tmp_path / "nothing"))
    assert vllm_line(tmp_path).state == "problem"
