"""The commands of small devices ask for what their specs say."""

import json

import typer
from typer.testing import CliRunner

from workbench.core.knobs import knobs_of
from workbench.interface.knobs import command_line
from workbench.questions.edge.encoders.command import encode
from workbench.questions.edge.spec import EdgeSpec


def test_the_digit_network_is_no_file_and_a_graph_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    field = knobs_of(EdgeSpec)["model"]
    assert field.from_text("digits") == "digits"
    assert field.from_text("net.onnx") == str(tmp_path / "net.onnx")


def test_batches_follow_the_model_where_none_are_given():
    assert EdgeSpec().timed_batches == (1, 256)
    assert EdgeSpec(model="net.onnx").timed_batches == (1, 32)
    assert EdgeSpec(batches=(4,)).timed_batches == (4,)
    assert command_line("edge", EdgeSpec(batches=(4,), power_w=2.5)) == "workbench edge --batches 4 --power-w 2.5"


def test_encoders_are_estimated():
    app = typer.Typer()
    app.command()(encode)
    reply = CliRunner().invoke(app, ["BAAI/bge-m3", "h200-sxm", "--tokens", "512", "--usd-per-hour", "3.5", "--json"])
    row = json.loads(reply.stdout)
    assert row["provenance"] == "estimated"
    assert row["usd_per_million_inputs"] > 0
    assert {"weights_bytes", "activation_bytes", "flop", "batch_s", "inputs_per_s"} <= set(row)
