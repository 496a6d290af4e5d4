"""Models unlike the reference: what a method quantizes, its bytes and its logits, recomputed from transformers' own tensors in numpy."""

import re
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.small_models import small_fields

from workbench.catalog.formats import layer_groups
from workbench.compress import torch_model
from workbench.compress.checkpoint_model import CheckpointModel
from workbench.compress.folder import planned_layers
from workbench.compress.layer_damage import LayerDamage, open_layer_damage
from workbench.compress.layers import plain_layers
from workbench.compress.quality import window_quality
from workbench.compress.replaced_linears import NothingQuantized
from workbench.compress.rows import quantized_fraction, quantized_read_fraction
from workbench.compress.spec import QuantizationSpec
from workbench.compress.torch_model import TorchModel
from workbench.core.errors import NotAModel, NotAvailable

pytestmark = pytest.mark.filterwarnings("ignore")
PLAIN = r"(q|k|v|o|gate|up|down)_proj\.weight$"
EXPERTS = r"\.experts\.(gate_up_proj|down_proj)$"
MLA = r"(q_a|q_b|kv_a|kv_b|o|gate|up|down)_proj(_with_mqa)?\.weight$"
QUANTIZED = {
    "llama": PLAIN,
    "qwen3": PLAIN,
    "gemma3_text": PLAIN,
    "cohere": PLAIN,
    "phi3": r"(qkv|o|gate_up|down)_proj\.weight$",
    "starcoder2": r"(q|k|v|o)_proj\.weight$|c_fc\.weight$|mlp\.c_proj\.weight$",
    "gpt2": r"(c_attn|c_proj|c_fc)\.weight$",
    "gpt_neox": r"(query_key_value|dense|dense_h_to_4h|dense_4h_to_h)\.weight$",
    "bloom": r"(query_key_value|dense|dense_h_to_4h|dense_4h_to_h)\.weight$",
    "falcon": r"(query_key_value|dense|dense_h_to_4h|dense_4h_to_h)\.weight$",
    "opt": r"(q|k|v|out)_proj\.weight$|fc[12]\.weight$",
    "mixtral": rf"self_attn.*{PLAIN}|{EXPERTS}",
    "qwen2_moe": rf"{PLAIN}|{EXPERTS}",
    "granitemoe": rf"self_attn.*{PLAIN}|{EXPERTS}",
    "deepseek_v3": rf"{MLA}|{EXPERTS}",
    "gpt_oss": rf"self_attn.*{PLAIN}|{EXPERTS}",
    "llama4_text": rf"{PLAIN}|{EXPERTS}",
    "mamba": r"(in|x|out)_proj\.weight$",
    "falcon_h1": rf"{PLAIN}|(in|out)_proj\.weight$",
    "jamba": rf"{PLAIN}|(in|x|out)_proj\.weight$|{EXPERTS}",
}
"""Parameters of transformers' classes that serving formats quantize, by model type."""
INPUTS_FIRST = {"gpt2": PLAIN + "|c_", "gpt_oss": EXPERTS, "llama4_text": EXPERTS}
"""Parameters that are stored (inputs, outputs)."""
NARROW = ("gpt2", "falcon", "mixtral", "gpt_oss", "deepseek_v3", "mamba")
"""Types that are quantized to four bits as well."""
IDS = torch.arange(3, 35) * 3 % 128


@pytest.fixture(scope="module")
def small():
    """Make a small model with large weights, so that damage shows."""
    from transformers import AutoConfig, AutoModelForCausalLM

    def made(model_type):
        fields = small_fields(model_type)
        config = AutoConfig.for_model(fields.pop("model_type"), **fields)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            for p in model.parameters():
                if p.ndim >= 2:
                    p.mul_(4.0)
        return model

    return made


@pytest.fixture
def variant(monkeypatch):
    def opened(model, method):
        monkeypatch.setattr(torch_model, "load_model", lambda *_, **__: model)
        return TorchModel(QuantizationSpec(model="made"), method, device="cpu")

    return opened


def rounded(weight, *, bits, group):
    """Return (outputs, inputs) on a symmetric grid with a scale for each row or group, and the number of scales."""
    rows, columns = weight.shape
    parts = weight.reshape(rows, -1, group or columns)
    top = 2 ** (bits - 1)
    scale = np.maximum(np.abs(parts).max(-1, keepdims=True) / np.float32(top - 0.5), np.finfo(np.float32).eps)
    # The largest weight lies half a step beyond the grid's end: the reciprocal decides as torchao's does, to which side it goes.
    return (np.clip(np.rint(parts * (1 / scale)), -top, top - 1) * scale).reshape(rows, columns), parts.shape[
        0
    ] * parts.shape[1]


def quantize_by_hand(model, model_type, *, bits, group):
    """Round the parameters of ``QUANTIZED`` in place; return their number, that of all weights, and the bytes of all."""
    pattern, inputs_first = re.compile(QUANTIZED[model_type]), INPUTS_FIRST.get(model_type, "$^")
    n, total, stored = 0, 0, 0.0
    for name, parameter in model.named_parameters():
        total += parameter.numel()
        is_turned = re.search(inputs_first, name) is not None
        if not pattern.search(name) or "router" in name or parameter.shape[-2 if is_turned else -1] % (group or 1):
            stored += 4 * parameter.numel()
            continue
        matrices = parameter.data if parameter.ndim == 3 else parameter.data[None]
        for matrix in matrices:
            weight = (matrix.T if is_turned else matrix).numpy()
            values, n_scales = rounded(weight, bits=bits, group=group)
            matrix.copy_(torch.from_numpy(values.T if is_turned else values))
            stored += weight.size * bits / 8 + 2 * n_scales
        n += parameter.numel()
    return (
        n,
        total,
        stored + sum(b.numel() * b.element_size() for b in model.state_dict().values() if not b.is_floating_point()),
    )


@torch.no_grad()
def answers(model):
    return model(input_ids=IDS[None, :-1], use_cache=False).logits[0]


@pytest.mark.parametrize("model_type", QUANTIZED)
def test_quantized_weights_bytes_and_answers_are_those_of_an_own_calculation(model_type, small, variant):
    original = small(model_type)
    reference = answers(original)
    methods = {"int8-weight": (8, None)} | ({"int4-g32": (4, 32)} if model_type in NARROW else {})
    for method, (bits, group) in methods.items():
        by_hand = deepcopy(original)
        n, total, stored = quantize_by_hand(by_hand, model_type, bits=bits, group=group)
        product = variant(deepcopy(original), method)
        assert sum(c.n_quantized for c in product.coverage) == n
        assert quantized_fraction(product.coverage) == pytest.approx(n / total)
        assert product.weight_bytes == pytest.approx(stored, rel=0.002)
        ours, theirs = (
            window_quality(reference, logits, IDS[1:]) for logits in (product.logits(IDS[:-1]), answers(by_hand))
        )
        assert theirs.kl_nat.mean() > 1e-9
        assert ours.kl_nat.mean() == pytest.approx(theirs.kl_nat.mean(), rel=0.02)
        assert ours.nll_nat.mean() == pytest.approx(theirs.nll_nat.mean(), rel=1e-3)


def test_a_layer_that_computes_something_else_with_its_weight_stays_as_it_is(small, variant):
    quantized = variant(small("deepseek_v4"), "int8-weight")
    assert torch.isfinite(quantized.logits(IDS)).all()
    assert [name for name in quantized.layers.kept if "o_a_proj" in name]
    assert not [name for name in quantized.layers.linears if "o_a_proj" in name]


@pytest.mark.parametrize("model_type", [*QUANTIZED, "deepseek_v4", "jetmoe"])
def test_the_layers_of_a_shape_are_those_of_the_model(model_type, small):
    model = small(model_type)
    with torch.device("meta"):
        shape = type(model)(model.config).eval()
    assert list(plain_layers(shape).linears) == list(plain_layers(model).linears)


def test_a_layer_with_as_many_outputs_as_there_are_experts_is_no_router():
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = small_fields("qwen2_moe") | {"num_experts": 32, "moe_intermediate_size": 16}
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config).eval()
    layers = plain_layers(model)
    assert {"model.layers.0.mlp.shared_expert.gate_proj", "model.layers.0.mlp.experts.31.gate_up_proj"} <= set(
        layers.linears
    )
    weights = {c.kind: c.n_weights for c in layers.coverage(())}
    assert weights["router"] == 2 * (32 * 64 + 64)  # the gates of the experts and of the shared one, in two layers


def test_a_token_reads_its_experts_alone(small, variant):
    coverage = {c.kind: c for c in variant(small("mixtral"), "int8-weight").coverage}
    experts = coverage["experts"]
    assert experts.n_read_per_token == pytest.approx(experts.n_weights / 2)  # 2 of 4
    assert quantized_read_fraction(tuple(coverage.values())) < 1
    assert coverage["router"].n_quantized == coverage["head"].n_quantized == 0


def test_a_method_that_reaches_no_layer_or_only_some_kinds_has_no_row(small, variant):
    with pytest.raises(NotAvailable, match=r"experts layer.*32 .*no multiple of 128|every linear layer"):
        variant(small("mixtral"), "int4-g128")
    model = small("gpt2")
    for name, module in list(model.named_modules()):
        if type(module).__name__ == "Conv1D":
            model.set_submodule(name, torch.nn.Identity())
    with pytest.raises(NothingQuantized):
        variant(model, "int8-weight")


@pytest.mark.parametrize("model_type", ["aria_text", "dbrx", "inkling_text"])
def test_experts_in_tensors_of_a_layout_that_is_not_known_are_never_left_out_without_a_word(
    model_type, small, variant, tmp_path
):
    with pytest.raises(NotAvailable, match=r"experts of this architecture .*layout that is not known"):
        variant(small(model_type), "int8-weight")
    with pytest.raises(NotAvailable, match=r"experts of this architecture .*layout that is not known"):
        LayerDamage(small(model_type))
    small(model_type).config.save_pretrained(tmp_path)
    with pytest.raises(NotAvailable, match=r"experts of this architecture .*layout that is not known"):
        planned_layers(str(tmp_path))


@pytest.mark.parametrize("model_type", ["mixtral", "gpt2", "phi3"])
def test_the_damage_of_a_plan_reaches_experts_conv1d_and_fused_layers(model_type, small):
    damage = LayerDamage(small(model_type))
    groups = layer_groups(damage.linears)
    windows = IDS[None].numpy()
    damage.remember("text", windows)
    for group in groups:
        with damage.applied({group.name: "w8a16"}):
            assert damage.kl_nat("text").mean() > 0, group.name
    share = quantized_fraction(damage.coverage({g.name: "w8a16" for g in groups}))
    assert share == pytest.approx(
        quantize_by_hand(small(model_type), model_type, bits=8, group=None)[0]
        / sum(p.numel() for p in small(model_type).parameters())
    )


@torch.no_grad()
def test_a_damage_near_the_rounding_of_float32_is_not_lost(small):
    model = small("cohere")  # its logits are scaled by 1/16
    damage = LayerDamage(model)
    group = layer_groups(damage.linears)[0]
    damage.remember("text", IDS[None].numpy())
    before = torch.log_softmax(model(input_ids=IDS[None]).logits[0].double(), -1)
    with damage.applied({group.name: "w8a16"}):
        after = torch.log_softmax(model(input_ids=IDS[None]).logits[0].double(), -1)
        expected = float((before.exp() * (before - after)).sum(-1).mean())
        assert 0 < expected < 1e-7
        assert damage.kl_nat("text") == pytest.approx([expected], rel=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("model_type", ["mamba", "rwkv", "falcon_h1", "bloom"])
def test_timed_steps_decode_with_what_the_class_keeps_of_earlier_tokens(model_type, small, variant):
    model = small(model_type)
    own = deepcopy(model)
    timed = variant(model, "fp32")
    timed.spec = replace(timed.spec, prompt_tokens=20, decode_tokens=4)
    ids = timed._prompt(1, 20)
    first = own(input_ids=ids, use_cache=False).logits[:, -1].argmax(-1, keepdim=True)
    ids = torch.cat([ids, first], dim=1)
    for token in timed.decoded(1)[0]:
        top = own(input_ids=ids, use_cache=False).logits[0, -1]
        assert top.max() - top[token] < 1e-3 * top.std()
        ids = torch.cat([ids, token[None, None]], dim=1)
    assert timed.prefill_s() > 0


@pytest.mark.parametrize("model_type", ["mamba", "bloom"])
def test_steps_over_a_cache_of_fixed_size_that_would_answer_otherwise_are_not_compiled(model_type, small, monkeypatch):
    monkeypatch.setattr(torch_model, "load_model", lambda *_, **__: small(model_type))
    spec = QuantizationSpec(model="made", compile="on")
    assert TorchModel(spec, "fp32", device="cpu").execution == "eager"


def test_a_model_that_sees_later_tokens_is_refused(small, tmp_path):
    small("bert").save_pretrained(tmp_path)
    for opened in (
        lambda: TorchModel(QuantizationSpec(model=str(tmp_path)), "fp32", device="cpu"),
        lambda: open_layer_damage(str(tmp_path), device="cpu", threads=1),
        lambda: CheckpointModel(str(tmp_path), device="cpu", threads=1),
    ):
        with pytest.raises(NotAModel, match="BertLMHeadModel reads the tokens that it should predict"):
            opened()


def test_a_class_that_decodes_otherwise_than_it_reads_has_likelihoods_and_no_answers(small, tmp_path):
    small("moshi").save_pretrained(tmp_path)  # its mask looks back further than the window of its cache
    said = "Moshi.* token by token than at once"
    with pytest.raises(NotAvailable, match=said):
        TorchModel(QuantizationSpec(model=str(tmp_path)), "fp32", device="cpu")
    scored = CheckpointModel(str(tmp_path), device="cpu", threads=1)
    assert torch.isfinite(scored.all_logits(IDS[None].numpy())[0]).all()
    with pytest.raises(NotAvailable, match=said):
        scored.continued([IDS.numpy()], n_tokens=2)
