"""A model is asked in a process of its own, once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from support.asked_here import asked_in_a_process

from workbench.catalog import ask
from workbench.catalog.ask import SHIPPED_ANSWERS, asked_model, shipped_file
from workbench.catalog.paths import REFERENCE_MODEL
from workbench.catalog.shipped_answers import shipped_configs
from workbench.core.errors import NotAModel

pytest.importorskip("torch")


def test_shipped_answers_are_what_asking_gives_today():
    from workbench.understanding.child import understand

    expected = {}
    for _, fields in shipped_configs():
        text = json.loads(json.dumps(msgspec.to_builtins(understand(fields))))
        expected[shipped_file(fields).name] = text
    kept = {file.name: json.loads(file.read_text())["spec"] for file in SHIPPED_ANSWERS.glob("*.json")}
    assert kept == expected, "Run `python -m workbench.catalog.shipped_answers`."


def test_the_second_look_imports_no_torch():
    code = (
        "import sys; from workbench.catalog.models import model_spec_from; "
        f"print(model_spec_from({str(REFERENCE_MODEL)!r}).n_params, 'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[1:] == ["False", "False"]


def test_code_beside_the_weights_never_runs_and_answers_are_kept(tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    (tmp_path / "modeling_own.py").write_text(f"open({str(ran)!r}, 'w').write('x')\n")
    fields = {
        "model_type": "own",
        "trust_remote_code": True,
        "auto_map": {"AutoConfig": "modeling_own.Config", "AutoModelForCausalLM": "modeling_own.Model"},
    }
    (tmp_path / "config.json").write_text(json.dumps(fields))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    )
    with pytest.raises(NotAModel, match="'own' is not known to transformers"):
        asked_model(fields)
    assert not ran.exists()
    monkeypatch.setattr(subprocess, "run", None)  # the second time nothing is started
    with pytest.raises(NotAModel, match="'own' is not known to transformers"):
        asked_model(fields)


def test_a_model_that_takes_too_much_processor_time_is_ended_and_named(monkeypatch):
    monkeypatch.setattr(ask, "CPU_LIMIT_S", 0.01)
    with pytest.raises(NotAModel, match="not built within 0 s of processor time"):
        asked_in_a_process('{"model_type": "llama"}')
