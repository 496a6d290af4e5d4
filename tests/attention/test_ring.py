"""A sequence over two processes of this machine gives what one gives."""

import pytest
import torch

from workbench.attention.ring import own_piece, whole
from workbench.attention.ring_process import RingRequest, measured_ring
from workbench.core.errors import InvalidSpec
from workbench.core.long_context import RingSpec


@pytest.mark.parametrize("world", [2, 3])
def test_processes_in_a_ring_give_the_dense_reference(world):
    request = RingRequest(
        world=world, tokens=24 * world, n_heads=4, n_kv_heads=2, head_dim=16, device="cpu", rounds=1, seed=3
    )
    got = measured_ring(request)
    assert got.max_error < 1e-5
    assert len(got.seconds) == 1


@pytest.mark.parametrize("world", [1, 2, 4])
def test_pieces_put_together_are_the_sequence(world):
    x = torch.arange(16.0).reshape(1, 1, 16, 1)
    assert torch.equal(whole([own_piece(x, rank=r, world=world) for r in range(world)]), x)


def test_a_length_that_cannot_be_cut_is_refused():
    with pytest.raises(InvalidSpec, match="divided by twice"):
        RingSpec(model="m", lengths=(1002,), worlds=(4,))
