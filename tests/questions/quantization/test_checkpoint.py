"""Checkpoints by the real llm-compressor, evaluated by us and by the real vLLM; nothing half-made is left behind."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file, save_file

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.compress.checkpoint_maker import Request
from workbench.compress.maker_call import MakerFailed, made_checkpoint
from workbench.core.errors import InvalidSpec, WorkbenchError
from workbench.engines.environments import install
from workbench.measuring.envelope import measured
from workbench.questions.quantization.checkpoint.rows import CheckpointResult
from workbench.questions.quantization.checkpoint.spec import CheckpointSpec
from workbench.questions.quantization.evaluation.rows import CandidateResult, original_of
from workbench.questions.quantization.evaluation.spec import EvaluationSpec, kl_band
from workbench.telemetry.devices import chosen_device

pytestmark = pytest.mark.slow
PLAN = {"qkv": "w8a8", "gate_up": "w4a16", "down_proj": "w4a16"}
SCHEMES = ("rtn-w4a16", "gptq-w4a16", "mixed")


@pytest.fixture(scope="session")
def environment():
    return install("llmcompressor", device=chosen_device("auto").kind, tell=print)


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    out = tmp_path_factory.mktemp("checkpoints")
    return CheckpointSpec(
        model=str(REFERENCE_MODEL), schemes=SCHEMES, plan=PLAN, n_samples=16, sample_tokens=256, out=str(out)
    )


@pytest.fixture(scope="module")
def made(environment, spec, tmp_path_factory):
    *steps, run = measured(spec, tmp_path_factory.mktemp("job"))
    assert len(steps) > 10
    return {r.scheme: r.folder for r in run.rows(CheckpointResult)}


@pytest.fixture(scope="module")
def evaluated(made, tmp_path_factory):
    install("vllm", device=chosen_device("auto").kind, tell=print)
    spec = EvaluationSpec(
        model=str(REFERENCE_MODEL),
        candidates=(made["rtn-w4a16"], made["gptq-w4a16"], made["mixed"]),
        n_windows=16,
        window_tokens=256,
        n_passkeys=10,
        passkey_tokens=512,
        n_completions=40,
        device="cpu",
    )
    *_, run = measured(spec, tmp_path_factory.mktemp("evaluation"))
    return run


def test_gptq_diverges_less_than_rounding(evaluated):
    rtn, gptq, _ = evaluated.rows(CandidateResult)
    assert gptq.accuracy.mean_kl_nat_per_token.high < rtn.accuracy.mean_kl_nat_per_token.low


def test_a_mixed_checkpoint_gives_the_same_most_likely_tokens_in_vllm(evaluated, made, tmp_path):
    spec = evaluated.asked(EvaluationSpec)
    in_vllm = replace(spec, candidates=(made["mixed"],), n_passkeys=0, n_completions=0, in_vllm=True)
    if "avx512f" not in Path("/proc/cpuinfo").read_text():
        with pytest.raises(WorkbenchError, match="no kernel for 4-bit weights on a processor without AVX-512"):
            list(measured(in_vllm, tmp_path))
        return
    *_, served = measured(in_vllm, tmp_path)
    assert served.row(CandidateResult).vllm_top1_agreement_fraction >= 0.95


def test_questions_are_scored_against_the_reference_with_what_could_have_been_seen(evaluated):
    reference, rtn = original_of(evaluated), evaluated.row(CandidateResult)
    assert reference.passkey.right_fraction >= 0.8
    assert 0 < reference.completion.right_fraction < 0.9
    assert 0 <= rtn.completion.mcnemar_p <= 1
    assert rtn.completion.minimum_detectable_fraction > 0
    assert rtn.kl_band == kl_band(rtn.kl_nat_per_token)


def test_finished_checkpoints_are_not_made_again(made, spec, tmp_path):
    *steps, run = measured(spec, tmp_path)
    assert not [s for s in steps if "Calibrating" in s.step]
    assert {r.scheme: r.folder for r in run.rows(CheckpointResult)} == made


def test_a_checkpoint_that_lacks_tensors_is_named_and_not_scored(made, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(made["rtn-w4a16"], broken)
    tensors = load_file(broken / "model.safetensors")
    lost = "model.layers.2.mlp.down_proj.weight_packed"
    del tensors[lost]
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    spec = EvaluationSpec(
        model=str(REFERENCE_MODEL), candidates=(str(broken),), n_windows=2, n_passkeys=0, n_completions=0
    )
    with pytest.raises(WorkbenchError, match=r"broken.*(lacks|cannot be loaded).*down_proj"):
        list(measured(spec, tmp_path))


@pytest.fixture
def maker_that(tmp_path):
    """Returns an interpreter that, whatever it is to run, writes half a checkpoint and then goes on with the given code."""

    def interpreter(code):
        path = tmp_path / "maker"
        request = "request = json.loads(pathlib.Path(sys.argv[-1]).read_text())"
        half = "out = pathlib.Path(request['out']); out.mkdir(); (out / 'model-1.safetensors').write_bytes(b'half')"
        progress = "print(json.dumps({'step': 'writing', 'done': 97, 'total': 100}), flush=True)"
        lines = (f"#!{sys.executable} -S", "import json, pathlib, sys, time", request, half, progress, code)
        path.write_text("\n".join(lines))
        path.chmod(0o700)
        return path

    return interpreter


REQUEST = Request(model=str(REFERENCE_MODEL), algorithm="rtn", config_groups={}, ignore=[], ids=None, seed=0)


def test_a_failed_maker_leaves_nothing_at_the_target(maker_that, tmp_path):
    python = maker_that("raise OSError('no space left')")
    with pytest.raises(MakerFailed, match="ended with code 1: OSError: no space left"):
        list(made_checkpoint(python, REQUEST, scratch=tmp_path, target=tmp_path / "target"))
    assert not (tmp_path / "target").exists()
    assert not (tmp_path / "unfinished").exists()


def test_a_maker_that_is_stopped_leaves_nothing_at_the_target(maker_that, tmp_path):
    making = made_checkpoint(maker_that("time.sleep(600)"), REQUEST, scratch=tmp_path, target=tmp_path / "target")
    assert next(making).step == "writing"
    making.close()
    assert not (tmp_path / "target").exists()
    assert not [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE and "maker" in p.name()]


def test_calibration_text_that_is_too_short_is_told_with_what_would_fit(environment, tmp_path):
    text = tmp_path / "short.txt"
    text.write_text("import os\n" * 200)
    spec = CheckpointSpec(
        model=str(REFERENCE_MODEL), schemes=("gptq-w4a16",), text=str(text), out=str(tmp_path / "out")
    )
    with pytest.raises(InvalidSpec, match=r"calibration text has \d+ tokens; 64 windows of 512 need 32768"):
        list(measured(spec, tmp_path / "job"))
    assert not (tmp_path / "out").exists()


def test_the_configuration_of_a_mixed_checkpoint_says_so(made, spec):
    config = json.loads((Path(made["mixed"]) / "config.json").read_text())["quantization_config"]
    assert config["format"] == "mixed-precision"
    assert len(config["config_groups"]) == 2
