"""Inputs of different lengths: dynamic padding answers the same with fewer tokens, or it is said why nothing was compared."""

import json

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from workbench.app.ledger import ledger
from workbench.catalog.ledger import key_of
from workbench.catalog.paths import MEASURED
from workbench.core.errors import InvalidSpec, NotAvailable
from workbench.core.runs import last_run
from workbench.measuring.envelope import Record, measured
from workbench.questions.edge.measure.lengths import (
    masked_inputs,
    measure_lengths,
    padded_batches,
    unmasked_inputs,
)
from workbench.questions.edge.rows import LengthsResult
from workbench.questions.edge.spec import EdgeSpec
from workbench.store.runs import read_run_file
from workbench.vision.sessions import Graph

pytestmark = pytest.mark.filterwarnings("ignore")
SHIPPED = MEASURED / "edge_stdlib-9m_lengths_epyc-2-cores.json"


@given(
    st.integers(1, 6).flatmap(lambda b: st.tuples(st.just(b), st.lists(st.integers(1, 99), min_size=b, max_size=60)))
)
def test_dynamic_padding_never_processes_more_and_sorting_never_more_than_that(drawn):
    batch, lengths = drawn
    kept = np.array(lengths[: len(lengths) // batch * batch])
    n_tokens = []
    for padding in ("static", "dynamic", "sorted"):
        plan = padded_batches(kept, batch=batch, padding=padding)
        assert sorted(i for part in plan for i in part.rows) == list(range(len(kept)))
        assert all(part.n_tokens >= kept[part.rows].max() for part in plan)
        n_tokens.append(sum(len(part.rows) * part.n_tokens for part in plan))
    assert len(kept) * kept.max() == n_tokens[0] >= n_tokens[1] >= n_tokens[2] >= kept.sum()


def test_a_causal_graph_answers_padded_texts_as_its_own_class_answers_them_unpadded(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    from workbench.compress.onnx_export import export_onnx

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=50, num_key_value_heads=1, **sizes)).eval()
    export_onnx(model, tmp_path / "lm.onnx", n_checked=24)
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 50, n) for n in (3, 20, 7, 12)]
    inputs = unmasked_inputs(tmp_path / "lm.onnx", texts, "texts")
    assert inputs.lengths.tolist() == [3, 20, 7, 12]
    answer = Graph(tmp_path / "lm.onnx", threads=1)
    with torch.no_grad():
        expected = [model(torch.tensor(ids[None])).logits[0].numpy() for ids in texts]
    for padding in ("static", "dynamic", "sorted"):
        for part in padded_batches(inputs.lengths, batch=2, padding=padding):
            logits = answer.logits(inputs.of(part.rows, part.n_tokens))
            assert logits.shape[:2] == (2, part.n_tokens)
            for own, row in zip(logits, part.rows, strict=True):
                np.testing.assert_allclose(own[: len(texts[row])], expected[row], atol=1e-5)


def graph(folder, *, sides=("N", "length"), pooling="ReduceSum", mask="attention_mask", state=None):
    """Write a graph that pools the masked vectors of tokens, with a state that it does not use where sides are given."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.standard_normal((50, 8)).astype(np.float32), "table"),
        numpy_helper.from_array(np.array([2], np.int64), "last"),
        numpy_helper.from_array(np.array([1], np.int64), "tokens"),
    ]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["vectors"]),
        helper.make_node("Cast", [mask], ["kept"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["kept", "last"], ["column"]),
        helper.make_node("Mul", ["vectors", "column"], ["states"]),
        helper.make_node(pooling, ["states", "tokens"], ["pooled"], keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, sides) for n in ("input_ids", mask)]
    if state:
        inputs.append(helper.make_tensor_value_info("state", TensorProto.FLOAT, state))
    shapes = {"states": (*sides, 8), "pooled": (sides[0], 8)}
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, weights), opset_imports=[helper.make_opsetid("", 18)]
    )
    model.ir_version = 9
    onnx.save(model, str(folder / "net.onnx"))
    return folder / "net.onnx"


def texts(lengths, *, are_at_the_end=False):
    rng = np.random.default_rng(1)
    examples = np.zeros(len(lengths), [(n, np.int64, (16,)) for n in ("input_ids", "attention_mask")])
    for row, n in zip(examples, lengths, strict=True):
        real = slice(16 - n, 16) if are_at_the_end else slice(n)
        row["input_ids"][real] = rng.integers(1, 50, n)
        row["attention_mask"][real] = 1
    return examples


LENGTHS = (3, 12, 5, 9, 2, 7, 11)


def test_a_graph_with_a_mask_is_compared_on_the_readers_inputs(tmp_path):
    record = Record(tmp_path)
    inputs = masked_inputs(graph(tmp_path), texts(LENGTHS), "mine.npz")
    list(measure_lengths(EdgeSpec(model="net.onnx", rounds=5), record, lambda: inputs, sizes=(1, 3, 32), start=0))
    (failure,) = record.failures
    assert failure.cause == "Variable lengths are left out at batch size 32: there are 7 inputs."
    tokens = {(r.batch, r.padding): r.n_tokens for r in record.rows}
    assert tokens == {
        (1, "static"): 84,
        (1, "dynamic"): 49,
        (3, "static"): 6 * 12,
        (3, "dynamic"): 3 * 12 + 3 * 9,
        (3, "sorted"): 3 * 12 + 3 * 5,
    }
    assert all(r.difference_fraction < 1e-6 and r.peak_bytes > 0 for r in record.rows)
    assert all((r.speedup is None) == (r.padding == "static") for r in record.rows)
    assert record.rows[0].lengths.max == 12
    assert record.rows[0].lengths.mean == 7
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.parametrize(
    ("made", "examples", "said"),
    [
        ({"sides": (1, 16)}, texts(LENGTHS), "takes inputs of one length only"),
        ({"state": (2, "N", 4)}, texts(LENGTHS), "do not all begin with the batch"),
        ({}, None, "drawn at random"),
        ({"mask": "kept_ones"}, texts(LENGTHS), "no attention mask"),
        ({}, texts([4, 4, 4]), "the same length"),
        ({}, texts(LENGTHS, are_at_the_end=True), "do not begin with the real tokens"),
    ],
)
def test_what_has_no_lengths_is_refused_in_a_sentence(tmp_path, made, examples, said):
    file = graph(tmp_path, **made)
    with pytest.raises(NotAvailable, match=said):
        masked_inputs(file, examples, "mine.npz")


def test_answers_that_change_with_the_padding_are_not_compared(tmp_path):
    record = Record(tmp_path)
    inputs = masked_inputs(graph(tmp_path, pooling="ReduceMean"), texts(LENGTHS), "mine.npz")
    list(measure_lengths(EdgeSpec(model="net.onnx"), record, lambda: inputs, sizes=(1,), start=0))
    assert record.rows == []
    assert "change with the padding" in record.failures[0].cause


def test_a_graph_of_one_length_is_measured_without_this_part(tmp_path):
    file = graph(tmp_path, sides=("N", 16))
    spec = EdgeSpec(model=str(file), techniques=("fp32",), batches=(1,), rounds=5, variable_lengths=True)
    run = last_run(measured(spec, tmp_path / "job"))
    assert run.rows(LengthsResult) == []
    (failure,) = run.failures
    assert failure.cause.startswith("Variable lengths are left out: The graph takes inputs of one length only")
    with pytest.raises(InvalidSpec, match="one size"):
        EdgeSpec(variable_lengths=True)


def test_the_claims_are_judged_by_the_shipped_run():
    """Expected values are worked out of the stored JSON by hand-written lines, without the program's code."""
    rows = {(r["padding"], r["batch"]): r for r in json.loads(SHIPPED.read_text())["results"] if r["part"] == "lengths"}
    own, static = rows["dynamic", 1], rows["static", 1]
    by = {key_of(e.claim): e.judgement for e in ledger([read_run_file(SHIPPED)], 13)}
    speedup, memory, power = (by[13, "dynamic inference", m] for m in ("speedup", "memory_saving", "power_reduction"))
    assert speedup.value == own["speedup"]["ratio"]
    assert speedup.interval == tuple(own["speedup"]["ratio_interval"])
    assert memory.value == pytest.approx(100 * (1 - own["peak_bytes"] / static["peak_bytes"]))
    assert f"{rows['sorted', 8]['speedup']['ratio']:.2f}× dynamic, after sorting" in speedup.how
    assert "batch size 1" in memory.how
    assert (power.value, power.command.split()[-1]) == (None, "--variable-lengths")


def test_the_shipped_run_answers_the_same_with_fewer_tokens():
    for row in read_run_file(SHIPPED).rows(LengthsResult):
        assert row.difference_fraction < 1e-5
        assert row.n_tokens >= row.lengths.n * row.lengths.mean
        assert (row.n_tokens == row.lengths.n * row.lengths.max) == (row.padding == "static")
