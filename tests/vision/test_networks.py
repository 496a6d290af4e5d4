"""Training, pruning and graphs of the digit network."""

import numpy as np
import pytest
import torch

from workbench.vision.digits import corrupted, digits, few_per_class
from workbench.vision.graphs import as_products, compressed_bytes, export, input_shape, quantized
from workbench.vision.networks import DigitNet, Student, logits_of, narrowed, one_thread, train, zeroed
from workbench.vision.sessions import Graph

pytestmark = pytest.mark.filterwarnings("ignore")


def accuracy(logits, part):
    return np.mean(logits.argmax(1) == part.labels)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    made = DigitNet()
    train(made, digits()["train"], epochs=25, seed=0)
    return made


@pytest.fixture(scope="module")
def base(net, tmp_path_factory):
    return export(
        net, torch.from_numpy(digits()["train"].pictures[:2]), tmp_path_factory.mktemp("graphs") / "fp32.onnx"
    )


def test_the_parts_do_not_overlap_and_hold_every_picture():
    parts = digits()
    assert sum(len(p) for p in parts.values()) == 1797
    rows = np.concatenate([p.pictures.reshape(len(p), -1) for p in parts.values()])
    assert len(np.unique(rows, axis=0)) >= 1797 - 5  # the data set itself has a few twins
    assert np.bincount(parts["train"].labels[few_per_class(parts["train"], 10, seed=1)]).tolist() == [10] * 10


def test_a_short_training_is_right_and_sets_nothing(net):
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    test = digits()["test"]
    assert accuracy(logits_of(net, test.pictures), test) >= 0.985
    assert accuracy(logits_of(net, corrupted(test.pictures, seed=1)), test) < 0.9
    assert sum(p.numel() for p in net.parameters()) == 151_306


def test_a_graph_answers_as_the_network(net, base):
    pictures = digits()["test"].pictures
    assert np.allclose(Graph(base, threads=1).logits(pictures), logits_of(net, pictures), atol=1e-4)
    assert input_shape(base) == (1, 8, 8)


@pytest.mark.parametrize("method", ["int8-static", "int8-dynamic", "int8-dynamic-dense", "int4"])
def test_quantized_graphs_are_smaller_and_agree(base, tmp_path, method):
    made = quantized(base, tmp_path / "q.onnx", method, examples=digits()["train"].pictures)
    assert made.stat().st_size < 0.4 * base.stat().st_size
    pictures = digits()["test"].pictures
    same = Graph(made, threads=1).logits(pictures).argmax(1) == Graph(base, threads=1).logits(pictures).argmax(1)
    assert same.mean() >= 0.99
    assert not list(tmp_path.glob("*.prepared.onnx"))


def test_static_int8_is_a_quarter_of_the_size(base, tmp_path):
    made = quantized(base, tmp_path / "q.onnx", "int8-static", examples=digits()["train"].pictures)
    assert made.stat().st_size / base.stat().st_size == pytest.approx(0.25, abs=0.04)


def test_dense_layers_as_products_answer_the_same(base, tmp_path):
    import onnx

    turned = tmp_path / "turned.onnx"
    onnx.save(as_products(onnx.load(str(base))), str(turned))
    x = digits()["test"].pictures[:32]
    assert np.allclose(Graph(turned, threads=1).logits(x), Graph(base, threads=1).logits(x), atol=1e-5)


def test_zeros_stay_zero_through_training_and_compress(net, tmp_path):
    pruned = DigitNet()
    pruned.load_state_dict(net.state_dict())
    masks = zeroed(pruned, 0.9)
    train(pruned, digits()["train"], epochs=1, seed=1, masks=masks)
    weights = torch.cat([p.flatten() for name, p in pruned.named_parameters() if name in masks])
    assert (weights == 0).float().mean().item() == pytest.approx(0.9, abs=0.01)
    graph = export(pruned, torch.from_numpy(digits()["train"].pictures[:2]), tmp_path / "pruned.onnx")
    assert compressed_bytes(graph) < 0.3 * graph.stat().st_size


def test_keeping_all_filters_changes_nothing_and_half_is_a_quarter(net):
    x = digits()["test"].pictures[:50]
    assert np.allclose(logits_of(narrowed(net, 1.0), x), logits_of(net, x), atol=1e-5)
    small = narrowed(net, 0.5)
    assert sum(p.numel() for p in small.parameters()) < 0.27 * 151_306


def test_a_student_learns_from_a_teacher_without_labels(net):
    part = digits()["train"]
    torch.manual_seed(1)
    student = Student()
    taught = logits_of(net, part.pictures)
    train(student, part, epochs=20, rate=1e-2, seed=1, teacher=taught, labelled=few_per_class(part, 1, seed=0))
    test = digits()["test"]
    assert accuracy(logits_of(student, test.pictures), test) > 0.9
