"""The options of ``workbench engines compare``, and the command line that the panel prints."""

import json
import shlex

import pytest
import typer
from support import invented_sweep
from typer.testing import CliRunner

from workbench.interface.knobs import command_line
from workbench.questions.engines.command import compare
from workbench.questions.engines.spec import EngineSweepSpec

SPEC = EngineSweepSpec(
    model="data/models/stdlib-9m",
    engines=("vllm", "torch --kv-tokens 4096", "http://host:8000"),
    duration_s=5.0,
    start_rate_per_s=2.0,
    rates_per_s=(4.0, 8.5),
    slo_ttft_s=0.25,
    slo_tpot_s=0.02,
    attainment_fraction=0.95,
    random_weights=True,
    n_cpus=2.0,
)


@pytest.fixture
def invoke(monkeypatch):
    """Run the command; gives its reply and the specs that it would have measured."""
    specs = []

    def measured(kind, spec, *, can_resume):
        assert (kind, can_resume) == ("engine_sweep", True)
        specs.append(EngineSweepSpec.from_dict(spec))
        return invented_sweep()

    monkeypatch.setattr("workbench.interface.command.measured", measured)
    app = typer.Typer()
    app.command()(compare)
    return lambda words: (CliRunner().invoke(app, words), specs)


def test_the_printed_command_line_asks_for_the_same_spec(invoke):
    line = shlex.split(command_line(EngineSweepSpec.command, SPEC))
    assert line[:4] == ["workbench", "engines", "compare", "data/models/stdlib-9m"]
    assert {"--duration", "--start-rate", "--rates", "--slo-ttft", "--slo-tpot", "--attainment", "--cpus"} < set(line)
    reply, specs = invoke(line[3:])
    assert reply.exit_code == 0, reply.output
    assert specs == [SPEC]
    assert "ONNX Runtime meets the SLO up to 8.00 requests/s" in reply.output
    assert "PyTorch (transformers): measured" in reply.output


def test_the_json_form_has_the_documented_keys(invoke):
    reply, _ = invoke(["data/models/stdlib-9m", "--json"])
    run = json.loads(reply.stdout)
    assert {"id", "kind", "spec", "environment", "results", "failures", "provenance"} <= set(run)
    assert "samples" not in run


def test_what_is_no_model_is_refused_before_a_server_starts(invoke):
    reply, specs = invoke(["/no/such/model"])
    assert reply.exit_code == 2
    assert specs == []
