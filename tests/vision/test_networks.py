"""Training, pruning and graphs of the digit network, and what chooses between two graphs by confidence or by the machine."""

import numpy as np
import pytest
import torch

from workbench.core.errors import InvalidSpec
from workbench.vision.adaptive import Adaptive, HostPressure, Level, Pressure
from workbench.vision.digits import corrupted_images, digits, few_per_class
from workbench.vision.early_exit import Cascade
from workbench.vision.graphs import as_products, compressed_bytes, export, input_shape, quantize_graph
from workbench.vision.networks import DigitNet, Student, logits_of, one_thread, prune_filters, prune_weights, train
from workbench.vision.sessions import Graph

pytestmark = pytest.mark.filterwarnings("ignore")
BLANK = np.zeros((1, 1, 8, 8), np.float32)


def accuracy(logits, part):
    return np.mean(logits.argmax(1) == part.labels)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    trained = DigitNet()
    train(trained, digits().train, epochs=15, seed=0)
    return trained


@pytest.fixture(scope="module")
def base(net, tmp_path_factory):
    return export(net, torch.from_numpy(digits().train.images[:2]), tmp_path_factory.mktemp("graphs") / "fp32.onnx")


@pytest.fixture(scope="module")
def student(net):
    """Learns from the network with one label a class."""
    part = digits().train
    torch.manual_seed(1)
    taught = Student()
    soft = logits_of(net, part.images)
    train(taught, part, epochs=20, rate=1e-2, seed=1, teacher=soft, labelled=few_per_class(part, 1, seed=0))
    return taught


@pytest.fixture(scope="module")
def small(student, tmp_path_factory):
    example = torch.from_numpy(digits().train.images[:2])
    return export(student, example, tmp_path_factory.mktemp("graphs") / "student.onnx")


def test_the_parts_do_not_overlap_and_hold_every_image():
    parts = (digits().train, digits().validation, digits().test)
    assert sum(len(p) for p in parts) == 1797
    rows = np.concatenate([p.images.reshape(len(p), -1) for p in parts])
    assert len(np.unique(rows, axis=0)) >= 1797 - 5  # the data set itself has a few twins
    assert np.bincount(parts[0].labels[few_per_class(parts[0], 10, seed=1)]).tolist() == [10] * 10


def test_a_short_training_is_right_and_sets_nothing(net):
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    test = digits().test
    assert accuracy(logits_of(net, test.images), test) >= 0.985
    assert accuracy(logits_of(net, corrupted_images(test.images, seed=1)), test) < 0.9
    assert sum(p.numel() for p in net.parameters()) == 151_306


def test_a_graph_answers_as_the_network(net, base):
    images = digits().test.images
    assert np.allclose(Graph(base, threads=1).logits(images), logits_of(net, images), atol=1e-4)
    assert input_shape(base) == (1, 8, 8)


@pytest.mark.parametrize("method", ["int8-static", "int8-dynamic", "int8-dynamic-dense", "int4"])
def test_quantized_graphs_are_smaller_and_agree(base, tmp_path, method):
    graph = quantize_graph(base, tmp_path / "q.onnx", method, examples=digits().train.images)
    assert graph.stat().st_size < 0.4 * base.stat().st_size
    images = digits().test.images
    same = Graph(graph, threads=1).logits(images).argmax(1) == Graph(base, threads=1).logits(images).argmax(1)
    assert same.mean() >= 0.99
    assert not list(tmp_path.glob("*.prepared.onnx"))


def test_static_int8_is_a_quarter_of_the_size(base, tmp_path):
    graph = quantize_graph(base, tmp_path / "q.onnx", "int8-static", examples=digits().train.images)
    assert graph.stat().st_size / base.stat().st_size == pytest.approx(0.25, abs=0.04)


def test_dense_layers_as_products_answer_the_same(base, tmp_path):
    import onnx

    turned = tmp_path / "turned.onnx"
    onnx.save(as_products(onnx.load(str(base))), str(turned))
    x = digits().test.images[:32]
    assert np.allclose(Graph(turned, threads=1).logits(x), Graph(base, threads=1).logits(x), atol=1e-5)


def test_zeros_stay_zero_through_training_and_compress(net, base, tmp_path):
    pruned = DigitNet()
    pruned.load_state_dict(net.state_dict())
    masks = prune_weights(pruned, 0.9)
    train(pruned, digits().train, epochs=1, seed=1, masks=masks)
    weights = torch.cat([p.flatten() for name, p in pruned.named_parameters() if name in masks])
    assert (weights == 0).float().mean().item() == pytest.approx(0.9, abs=0.01)
    graph = export(pruned, torch.from_numpy(digits().train.images[:2]), tmp_path / "pruned.onnx")
    assert graph.stat().st_size == pytest.approx(base.stat().st_size, rel=0.01)
    assert compressed_bytes(graph) < 0.3 * compressed_bytes(base)


def test_keeping_all_filters_changes_nothing_and_half_is_a_quarter(net):
    x = digits().test.images[:50]
    assert np.allclose(logits_of(prune_filters(net, 1.0), x), logits_of(net, x), atol=1e-5)
    small = prune_filters(net, 0.5)
    assert sum(p.numel() for p in small.parameters()) < 0.27 * 151_306


def test_a_student_learns_from_a_teacher_without_labels(student):
    test = digits().test
    assert accuracy(logits_of(student, test.images), test) > 0.9


def test_a_cascade_takes_the_students_answer_only_where_it_is_sure(base, small):
    first, second = Graph(small, threads=1), Graph(base, threads=1)
    x = digits().test.images[:20]
    assert np.array_equal(Cascade(first, second, confidence=0.0, shares_maps=False).logits(x), first.logits(x))
    late = Cascade(first, second, confidence=1.1, shares_maps=False).answers(x)
    assert np.array_equal(late.logits, second.logits(x))
    assert not late.is_early.any()


@pytest.fixture
def levels(base, small):
    return [
        Level(name="large", graph=base, needs_bytes=1000, threads=1, most_others_fraction=0.5),
        Level(name="small", graph=small, needs_bytes=10, threads=1, most_others_fraction=1.0),
    ]


def test_a_choice_that_follows_the_machine_changes_the_model_and_goes_back(levels):
    now = {"p": Pressure(free_bytes=10_000, others_fraction=0.0)}
    before = torch.get_num_threads()
    with Adaptive(levels, pressure=lambda: now["p"], patience=3) as adaptive:
        large = adaptive(BLANK)
        now["p"] = Pressure(free_bytes=10_000, others_fraction=0.9)
        small = adaptive(BLANK)
        now["p"] = Pressure(free_bytes=100, others_fraction=0.0)
        adaptive(BLANK)
        now["p"] = Pressure(free_bytes=10_000, others_fraction=0.0)
        for _ in range(3):
            adaptive(BLANK)
        assert adaptive.used_levels == ["large", "small", "small", "small", "small", "large"]
    assert not np.allclose(large, small)
    assert torch.get_num_threads() == before


def test_where_nothing_fits_the_smallest_answers(levels):
    with Adaptive(levels, pressure=lambda: Pressure(free_bytes=0, others_fraction=1.0)) as adaptive:
        adaptive(BLANK)
        assert adaptive.used_levels == ["small"]
    with pytest.raises(InvalidSpec, match="no level"):
        Adaptive([], pressure=lambda: Pressure(free_bytes=0, others_fraction=0.0))


def test_the_machine_is_read():
    look = HostPressure()
    sum(i * i for i in range(300_000))
    pressure = look()
    assert pressure.free_bytes > 0
    assert 0 <= pressure.others_fraction <= 1
