"""A script in vLLM's environment that fails is never taken for one that found nothing."""

import sys
from types import SimpleNamespace

import psutil
import pytest

from workbench.engines.inside_vllm import call


@pytest.fixture
def script(tmp_path, monkeypatch):
    def made(text):
        (tmp_path / "steps.py").write_text(text)
        monkeypatch.setattr(call, "__file__", str(tmp_path / "call.py"))
        monkeypatch.setattr(call, "require", lambda *_, **__: SimpleNamespace(python=sys.executable))
        return call.script_lines("steps", {}, folder=tmp_path, device="cpu")

    return made


def test_an_error_after_the_output_was_closed_is_told(script):
    lines = script(
        "import os, sys, time\n"
        "print('{\"a\": 1}', flush=True)\n"
        "os.close(1)\n"
        "time.sleep(0.5)\n"
        "print('ValueError: no room', file=sys.stderr)\n"
        "os._exit(1)\n"
    )
    assert next(lines) == {"a": 1}
    with pytest.raises(call.ScriptFailed, match="code 1: ValueError: no room"):
        next(lines)


def test_a_script_that_nobody_listens_to_is_ended(script):
    lines = script("import os, time\nprint('{\"pid\": %d}' % os.getpid(), flush=True)\ntime.sleep(60)\n")
    pid = next(lines)["pid"]
    lines.close()
    assert not psutil.pid_exists(pid)
