"""Graphs of all kinds: measured as they are, or refused in one sentence."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from workbench.core.errors import InvalidSpec, NotAModel
from workbench.core.runs import last_run
from workbench.measuring.envelope import measured
from workbench.questions.edge.measure.answers import all_outputs, classes, similarity
from workbench.questions.edge.measure.graph import graph_subject
from workbench.questions.edge.rows import VariantResult
from workbench.questions.edge.spec import EdgeSpec

pytestmark = pytest.mark.filterwarnings("ignore")
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
RNG = np.random.default_rng(0)


def stored(name, *shape):
    return numpy_helper.from_array((RNG.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32), name)


def graph(nodes, inputs, outputs, weights, *, opset=13):
    ends = [[helper.make_tensor_value_info(n, kind, sides) for n, kind, sides in infos] for infos in (inputs, outputs)]
    made = helper.make_graph(
        [helper.make_node(*n[:3], **(n[3] if len(n) > 3 else {})) for n in nodes], "g", *ends, weights
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 9
    return model


def dense(batch="N", opset=13, kind="Gemm"):
    nodes = [(kind, ["x", "w"], ["h"]), ("Relu", ["h"], ["r"]), (kind, ["r", "v"], ["y"])]
    return graph(
        nodes,
        [("x", FLOAT, [batch, 64])],
        [("y", FLOAT, [batch, 10])],
        [stored("w", 64, 64), stored("v", 64, 10)],
        opset=opset,
    )


def tokens(sides):
    nodes = [
        ("Gather", ["table", "input_ids"], ["h"]),
        ("Cast", ["attention_mask"], ["m"], {"to": FLOAT}),
        ("Unsqueeze", ["m", "axis"], ["u"]),
        ("Mul", ["h", "u"], ["k"]),
        ("MatMul", ["k", "w"], ["states"]),
        ("ReduceMean", ["states"], ["pooled"], {"axes": [1], "keepdims": 0}),
    ]
    weights = [stored("table", 50, 32), stored("w", 32, 32), numpy_helper.from_array(np.array([2], np.int64), "axis")]
    outputs = [("states", FLOAT, [*sides, 32]), ("pooled", FLOAT, [sides[0], 32])]
    return graph(nodes, [(n, INT64, sides) for n in ("input_ids", "attention_mask")], outputs, weights)


def attention():
    nodes = [("MatMul", ["x", f"w{k}"], [k]) for k in "qkv"]
    nodes += [("Attention", list("qkv"), ["a"], {"q_num_heads": 4, "kv_num_heads": 4}), ("MatMul", ["a", "wo"], ["y"])]
    ends = [[(n, FLOAT, ["N", 16, 64])] for n in "xy"]
    return graph(nodes, *ends, [stored(f"w{k}", 64, 64) for k in "qkvo"], opset=23)


def hard_coded_batch():
    nodes = [("Reshape", ["x", "one"], ["r"]), ("MatMul", ["r", "w"], ["y"])]
    one = numpy_helper.from_array(np.array([1, 64], np.int64), "one")
    return graph(nodes, [("x", FLOAT, ["N", 64])], [("y", FLOAT, ["N", 10])], [one, stored("w", 64, 10)])


def unlike_firsts():
    nodes = [("MatMul", ["x", "w"], ["h"]), ("Mul", ["h", "scale"], ["y"])]
    return graph(
        nodes, [("x", FLOAT, ["N", 64]), ("scale", FLOAT, [10])], [("y", FLOAT, ["N", 10])], [stored("w", 64, 10)]
    )


def subject(model, folder, **asked):
    file = folder / "net.onnx"
    onnx.save(model, str(file))
    return graph_subject(EdgeSpec(model=str(file), **asked), folder / "graphs")


@pytest.mark.parametrize(
    ("model", "batch", "fields", "made"),
    [
        (dense(), None, {"x": (64,)}, {"int8-static", "int8-dynamic", "int8-dynamic-dense", "int4"}),
        (dense(4, opset=11, kind="MatMul"), 4, {"x": (64,)}, {"int8-static", "int4"}),
        (dense(opset=20), None, {"x": (64,)}, {"int8-static", "int8-dynamic", "int4"}),
        (attention(), None, {"x": (16, 64)}, {"int8-static", "int8-dynamic", "int4"}),
        (tokens(["N", "length"]), None, {"input_ids": (64,), "attention_mask": (64,)}, {"int8-dynamic", "int4"}),
        (tokens([1, 16]), 1, {"input_ids": (16,), "attention_mask": (16,)}, {"int8-dynamic", "int4"}),
        (hard_coded_batch(), 1, {"x": (64,)}, {"int8-static", "int4"}),
        (unlike_firsts(), 1, {"x": (1, 64), "scale": (10,)}, {"int8-dynamic", "int4"}),
    ],
)
def test_graphs_are_answered_whatever_their_inputs(tmp_path, model, batch, fields, made):
    own = subject(model, tmp_path)
    assert own.batch == batch
    assert {name: own.inputs.dtype[name].shape for name in own.inputs.dtype.names} == fields
    assert made <= set(own.variants)
    base = all_outputs(own.variants["fp32"].runner, own.inputs, own.batch)
    for technique in made:
        near = similarity(all_outputs(own.variants[technique].runner, own.inputs, own.batch), base)
        assert 0.9 < near.cosine_mean < 1
        assert 0 < near.difference_fraction < 0.3


def in_constants():
    model = dense(kind="MatMul")
    constants = [helper.make_node("Constant", [], [t.name], value=t) for t in model.graph.initializer]
    nodes = [*constants, *model.graph.node]
    made = helper.make_graph(nodes, "g", model.graph.input, model.graph.output)
    return helper.make_model(made, opset_imports=model.opset_import, ir_version=9)


def in_a_function(*body):
    given = [name for node in body for name in node.input if name in {"p", "k", "s", "z"}]
    names = list(dict.fromkeys(["p", *given]))
    function = helper.make_function("own", "Dense", names, ["o"], list(body), [helper.make_opsetid("", 13)])
    call = helper.make_node("Dense", ["x", *names[1:]], ["y"], domain="own")
    weights = [
        stored("k", 64, 32),
        numpy_helper.from_array(np.float32(0.05), "s"),
        numpy_helper.from_array(np.int8(0), "z"),
    ]
    ends = [[helper.make_tensor_value_info(n, FLOAT, ["N", side])] for n, side in (("x", 64), ("y", 32))]
    made = helper.make_graph([call], "g", *ends, [w for w in weights if w.name in names])
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("own", 1)]
    return helper.make_model(made, opset_imports=opsets, functions=[function], ir_version=9)


@pytest.mark.parametrize(
    "model",
    [in_constants(), in_a_function(helper.make_node("MatMul", ["p", "k"], ["o"]))],
    ids=["constants", "function"],
)
def test_weights_are_found_wherever_a_graph_keeps_them(tmp_path, model):
    own = subject(model, tmp_path)
    assert {"int8-static", "int8-dynamic", "int4"} <= set(own.variants)
    assert not own.failures


def test_operations_inside_a_function_say_that_a_graph_is_quantized(tmp_path):
    make = helper.make_node
    body = make("QuantizeLinear", ["p", "s", "z"], ["q"]), make("DequantizeLinear", ["q", "s", "z"], ["d"])
    own = subject(in_a_function(*body, make("MatMul", ["d", "k"], ["o"])), tmp_path)
    assert set(own.variants) == {"fp32"}
    assert "quantized already" in own.failures[0].cause


def test_weights_beside_the_graph_are_read_and_counted(tmp_path):
    inside = subject(dense(), tmp_path).variants["fp32"].runner.n_bytes
    file = tmp_path / "outside.onnx"
    onnx.save_model(dense(), str(file), save_as_external_data=True, location="w.bin", size_threshold=0)
    own = graph_subject(EdgeSpec(model=str(file), techniques=("fp32", "int4")), tmp_path / "graphs")
    assert own.variants["fp32"].runner.n_bytes == pytest.approx(inside, rel=0.05)
    (tmp_path / "w.bin").unlink()
    with pytest.raises(NotAModel, match=r"w\.bin"):
        graph_subject(EdgeSpec(model=str(file)), tmp_path / "graphs")


def test_a_quantized_graph_is_said_to_be_one(tmp_path):
    made = subject(dense(), tmp_path).variants["int8-dynamic"].graphs[0]
    own = graph_subject(EdgeSpec(model=str(made)), tmp_path / "again")
    assert set(own.variants) == {"fp32"}
    assert "quantized already" in own.variants["fp32"].note
    assert "MatMulInteger" in own.failures[0].cause


def test_a_technique_that_replaces_nothing_is_left_out(tmp_path):
    nodes = [("Relu", ["x"], ["r"]), ("Mul", ["r", "s"], ["y"])]
    model = graph(nodes, [("x", FLOAT, ["N", 8])], [("y", FLOAT, ["N", 8])], [stored("s", 8)])
    own = subject(model, tmp_path)
    assert set(own.variants) == {"fp32"}
    assert all("whose weights" in f.cause for f in own.failures)
    assert len(own.failures) == 4


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"input_ids": np.zeros((9, 5), int)}, "attention_mask"),
        ({"input_ids": np.full((9, 5), 50), "attention_mask": np.ones((9, 5), int)}, "50 rows"),
        ({"input_ids": np.full((9, 5), 0.5), "attention_mask": np.ones((9, 5), int)}, "whole numbers"),
        ({"input_ids": np.zeros((9, 5), int), "attention_mask": np.ones((8, 5), int)}, "examples"),
        ({"input_ids": np.zeros(9, int), "attention_mask": np.ones((9, 5), int)}, "shape"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(tmp_path, arrays, said):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(InvalidSpec, match=said):
        subject(tokens(["N", "length"]), tmp_path, data=str(tmp_path / "d.npz"))


def test_inputs_of_a_file_are_calibrated_on_or_tested_never_both(tmp_path):
    given = np.arange(40 * 64, dtype=np.float32).reshape(40, 64) / 2560
    np.savez(tmp_path / "d.npz", x=given, y=np.zeros(40, int))
    own = subject(dense(), tmp_path, data=str(tmp_path / "d.npz"))
    assert np.array_equal(own.inputs["x"], given[10:])
    assert len(own.labels) == 30


def test_what_cannot_be_measured_is_refused_in_a_sentence(tmp_path):
    infinite = dense()
    infinite.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((64, 64), np.nan, np.float32), "w"))
    texts = graph(
        [("Identity", ["x"], ["y"])], [("x", TensorProto.STRING, ["N"])], [("y", TensorProto.STRING, ["N"])], []
    )
    unknown = graph([("Mystery", ["x"], ["y"])], [("x", FLOAT, ["N"])], [("y", FLOAT, ["N"])], [])
    for model, said in ((infinite, "NaN"), (texts, "no tensor of numbers"), (unknown, "Mystery")):
        with pytest.raises(NotAModel, match=said) as error:
            subject(model, tmp_path)
        assert "\n" not in str(error.value)


WEIGHT = stored("w", 16, 4)
PRODUCT = ("MatMul", ["x", "w"], ["a"])
X, Y = [("x", FLOAT, ["N", 16])], [("y", FLOAT, ["N", 4])]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (graph([("Identity", ["x"], ["y"])], [("x", TensorProto.BFLOAT16, ["N"])], Y, []), "type bfloat16"),
        (graph([("Identity", ["x"], ["y"])], [("x", FLOAT, ["N", 10**9])], [("y", FLOAT, None)], []), "4.0 GB"),
        (graph([PRODUCT], X, [], [WEIGHT]), "no outputs"),
        (graph([("MatMul", ["x", "w"], ["y"])], [("x", FLOAT, [0, 16])], Y, [WEIGHT]), "outputs are empty"),
        (graph([PRODUCT], X, [("a", FLOAT, ["N", 4])], [WEIGHT], opset=99), "till opset|[Oo]pset"),
        (
            graph([PRODUCT, ("RandomNormalLike", ["a"], ["r"]), ("Add", ["a", "r"], ["y"])], X, Y, [WEIGHT]),
            "same inputs again",
        ),
        (
            graph([("NonZero", ["i"], ["y"]), ("Relu", ["x"], ["i"])][::-1], X, [("y", INT64, None)], []),
            "another shape",
        ),
    ],
)
def test_a_graph_whose_answers_cannot_be_compared_is_refused(tmp_path, model, said):
    def answered():
        own = subject(model, tmp_path, techniques=("fp32",))
        return all_outputs(own.variants["fp32"].runner, own.inputs, own.batch)

    with pytest.raises(NotAModel, match=said) as error:
        answered()
    assert not set("[]\n") & set(str(error.value))  # one sentence, without the codes of ONNX Runtime


def recurrent():
    weights = [stored("w", 1, 32, 16), stored("r", 1, 32, 8)]
    return graph(
        [("LSTM", ["x", "w", "r"], ["y"], {"hidden_size": 8})],
        [("x", FLOAT, ["S", "N", 16])],
        [("y", FLOAT, None)],
        weights,
    )


@pytest.mark.parametrize(
    ("model", "batch", "shape"),
    [
        (recurrent(), 1, (64, 16)),  # an answer depends on the steps before it
        (graph([PRODUCT], [("x", FLOAT, ["steps", "batch", 16])], [("a", FLOAT, None)], [WEIGHT]), 1, (64, 1, 16)),
        (graph([("Concat", ["x", "z"], ["c"], {"axis": 1}), ("MatMul", ["c", "w"], ["y"])], [("x", FLOAT, ["N", 0]), *[("z", FLOAT, ["N", 16])]], Y, [WEIGHT]), None, (0,)),
        (graph([("Mul", ["x", "w"], ["y"])], [("x", FLOAT, [])], [("y", FLOAT, None)], [WEIGHT]), 1, ()),
        (graph([("ReduceMean", ["x"], ["y"], {"axes": [1, 2, 3, 4], "keepdims": 0})], [("x", FLOAT, ["N", *"abcd"])], [("y", FLOAT, ["N"])], []), None, (16,) * 4),
        (graph([PRODUCT, ("SplitToSequence", ["a"], ["y"], {"axis": 1})], X, [("a", FLOAT, ["N", 4])], [WEIGHT]), None, (16,)),
    ],
)  # fmt: skip
def test_sides_are_taken_as_the_graph_means_them(tmp_path, model, batch, shape):
    own = subject(model, tmp_path, techniques=("fp32",))
    assert (own.batch, own.inputs.dtype["x"].shape) == (batch, shape)
    outputs = all_outputs(own.variants["fp32"].runner, own.inputs, own.batch)
    assert similarity(outputs, outputs).difference_fraction == 0


def test_embeddings_are_no_classes_and_class_numbers_are():
    assert classes([np.zeros((3, 1), np.float32)]) is None
    assert classes([np.zeros((3, 4, 5), np.float32)]) is None
    assert classes([np.array([2, 0, 1])]).tolist() == [2, 0, 1]
    vectors = RNG.standard_normal((30, 8))
    near = similarity([vectors + 0.01 * RNG.standard_normal((30, 8))], [vectors], are_embeddings=True)
    assert near.same_nearest_fraction > 0.9
    assert similarity([RNG.standard_normal((30, 8))], [vectors], are_embeddings=True).same_nearest_fraction < 0.3


def test_a_mended_graph_of_integers_is_measured_from_end_to_end(tmp_path):
    file = tmp_path / "net.onnx"
    spec = EdgeSpec(model=str(file), techniques=("fp32", "int4"), rounds=5)
    file.write_bytes(b"broken")
    with pytest.raises(NotAModel):
        last_run(measured(spec, tmp_path / "job"))
    onnx.save(tokens([2, 8]), str(file))  # mended, and measured in the same folder
    run = last_run(measured(spec, tmp_path / "job"))
    by = {v.technique: v for v in run.rows(VariantResult)}
    assert set(by) == {"fp32", "int4"}
    assert set(by["int4"].times) == {2}
    assert by["int4"].flips is None  # the first output has states, not classes
    assert by["int4"].similarity.cosine_lowest < 1
    assert by["fp32"].similarity.difference_fraction == 0
