import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.compress.quality import window_quality


def test_a_model_against_itself_does_not_diverge():
    logits = torch.randn(100, 50)
    quality = window_quality(logits, logits.clone(), torch.randint(50, (100,)))
    assert quality.kl_nat.max() == 0
    assert quality.agrees.all()


def test_a_worked_example():
    # p = (1/2, 1/2), q = (1/4, 3/4): KL = 1/2 ln 2 + 1/2 ln 2/3; the true token 0 costs ln 4.
    reference, variant = torch.zeros(1, 2), torch.log(torch.tensor([[0.25, 0.75]]))
    quality = window_quality(reference, variant, torch.tensor([0]))
    assert quality.kl_nat[0] == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    assert quality.nll_nat[0] == pytest.approx(math.log(4))


@settings(max_examples=30)
@given(st.integers(1, 200), st.integers(2, 40), st.integers(0, 2**31))
def test_the_divergence_is_that_of_a_float64_reference_and_never_negative(tokens, words, seed):
    generator = torch.Generator().manual_seed(seed)
    p, q = (torch.randn(tokens, words, generator=generator) * 3 for _ in range(2))
    quality = window_quality(p, q, torch.zeros(tokens, dtype=torch.long))
    pp, qq = (np.exp(x.double().numpy()) for x in (p, q))
    pp, qq = pp / pp.sum(1, keepdims=True), qq / qq.sum(1, keepdims=True)
    assert np.allclose(quality.kl_nat, (pp * np.log(pp / qq)).sum(1), atol=1e-9)
    assert quality.kl_nat.min() >= 0


def test_shifting_all_logits_changes_nothing():
    logits = torch.randn(10, 30)
    quality = window_quality(logits, logits + 7, torch.zeros(10, dtype=torch.long))
    assert quality.kl_nat.max() < 1e-9
