"""A sequence over three processes of this machine gives what one gives."""

import pytest
import torch

from workbench.attention.ring import own_piece
from workbench.attention.ring_process import RingRequest, measure_ring
from workbench.core.errors import InvalidSpec
from workbench.questions.long_context.ring_attention.spec import RingSpec


def test_processes_in_a_ring_give_the_dense_reference():
    """Three: keys and values go on from a neighbour that they came from another."""
    request = RingRequest(world=3, tokens=72, n_heads=4, n_kv_heads=2, head_dim=16, device="cpu", rounds=1, seed=3)
    got = measure_ring(request)
    assert got.max_error < 1e-5
    assert len(got.seconds) == 1


@pytest.mark.parametrize("world", [1, 2, 4])
def test_every_token_is_in_one_piece(world):
    x = torch.arange(16.0).reshape(1, 1, 16, 1)
    pieces = [own_piece(x, rank=r, world=world) for r in range(world)]
    assert torch.equal(torch.cat(pieces, dim=2).flatten().sort().values, x.flatten())


def test_a_length_that_cannot_be_cut_is_refused():
    with pytest.raises(InvalidSpec, match="divided by twice"):
        RingSpec(model="m", lengths=(1002,), worlds=(4,))
