"""``workbench devices``, ``models`` and ``prices``, as a shell calls them."""

import json

import pytest
from typer.testing import CliRunner

from workbench.app.main import app
from workbench.catalog.own_tables import DEVICES
from workbench.catalog.paths import REFERENCE_MODEL

CARD = (
    "devices",
    "add",
    "my-card",
    "--mem-bw-gbs",
    "864",
    "--memory-gb",
    "48",
    "--bf16-tflops",
    "181",
    "--source",
    "x",
)


def call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def rows(*arguments):
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_device_is_added_listed_checked_and_estimated_with():
    assert call(*CARD).exit_code == 0
    (card,) = [d for d in rows("devices", "list") if d["is_own"]]
    assert (card["id"], card["memory_bytes"], card["usd_per_hour"]) == ("my-card", 48e9, None)
    assert rows("devices", "check")["problems"] == []
    assert call("prices", "add", "my-card", "0.75").exit_code == 0
    (card,) = rows("devices", "list", "my-card")
    assert card["usd_per_hour"] == 0.75
    assert [p["usd_per_gpu_hour"] for p in rows("prices", "list", "my-card")] == [0.75]
    estimate = rows("estimate", "Qwen/Qwen3-8B", "my-card")
    assert estimate


def test_a_device_like_another_names_both_sources():
    assert (
        call("devices", "add", "h100-94", "--like", "h100-sxm", "--memory-gb", "94", "--source", "our rack").exit_code
        == 0
    )
    (card,) = rows("devices", "list", "h100-94")
    assert (card["memory_bytes"], card["bandwidth_bytes_per_s"]) == (94e9, 3.35e12)
    assert card["source"].startswith("our rack; otherwise as h100-sxm: ")


def test_a_model_is_shown_and_added_as_it_is_understood():
    view = rows("models", "show", REFERENCE_MODEL)
    assert (view["kind"], view["n_layers"], view["contexts"][0]["context_tokens"]) == ("decoder", 5, 8192)
    assert view["n_params"] == json.loads((REFERENCE_MODEL / "training.json").read_text())["n_parameters"]
    assert call("models", "add", REFERENCE_MODEL, "--name", "team/small").exit_code == 0
    again = rows("models", "show", "team/small")
    assert {k: v for k, v in again.items() if k not in {"name", "source"}} == {
        k: v for k, v in view.items() if k not in {"name", "source"}
    }
    assert [m["name"] for m in rows("models", "list") if m["is_own"]] == ["team/small"]


def test_a_model_is_added_by_its_numbers():
    numbers = (
        "--layers",
        32,
        "--hidden",
        4096,
        "--heads",
        32,
        "--kv-heads",
        8,
        "--vocab",
        128000,
        "--max-context",
        4096,
    )
    lacking = call("models", "add", "team/odd-7b", "--params", "7e9", *numbers)
    assert lacking.exit_code == 2
    assert "--source" in lacking.output
    assert call("models", "add", "team/odd-7b", "--params", "7e9", *numbers, "--source", "paper").exit_code == 0
    view = rows("models", "show", "team/odd-7b")
    assert (view["kv_bf16_bytes_per_token"], view["n_active_params"]) == (32 * 2 * 8 * 128 * 2, 7e9)


def test_an_encoder_is_shown_too():
    assert rows("models", "show", "BAAI/bge-m3")["kind"] == "encoder"


def test_siblings_come_with_the_reason_why_the_hub_was_not_asked(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = rows("models", "siblings", "Qwen/Qwen3-32B")
    assert found["hub"] == "the environment forbids to ask the hub"
    assert [s["sibling"] for s in found["siblings"]] == ["Qwen/Qwen3-32B-FP8", "Qwen/Qwen3-32B-AWQ"]
    assert "Qwen/Qwen3-32B-FP8" in call("models", "siblings", "Qwen/Qwen3-32B").stdout


def test_the_prices_of_all_devices_have_a_range_and_a_mark_of_age():
    h100 = next(p for p in rows("prices", "list") if p["device_id"] == "h100-sxm")
    assert h100["low"]["usd_per_gpu_hour"] < h100["usd_per_gpu_hour"] < h100["high"]["usd_per_gpu_hour"]
    assert h100["n_stale"] > 0
    text = call("prices", "list").stdout
    assert "Estimated at the median provider" in text


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("devices", "add", "<b>", "--mem-bw-gbs", "1", "--source", "x"), "is no id"),
        (("devices", "add", "card", "--source", "x"), "mem_bw_gbs"),
        (("devices", "add", "card", "--mem-bw-gbs", "1", "--set", "colour=red", "--source", "x"), "no column 'colour'"),
        (("devices", "add", "card", "--mem-bw-gbs", "1"), "a source"),
        (("devices", "add", "card", "--like", "h100", "--source", "x"), "Did you mean"),
        (("devices", "list", "h101"), "There is no device h101"),
        (("devices", "check"), "no devices of your own"),
        (("prices", "add", "h100", "2"), "Did you mean"),
        (("prices", "add", "h100-sxm", "0"), "no price above zero"),
        (("models", "add"), "No model is named"),
        (("models", "show", "llama3-8b"), "Did you mean meta-llama/Meta-Llama-3.1-8B"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_and_nothing_is_written(command, says):
    result = call(*command)
    assert result.exit_code == 2
    assert says in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert not DEVICES.file.exists()


def test_all_rows_of_a_file_are_added_or_none(tmp_path):
    file = tmp_path / "cards.csv"
    head = "id,name,mem_bw_gbs,provenance,source"
    file.write_text(f"{head}\na,A,100,own,x\nb,B,fast,own,x\n")
    wrong = call("devices", "check", file)
    assert wrong.exit_code == 2
    assert "mem_bw_gbs" in wrong.output
    assert call("devices", "add", "--from", file).exit_code == 2
    assert not DEVICES.file.exists()
    file.write_text(f"{head}\na,A,100,own,x\nb,B,200,own,x\n")
    assert call("devices", "add", "--from", file).exit_code == 0
    assert {d["id"] for d in rows("devices", "list") if d["is_own"]} == {"a", "b"}
