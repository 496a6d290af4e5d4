"""The ONNX graph of a model is the model: windows, experts and all, or it is refused in a sentence."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from workbench.compress import onnx_export
from workbench.compress.calibration_text import CALIBRATION_WINDOWS, calibration_windows
from workbench.compress.onnx_check import check_graph, empty_cache, graph_session, model_answers
from workbench.compress.onnx_export import cached_tensors, export_onnx
from workbench.compress.onnx_graph import LinearLayers
from workbench.compress.onnx_quantize import quantize_graph
from workbench.core.errors import NotAModel, NotAvailable

pytestmark = pytest.mark.filterwarnings("ignore")
WINDOW = 24
SIZES = {"vocab_size": 80, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def windowed_experts():
    """A model with a sliding window, experts, and a feed-forward layer as wide as the hidden states."""
    from transformers import AutoModelForCausalLM, MixtralConfig

    torch.manual_seed(0)
    config = MixtralConfig(
        **SIZES,
        intermediate_size=32,
        num_key_value_heads=1,
        num_local_experts=3,
        num_experts_per_tok=2,
        sliding_window=WINDOW,
        max_position_embeddings=600,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4)
    return model


@pytest.fixture(scope="module")
def answers(windowed_experts):
    return model_answers(windowed_experts, n_tokens=512)


@pytest.fixture(scope="module")
def graph(windowed_experts, tmp_path_factory):
    target = tmp_path_factory.mktemp("export") / "model.onnx"
    export_onnx(windowed_experts, target)
    return target


def divergence(graph, answer):
    session = graph_session(graph)
    own = session.run(["logits"], {"input_ids": answer.ids, **empty_cache(session, len(answer.ids))})[0]
    first, second = (torch.log_softmax(torch.from_numpy(x).double(), -1) for x in (answer.logits, own))
    return (first.exp() * (first - second)).sum(-1).numpy()


def test_windows_and_experts_are_exported(windowed_experts, graph, answers):
    assert divergence(graph, answers[0]).max() < 1e-5  # 512 tokens, far beyond the window
    with torch.no_grad():
        config = windowed_experts.config
        config.sliding_window = None
        try:
            unwindowed = windowed_experts(input_ids=torch.from_numpy(answers[0].ids)).logits.numpy()
        finally:
            config.sliding_window = WINDOW
    assert np.abs(unwindowed - answers[0].logits)[:, WINDOW + 1 :].max() > 0.01  # so the window is seen


def test_a_graph_that_is_not_the_model_is_refused(graph, answers):
    check_graph(graph, answers)
    wrong = answers[0].logits.copy()
    wrong[0, -1, 0] += 0.5
    with pytest.raises(NotAvailable, match="not the model"):
        check_graph(graph, [replace(answers[0], logits=wrong)])


def test_experts_are_quantized_and_routers_are_not(graph, answers, tmp_path):
    layers = LinearLayers(onnx.load(str(graph), load_external_data=False))
    assert len(layers.products) == 4 + 1 + 3 * 2 + 1  # attention, router, gate with up and down of three experts, head
    assert len(layers.names) == 4 + 3 * 2
    assert len(layers.for_int8_activations) == 4 + 3  # the width does not say which one is the down projection
    size = sum(f.stat().st_size for f in graph.parent.iterdir())
    for method in ("onnx-int8-dynamic", "onnx-int4-g32"):
        target = tmp_path / method / "model.onnx"
        target.parent.mkdir()
        quantize_graph(graph, target, method, windows=answers[0].ids, empty={})
        assert sum(f.stat().st_size for f in target.parent.iterdir()) < size
        assert 1e-9 < divergence(target, answers[0]).mean() < 0.5


def test_a_state_besides_keys_and_values_is_refused():
    from transformers import AutoModelForCausalLM, Lfm2Config, MambaConfig

    constant = MambaConfig(vocab_size=80, hidden_size=32, num_hidden_layers=1, state_size=4)
    hybrid = Lfm2Config(**SIZES, intermediate_size=32, num_key_value_heads=1, layer_types=["conv"])
    hybrid.layer_types, hybrid.num_hidden_layers = ["conv", "full_attention"], 2
    for config, said in (
        (constant, "mamba .* keeps no cache of keys and values"),
        (hybrid, "lfm2 .* has the kind LinearAttentionLayer"),
    ):
        with pytest.raises(NotAvailable, match=said):
            cached_tensors(AutoModelForCausalLM.from_config(config).eval())


def test_positions_by_length_and_broken_weights_are_refused(tmp_path):
    from transformers import AutoModelForCausalLM, LlamaConfig

    by_length = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    model = AutoModelForCausalLM.from_config(
        LlamaConfig(**SIZES, intermediate_size=32, rope_parameters=by_length)
    ).eval()
    with pytest.raises(NotAvailable, match="length of the prompt"):
        export_onnx(model, tmp_path / "model.onnx")
    with torch.no_grad():
        model.lm_head.weight[0, 0] = torch.nan
    with pytest.raises(NotAModel, match="not finite"):
        model_answers(model, n_tokens=32)


def test_a_graph_that_cannot_be_run_is_refused(tmp_path, monkeypatch):
    from transformers import AutoModelForCausalLM, LlamaConfig

    ends = [helper.make_tensor_value_info(n, TensorProto.BFLOAT16, ["N"]) for n in ("x", "logits")]
    product = helper.make_node("Mul", ["x", "x"], ["logits"], name="slopes")  # as Falcon's position bias
    imports = [helper.make_opsetid("", onnx_export.OPSET)]
    unrunnable = helper.make_model(
        helper.make_graph([product], "g", ends[:1], ends[1:]), ir_version=10, opset_imports=imports
    )
    monkeypatch.setattr(onnx_export, "_exported", lambda model, cached: unrunnable)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SIZES, intermediate_size=32)).eval()
    with pytest.raises(NotAvailable, match=r"llama cannot be exported to ONNX here: .* cannot run its graph \(Not"):
        export_onnx(model, tmp_path / "model.onnx", n_checked=16)


def test_exporters_reasons_are_one_sentence():
    assert onnx_export.reason(ValueError("Inconsistent:\nEq(a, 1).\nmore")) == "ValueError: Inconsistent: Eq(a, 1)"


def test_the_head_is_found_through_a_soft_cap():
    weights = [numpy_helper.from_array(np.eye(4, dtype=np.float32), name) for name in ("a", "b", "cap")]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"], name="layer"),
        helper.make_node("MatMul", ["h", "b"], ["p"], name="head"),
        helper.make_node("Tanh", ["p"], ["t"], name="tanh"),
        helper.make_node("Mul", ["t", "cap"], ["logits"], name="scale"),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 4]) for n in ("x", "logits")]
    model = helper.make_model(helper.make_graph(nodes, "capped", ends[:1], ends[1:], weights))
    assert LinearLayers(model).names == ["layer"]


def test_calibration_shares_nothing_with_what_is_scored():
    def token_ids(text):
        return np.frombuffer(text.encode()[:60_000], dtype=np.uint8).astype(np.int64)

    free = calibration_windows(token_ids, scored=None, length=128)
    scored = free[:5]
    apart = calibration_windows(token_ids, scored=scored, length=128)
    assert free.shape == apart.shape == (CALIBRATION_WINDOWS, 128)
    assert not {w.tobytes() for w in scored} & {w.tobytes() for w in apart}
