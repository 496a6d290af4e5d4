"""Every launch command of plans for many models and devices is one that vLLM's own argument parser takes."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest

from workbench.catalog.models import catalog_models
from workbench.engines.environments import install
from workbench.estimate.device_calibration import offers
from workbench.estimate.launch import launch_command
from workbench.estimate.search import Load, plans
from workbench.telemetry.devices import chosen_device

CHILD = Path(__file__).parents[1] / "support" / "vllm_arguments.py"
LOAD = Load(requests_per_s=2, input_tokens=512, output_tokens=64, ttft_s=20.0, tpot_s=0.5)
DEVICES = ("h100-sxm", "t4", "h200-sxm", "a100-sxm-80", "l4", "b200-sxm", "v100-sxm2-32", "mi300x", "rtx4090", "a10g")
OFFERS = [offers([device]) for device in DEVICES]
PLANNED = [m for m in catalog_models().values() if m.kv_layers]
MODELS = [PLANNED[i] for i in np.linspace(0, len(PLANNED) - 1, 40).round().astype(int)]


@pytest.fixture(scope="module")
def parser():
    """vLLM's parser in its own environment; it is imported while the plans are made."""
    python = install("vllm", device=chosen_device("auto").kind, tell=print).python
    with subprocess.Popen([python, CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        yield child


def test_every_launch_command_is_parsed_by_vllm(parser):
    asked = {}
    for i, model in enumerate(MODELS):
        for plan in plans(model, LOAD, OFFERS[i % len(OFFERS)], group_sizes=(1, 2, 8)):
            if plan.reason is None:
                line = launch_command(model.name, plan, LOAD, spec=model).splitlines()[-1]
                asked.setdefault(re.sub(r"(--max-num-seqs) \d+", r"\1 N", line), (line, plan))
    asked = dict(asked.values())  # one of each that differ in the number of sequences alone
    assert len(asked) > 300
    commands = [shlex.split(line) for line in asked]
    assert {tuple(words[:2]) for words in commands} == {("vllm", "serve")}
    out, _ = parser.communicate("".join(json.dumps(words[2:]) + "\n" for words in commands))
    answers = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert [(c, a["error"]) for c, a in zip(asked, answers, strict=True) if "error" in a] == []
    for plan, parsed in zip(asked.values(), answers, strict=True):
        split = plan.split
        assert parsed["tensor_parallel_size"] == split.tensor
        assert (parsed["pipeline_parallel_size"], parsed["data_parallel_size"]) == (split.pipeline, split.data)
        assert parsed["max_model_len"] >= LOAD.input_tokens + LOAD.output_tokens
        assert parsed["max_num_seqs"] * split.data >= plan.concurrency
        assert (parsed["dtype"] == "half") == (plan.device_id in {"t4", "v100-sxm2-32"})
        assert "(" not in parsed["model_tag"]
    assert {p.precision for p in asked.values()} >= {"bf16", "fp8", "w4a16", "mxfp4", "nvfp4"}
