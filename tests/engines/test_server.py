"""Managed servers come up or say why not, and leave nothing behind."""

import json
import os
import signal
import subprocess
import sys
import urllib.request

import psutil
import pytest
from support.waiting import wait_for

from workbench.core.errors import NotAvailable
from workbench.engines import environments
from workbench.engines.server import ServerFailed, ServerRoom, free_port, healthy, last_error
from workbench.load.rows import LoadResult
from workbench.load.spec import LoadSpec
from workbench.measuring.envelope import run

FAMILY = """
import http.server, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), H).serve_forever()
"""


def start(room, code, port, timeout_s=120.0):
    command = [sys.executable, "-c", code, str(port)]
    return room.start(
        command, engine="test", model="m", port=port, environment={}, timeout_s=timeout_s, tell=lambda _: None
    )


@pytest.fixture
def own_room(tmp_path):
    return ServerRoom(tmp_path)


def test_stopping_leaves_no_process_and_no_port(own_room, listening):
    port = free_port()
    card = start(own_room, FAMILY, port)
    family = [psutil.Process(card.pid), *psutil.Process(card.pid).children(recursive=True)]
    assert len(family) == 2
    assert [c.name for c in own_room.cards()] == [card.name]
    own_room.stop(card)
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family)
    assert port not in listening()
    assert own_room.cards() == []


def test_what_a_killed_server_left_behind_is_cleaned(own_room):
    card = start(own_room, FAMILY, free_port())
    (child,) = psutil.Process(card.pid).children()
    os.kill(card.pid, signal.SIGKILL)
    wait_for(lambda: not healthy(card.url))
    os.waitpid(card.pid, 0)
    assert child.is_running()
    assert own_room.clean() == [card.name]
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_a_server_that_fails_to_start_tells_its_last_error(own_room):
    with pytest.raises(ServerFailed, match="ValueError: no such weights"):
        start(own_room, "raise ValueError('no such weights')", free_port())
    assert own_room.cards() == []


def test_the_cause_is_what_the_process_of_the_engine_said_before_the_server_gave_up(tmp_path):
    """The end of a log of vLLM 0.32."""
    log = tmp_path / "vllm.log"
    log.write_text(
        "(EngineCore pid=9) ValueError: No available memory for the cache blocks.\n"
        "Traceback (most recent call last):\n"
        "    raise RuntimeError(\n"
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}\n"
    )
    assert last_error(log) == "(EngineCore pid=9) ValueError: No available memory for the cache blocks."


def test_a_server_that_never_answers_is_ended(own_room):
    with pytest.raises(ServerFailed, match="did not answer within 1 s"):
        start(own_room, "import time; time.sleep(600)", free_port(), timeout_s=1.0)
    assert own_room.cards() == []


def test_a_taken_port_is_told_before_anything_starts(own_room):
    port = free_port()
    card = start(own_room, FAMILY, port)
    try:
        with pytest.raises(ServerFailed, match=f"Port {port} is taken"):
            start(own_room, FAMILY, port)
        assert healthy(card.url)
    finally:
        own_room.stop(card)


def test_an_engine_that_is_not_installed_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_ENGINES", str(tmp_path))
    monkeypatch.delenv("WORKBENCH_VLLM_PYTHON", raising=False)
    with pytest.raises(NotAvailable, match="workbench engines install vllm"):
        environments.require("vllm", device="cpu")
    with pytest.raises(NotAvailable, match="no recipe"):
        environments.install("nothing", device="cpu", tell=print)


def test_a_named_interpreter_without_the_engine_is_refused(monkeypatch):
    monkeypatch.setenv("WORKBENCH_VLLM_PYTHON", sys.executable)
    with pytest.raises(NotAvailable, match="cannot import vllm"):
        environments.find("vllm", device="cpu")


def ask(url, path, body):
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        return json.loads(answer.read())


@pytest.mark.slow
def test_our_server_speaks_the_interface_of_openai(torch_server):
    body = {"model": "stdlib-9m", "prompt": "import os\n", "max_tokens": 5, "ignore_eos": True}
    plain = ask(torch_server.url, "/v1/completions", body)
    assert plain["usage"]["completion_tokens"] == 5
    assert plain["choices"][0]["finish_reason"] == "length"
    messages = {"messages": [{"role": "user", "content": "import os\n"}]}
    chat = ask(torch_server.url, "/v1/chat/completions", {**body, **messages})
    assert chat["choices"][0]["message"]["content"] == plain["choices"][0]["text"]
    for wrong, status in (({"model": "x"}, 404), ({"temperature": 0.7}, 400), ({"prompt": 5}, 400)):
        with pytest.raises(urllib.error.HTTPError) as error:
            ask(torch_server.url, "/v1/completions", {**body, **wrong})
        assert error.value.code == status


@pytest.mark.slow
@pytest.mark.parametrize("endpoint", ["completions", "chat"])
def test_our_server_can_be_loaded(torch_server, endpoint):
    spec = LoadSpec(
        url=torch_server.url,
        model="stdlib-9m",
        endpoint=endpoint,
        rate_per_s=8,
        duration_s=3,
        output_tokens=16,
        calibrate=False,
    )
    answers = run(spec).row(LoadResult)
    assert answers.counts.failed == 0
    assert answers.token_source == {"usage per chunk": answers.counts.ok}


@pytest.mark.slow
def test_serve_ends_its_server_when_it_is_ended(tmp_path, listening):
    port = free_port()
    environment = {**os.environ, "WORKBENCH_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "workbench.app", "serve", "data/models/stdlib-9m", "--engine", "torch"]
    process = subprocess.Popen([*command, "--port", str(port)], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().strip() == f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(20)
    process.stdout.close()
    wait_for(lambda: port not in listening())
