"""Keys, passwords and headers reach the server and nothing else: no output, error, log, run, spec or printed command."""

import base64
import json
import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from workbench.app.load_tables import load_tables
from workbench.app.main import app
from workbench.apparatus.mock_process import MockProcess
from workbench.apparatus.mock_server import MockSettings
from workbench.core.errors import WorkbenchError
from workbench.interface.follow import follow
from workbench.interface.knobs import command_line
from workbench.jobs.child import _interruptible
from workbench.jobs.directory import JobState
from workbench.jobs.manager import JobManager
from workbench.load.credentials import VARIABLE, redacted
from workbench.load.flight import Flight
from workbench.load.rows import LoadResult
from workbench.load.spec import LoadSpec
from workbench.measuring.envelope import run

PLANTED = {
    name: f"pl4nted-{name}-9f3b"
    for name in ("key", "header", "password", "query", "body", "nested", "broken", "second", "unnamed", "other", "line")
}


@pytest.fixture(autouse=True)
def none_kept(monkeypatch):
    monkeypatch.setenv(VARIABLE, "")


@pytest.fixture(scope="module")
def mock():
    with MockProcess(MockSettings(ttft_s=0.005, itl_s=0.001)) as server:
        yield server


def planted_in(text):
    forms = PLANTED | {
        "basic": base64.b64encode(f"user:{PLANTED['password']}".encode()).decode(),
        "two lines": PLANTED["line"].replace("-", "\n"),
    }
    return [name for name, value in forms.items() if value in text]


def url(mock, name):
    address = mock.url.replace("http://", f"http://user:{PLANTED['password']}@")
    return f"{address}/as/{name}?api-version=1&api-key={PLANTED['query']}"


def options(mock, name):
    extra = {"api_key": PLANTED["body"], "metadata": {"session_token": PLANTED["nested"]}}
    headers = ["--header", f"X-One: {PLANTED['header']}", "--header", f"X-Two: {PLANTED['second']}, and more"]
    return [
        url(mock, name),
        "--model",
        "mock",
        *headers,
        "--extra-body",
        json.dumps(extra),
        "--api-key-header",
        "X-Key",
    ]


def test_a_planted_secret_is_found_nowhere(mock, tmp_path, monkeypatch):
    """The server sends back all that it was sent, in the middle of the load."""
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    monkeypatch.setenv("OPENAI_API_KEY", PLANTED["key"])
    words = [*options(mock, "echo%20later"), "--rate", "20", "--duration", "0.5", "--no-calibrate", "--json"]
    found = CliRunner().invoke(app, ["load", *words])
    assert not planted_in(found.output), found.output
    assert "***" in found.output  # the server did send them back
    files = [f for f in tmp_path.rglob("*") if f.is_file()]
    assert len(files) > 3
    for file in files:
        assert not planted_in(file.read_bytes().decode(errors="replace")), file


def test_a_spec_shows_no_secret(mock, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", PLANTED["key"])
    spec = LoadSpec(
        url=url(mock, "echo"),
        model="mock",
        headers=(f"X-One: {PLANTED['header']}",),
        extra_body=json.dumps({"api_key": PLANTED["body"]}),
    )
    shown = [repr(spec), json.dumps(spec.to_dict()), spec.as_code(), command_line("load", spec)]
    assert not planted_in(" ".join(shown))
    assert "api-version=1" in spec.url
    assert spec.headers == ("X-One",)
    assert LoadSpec.from_dict(spec.to_dict()) == spec
    assert not planted_in(" ".join(f"{f.cause} {f.remedy}" for f in run(spec).failures))


@pytest.mark.parametrize(
    "wrong",
    [
        {"headers": (f"{PLANTED['broken']} and no colon",)},
        {"headers": (f"X-One: two\n{PLANTED['broken']}",)},
        {"extra_body": f'{{"api_key": "{PLANTED["broken"]}"'},
        {"url": f"http://user:{PLANTED['password']}@host:port/v1"},
        {"url": f"ftp://user:{PLANTED['password']}@host"},
        {"headers": ("X-Never-Given",)},
    ],
)
def test_what_is_refused_is_not_repeated(mock, wrong):
    values = {"url": mock.url, "model": "mock", "duration_s": 0.2, "calibrate": False} | wrong
    with pytest.raises(WorkbenchError) as caught:
        run(LoadSpec(**values))
    assert not planted_in(f"{caught.value} {caught.value.__cause__}")


def test_a_key_of_two_lines_is_refused_without_being_shown(mock, monkeypatch):
    monkeypatch.setenv("A_KEY", f"{PLANTED['line']}\n{PLANTED['other']}")
    with pytest.raises(WorkbenchError, match="A_KEY") as caught:
        run(LoadSpec(url=mock.url, model="mock", api_key_env="A_KEY"))
    assert not planted_in(str(caught.value))


def test_a_signal_stops_the_load_and_keeps_what_was_measured(tmp_path):
    with MockProcess(MockSettings(ttft_s=0.005, itl_s=0.001)) as server:
        manager = JobManager(tmp_path)
        spec = LoadSpec(
            url=server.url, model="mock", rate_per_s=40.0, duration_s=60.0, output_tokens=8, calibrate=False
        )
        job = manager.submit(LoadSpec.kind, spec.to_dict())

        def end():
            while len(server.truth()) < 20:
                time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=end, daemon=True).start()
        view = follow(manager, job, Console(quiet=True), keeps_partial=True)
        assert view.state is JobState.DONE
        n_sent = len(server.truth())
        found = manager.result(job)
        answers = found.row(LoadResult)
        assert 0 < answers.stopped_after_s < 60
        assert answers.counts.ok >= 10
        assert answers.counts.failed == 0
        assert answers.counts.ok + answers.counts.cancelled == answers.counts.due
        assert any("stopped after" in part for part in load_tables(found) if isinstance(part, str))
        assert len(server.truth()) == n_sent  # nothing is sent any more


def test_an_interrupt_between_two_steps_is_raised_inside_the_measurement():
    seen = []

    def measurement():
        try:
            yield 1
            yield 2
        except KeyboardInterrupt:
            seen.append("kept")
        yield 3

    items = _interruptible(measurement())
    assert next(items) == 1
    assert items.throw(KeyboardInterrupt()) == 3
    assert seen == ["kept"]


@pytest.mark.parametrize(("status", "before"), [(200, b"data: "), (500, b"")])
@pytest.mark.parametrize("at", range(270, 305, 5))
def test_no_part_of_a_key_is_left_where_an_error_is_cut(status, before, at):
    finished = []
    driver = SimpleNamespace(finished=finished.append, redacted=lambda text: redacted(text, (PLANTED["key"],)))
    flight = Flight(index=0, due_ns=0, driver=driver, input_tokens=1, output_tokens=1, conversation=0)
    flight.received(1, before + b"x" * at + PLANTED["key"].encode() + b" and more\n\n")
    flight.ended(2, SimpleNamespace(status=status, headers={}), None)
    assert finished == [flight]
    assert "xxx" in flight.error
    assert PLANTED["key"][:4] not in flight.error
