"""A choice that follows the machine really changes the model, goes back, and sets nothing of the process."""

import numpy as np
import pytest
import torch

from workbench.core.errors import InvalidSpec
from workbench.vision.adaptive import Adaptive, HostPressure, Level, Pressure
from workbench.vision.graphs import export
from workbench.vision.networks import DigitNet, Student

pytestmark = pytest.mark.filterwarnings("ignore")
X = np.zeros((1, 1, 8, 8), np.float32)


@pytest.fixture
def levels(tmp_path):
    made = []
    for name, net, needs in (("large", DigitNet(), 1000), ("small", Student(), 10)):
        path = export(net, torch.zeros(2, 1, 8, 8), tmp_path / f"{name}.onnx")
        made.append(
            Level(
                name=name,
                graph=path,
                needs_bytes=needs,
                threads=1,
                most_others_fraction=0.5 if name == "large" else 1.0,
            )
        )
    return made


def test_it_changes_the_model_and_goes_back(levels):
    now = {"p": Pressure(free_bytes=10_000, others_fraction=0.0)}
    before = torch.get_num_threads()
    with Adaptive(levels, pressure=lambda: now["p"], patience=3) as adaptive:
        large = adaptive(X)
        now["p"] = Pressure(free_bytes=10_000, others_fraction=0.9)
        small = adaptive(X)
        now["p"] = Pressure(free_bytes=100, others_fraction=0.0)
        adaptive(X)
        now["p"] = Pressure(free_bytes=10_000, others_fraction=0.0)
        for _ in range(3):
            adaptive(X)
        assert adaptive.taken == ["large", "small", "small", "small", "small", "large"]
    assert not np.allclose(large, small)
    assert torch.get_num_threads() == before


def test_where_nothing_fits_the_smallest_answers(levels):
    with Adaptive(levels, pressure=lambda: Pressure(free_bytes=0, others_fraction=1.0)) as adaptive:
        adaptive(X)
        assert adaptive.taken == ["small"]
    with pytest.raises(InvalidSpec, match="no level"):
        Adaptive([], pressure=lambda: Pressure(free_bytes=0, others_fraction=0.0))


def test_the_machine_is_read():
    look = HostPressure()
    sum(i * i for i in range(300_000))
    found = look()
    assert found.free_bytes > 0
    assert 0 <= found.others_fraction <= 1
