import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.catalog.formats import FORMATS
from workbench.compress.fake_quant import E2M1, WeightGrid, gptq, int_scales, round_to_nearest, rounded_int


def weights(seed: int, rows: int = 24, columns: int = 256) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def correlated_inputs(seed: int, columns: int = 256) -> torch.Tensor:
    """(tokens, columns): a few directions carry most of the energy, as in a language model."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(32, columns, generator=generator)
    return torch.randn(2048, 32, generator=generator) @ mix + 0.3 * torch.randn(2048, columns, generator=generator)


def output_error(weight: torch.Tensor, other: torch.Tensor, x: torch.Tensor) -> float:
    return float((x @ (weight - other).T).square().mean())


@given(st.integers(0, 1000), st.sampled_from([3, 4, 5, 6, 8]))
@settings(max_examples=20, deadline=None)
def test_rounding_moves_no_number_further_than_half_a_step(seed: int, bits: int) -> None:
    x = weights(seed, rows=4, columns=64)
    scale = int_scales(x, bits=bits)
    assert ((rounded_int(x, scale, bits=bits) - x).abs() <= scale * (0.5 + 1e-4)).all()


@pytest.mark.parametrize("form", ["w3a16", "w4a16", "w6a16", "w8a16", "w4a16-asym", "fp8", "nvfp4a16"])
def test_a_rounded_weight_stays_where_it_is_when_its_grid_rounds_it_again(form: str) -> None:
    weight = weights(1)
    grid = WeightGrid(weight, FORMATS[form])
    once = grid.rounded(weight, slice(None))
    assert torch.allclose(grid.rounded(once, slice(None)), once, atol=1e-6)


def test_more_bits_leave_less_error() -> None:
    weight = weights(2)
    errors = [
        float((round_to_nearest(weight, FORMATS[f]) - weight).norm()) for f in ("w3a16", "w4a16", "w5a16", "w6a16")
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] / errors[3] == pytest.approx(8, rel=0.25)  # a bit halves the step


def test_integer_groups_use_at_most_two_to_the_bits_different_values() -> None:
    rounded = round_to_nearest(weights(3), FORMATS["w3a16"])
    assert max(part.unique().numel() for part in rounded.reshape(-1, 128)) <= 8


def test_nvfp4_values_are_the_eight_magnitudes_of_the_format_times_a_scale() -> None:
    grid = WeightGrid(weights(4), FORMATS["nvfp4a16"])
    steps = (grid.rounded(weights(4), slice(None)) / grid.scales).abs()
    assert torch.isin(steps.mul(2).round().div(2), torch.tensor(E2M1)).all()
    assert torch.allclose(steps, steps.mul(2).round().div(2), atol=1e-4)


def test_gptq_changes_the_outputs_less_than_rounding_does() -> None:
    for seed in range(3):
        weight, x = weights(seed), correlated_inputs(seed)
        plain = output_error(weight, round_to_nearest(weight, FORMATS["w4a16"]), x)
        assert output_error(weight, gptq(weight, x.T @ x, FORMATS["w4a16"]), x) < 0.6 * plain


def test_gptq_with_independent_inputs_is_plain_rounding() -> None:
    weight = weights(5)
    assert torch.allclose(gptq(weight, torch.eye(256), FORMATS["w4a16"]), round_to_nearest(weight, FORMATS["w4a16"]))


def test_gptq_survives_inputs_that_are_always_zero() -> None:
    weight, x = weights(6), correlated_inputs(6)
    x[:, 7] = 0
    made = gptq(weight, x.T @ x, FORMATS["w4a16"])
    assert torch.isfinite(made).all()
    assert output_error(weight, made, x) < output_error(weight, round_to_nearest(weight, FORMATS["w4a16"]), x)


def test_a_width_that_groups_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="no multiple"):
        round_to_nearest(weights(7, columns=200), FORMATS["w4a16"])
