import numpy as np
import pytest
import torch

from workbench.catalog.formats import KV_FORMATS
from workbench.catalog.paths import REFERENCE_MODEL
from workbench.compress.checkpoint_model import CheckpointModel
from workbench.compress.kv_quant import RoundedCache, rounded_states, state_scales
from workbench.core.errors import InvalidSpec
from workbench.questions.quantization.evaluation.spec import EvaluationSpec


def states(tokens=50):
    return torch.randn(2, 3, tokens, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("form", KV_FORMATS)
def test_rounding_moves_no_number_further_than_half_a_step(form):
    number, shared_by = form.split("-")
    x = states()
    scale = state_scales(x, number=number, shared_by=shared_by)
    assert scale.shape == ((2, 3, 50, 1) if shared_by == "token" else (2, 3, 1, 1))
    error = (rounded_states(x, scale, number=number) - x).abs()
    # e4m3 has three bits after the point: half a step is a sixteenth of the number; near zero the grid is even.
    allowed = x.abs() / 16 + scale * 2**-10 if number == "fp8" else scale.expand_as(x) * 0.501
    assert (error <= allowed).all()


def test_a_cache_gives_back_what_was_rounded_and_keeps_the_first_scales_of_heads():
    cache = RoundedCache("int8-head")
    x = states()
    first, _ = cache.update(x, x, 0)
    both, _ = cache.update(10 * x[:, :, :1], x[:, :, :1], 0)
    assert both.shape[2] == 51
    assert torch.equal(both[:, :, :50], first)
    assert both[:, :, 50].abs().max() <= first.abs().max() * 1.01  # beyond the first scale it is cut off


def test_fewer_bits_of_cache_diverge_more():
    window = np.arange(200, 329, dtype=np.int64)[None]
    plain = CheckpointModel(str(REFERENCE_MODEL), device="cpu", threads=2)
    reference = plain.all_logits(window)
    kl = {}
    for form in ("int8-token", "int4-token", "fp8-token"):
        model = CheckpointModel(str(REFERENCE_MODEL), device="cpu", threads=2, kv_format=form)
        kl[form] = model.compared(window, reference).quality[0].kl_nat.mean()
    assert 0 < kl["int8-token"] < kl["fp8-token"] < kl["int4-token"]
    assert plain.compared(window, reference).quality[0].kl_nat.max() == 0


def test_an_unknown_cache_format_is_refused():
    with pytest.raises(InvalidSpec, match="kv:int3"):
        EvaluationSpec(model="m", candidates=("kv:int3-token",))
