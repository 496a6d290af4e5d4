"""What a checkpoint stores is what it is served in, and other precisions are those with fewer bits."""

from dataclasses import replace

import pytest

from workbench.catalog.model_spec import StoredWeights
from workbench.catalog.models import catalog_models
from workbench.core.errors import InvalidSpec, NotAvailable
from workbench.estimate.device_calibration import offers
from workbench.estimate.precision import (
    STORED,
    chosen_precision,
    offered_precisions,
    roles_of,
    weight_bits_of,
)
from workbench.estimate.prediction import Question, predicted
from workbench.estimate.search import Load, plans, require_kernel
from workbench.estimate.weights import weight_bytes

MODELS = catalog_models()
SEVENTY = MODELS["meta-llama/Meta-Llama-3.1-70B"]
AWQ = replace(SEVENTY, stored=StoredWeights(method="awq", precision="w4a16-asym", n_bytes=39_771_963_392))
LOAD = Load(requests_per_s=1, input_tokens=512, output_tokens=64, ttft_s=10, tpot_s=0.2)


@pytest.mark.parametrize(
    ("model", "official", "others"),
    [
        (SEVENTY, "bf16", {"fp8", "w4a16", "mxfp4", "nvfp4"}),
        (MODELS["deepseek-ai/DeepSeek-V3"], "fp8", {"w4a16", "mxfp4", "nvfp4"}),
        (MODELS["moonshotai/Kimi-K2-Instruct"], "fp8", {"w4a16", "mxfp4", "nvfp4"}),
        (MODELS["openai/gpt-oss-120b"], "mxfp4", set()),
        (AWQ, "w4a16-asym", set()),
    ],
)
def test_a_model_is_offered_as_it_is_stored_and_in_fewer_bits(model, official, others):
    assert chosen_precision(model, STORED) == official
    first, *rest = offered_precisions(model)
    assert (first, set(rest)) == (official, others)


@pytest.mark.parametrize("model", [MODELS["openai/gpt-oss-20b"], MODELS["openai/gpt-oss-120b"], AWQ])
def test_the_weights_of_a_stored_precision_are_the_bytes_of_the_checkpoint(model):
    bits = weight_bits_of(model, chosen_precision(model, STORED))
    assert weight_bytes(model, weight_bits=bits) == pytest.approx(model.stored.n_bytes)


def test_mxfp4_quantizes_the_experts_alone():
    """OpenAI's checkpoint of gpt-oss-120b is 65,248,815,744 bytes: experts in 4.25 bits, all else in 16."""
    model = replace(MODELS["openai/gpt-oss-120b"], stored=None)
    counted = weight_bytes(model, weight_bits=weight_bits_of(model, "mxfp4"))
    assert counted == pytest.approx(65_248_815_744, rel=0.005)
    roles = roles_of(model, "mxfp4")
    assert roles.pop("gate_up") == "mxfp4"
    assert set(roles.values()) == {"bf16"}
    assert set(roles_of(SEVENTY, "mxfp4").values()) == {"mxfp4"}


def test_a_checkpoint_that_no_format_is_like_is_refused_with_the_way_out():
    odd = replace(SEVENTY, stored=StoredWeights(method="bitsandbytes", precision=None, n_bytes=40 * 10**9))
    with pytest.raises(NotAvailable, match="stored as bitsandbytes") as refused:
        plans(odd, LOAD, offers(["h200-sxm"]))
    assert "--precision" in refused.value.remedy
    assert plans(odd, LOAD, offers(["h200-sxm"]), precisions=("w4a16",))[0].reason is None


@pytest.mark.parametrize("device", ["t4", "a100-sxm-80", "l4", "h100-sxm", "b200-sxm", "mi300x"])
@pytest.mark.parametrize("precision", ["bf16", "fp8", "w8a8", "w4a16", "mxfp4", "nvfp4", "w3a16"])
def test_estimate_and_plan_refuse_the_same(device, precision):
    (offer,) = offers([device])
    eight = MODELS["meta-llama/Meta-Llama-3.1-8B"]
    found = plans(eight, LOAD, [offer], precisions=(precision,), group_sizes=(8,), kv_bits=(16,))
    has_kernel = not any("no kernel" in (p.reason or "") for p in found)
    if not has_kernel:
        with pytest.raises(InvalidSpec, match="no kernel"):
            require_kernel(offer, precision)
        return
    require_kernel(offer, precision)
    question = Question(precision=precision)
    made = predicted(eight, offer.machine, question, memory_bytes=offer.memory_bytes, is_own=offer.is_calibrated)
    assert made.tpot_s.value > 0
    assert {p.kernel for p in found} == {offer.machine.kernels[precision]}


def test_a_device_without_bf16_is_planned_in_fp16_beside_the_others():
    found = plans(MODELS["meta-llama/Meta-Llama-3.1-8B"], LOAD, offers(["t4", "v100-sxm2-32", "h100-sxm"]))
    good = {p.device_id: p for p in reversed(found) if p.reason is None and p.precision == "bf16"}
    assert set(good) == {"t4", "v100-sxm2-32", "h100-sxm"}
    assert [(good[d].kernel, good[d].dtype) for d in ("t4", "h100-sxm")] == [("fp16", "half"), ("bf16", "auto")]


def test_a_70b_in_awq_is_served_by_one_a100():
    best = next(p for p in plans(AWQ, LOAD, offers(["a100-sxm-80"])) if p.reason is None)
    assert best.total_devices == 1
    assert best.precision == "w4a16-asym"
