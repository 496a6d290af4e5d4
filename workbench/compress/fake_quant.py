"""Rounding to a format and back, plainly or by GPTQ, so that its damage can be measured anywhere."""

import torch

from workbench.catalog.formats import Format

FP8_MAX = 448.0  # largest e4m3 number, OCP 8-bit floating point specification 1.0, table 1
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # magnitudes of 4-bit floats, OCP microscaling formats 1.0, table 5
SHRINKS = 21  # scales tried from the full range down to 80 % of it


def rounded_int(x: torch.Tensor, scale: torch.Tensor, *, bits: int) -> torch.Tensor:
    """Return ``x`` on the symmetric integer grid of ``scale``, which broadcasts against it; same shape."""
    top = 2 ** (bits - 1)
    return (x / scale).round().clamp(-top, top - 1) * scale


def rounded_fp8(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return ``x`` on the e4m3 grid of ``scale``; same shape."""
    steps: torch.Tensor = (x / scale).clamp(-FP8_MAX, FP8_MAX)
    return steps.to(torch.float8_e4m3fn).to(x.dtype) * scale


def _positive(x: torch.Tensor) -> torch.Tensor:
    return x.clamp_min(torch.finfo(torch.float32).tiny * 1e6)


def int_scales(x: torch.Tensor, *, bits: int) -> torch.Tensor:
    """Return scales along the last axis that map the largest magnitude to the last positive step: (..., 1)."""
    steps: int = 2 ** (bits - 1)
    return _positive(x.abs().amax(-1, keepdim=True)) / (steps - 0.5)


def best_int_scales(x: torch.Tensor, *, bits: int) -> torch.Tensor:
    """Return scales along the last axis with the least square error among slightly smaller ones: (..., 1)."""
    full = int_scales(x, bits=bits)
    best, least = full, torch.full_like(full, torch.inf)
    for step in range(SHRINKS):
        scale = full * (1 - 0.2 * step / (SHRINKS - 1))
        error = (rounded_int(x, scale, bits=bits) - x).square().sum(-1, keepdim=True)
        best, least = torch.where(error < least, scale, best), torch.minimum(error, least)
    return best


class WeightGrid:
    """The numbers that a format can hold for one weight matrix: (rows, columns)."""

    def __init__(self, weight: torch.Tensor, form: Format) -> None:
        self.form = form
        self._asymmetric = form.weights is not None and not form.weights["symmetric"]
        group = form.group_size or weight.shape[1]
        if weight.shape[1] % group:
            raise ValueError(f"{weight.shape[1]} columns are no multiple of the group size {group}")
        parts = weight.reshape(weight.shape[0], -1, group)
        self._zero = torch.zeros(1)
        if form.weights is None:
            scale = torch.ones_like(parts[..., :1])
        elif form.weights["type"] == "float" and form.bits == 8:
            scale = _positive(parts.abs().amax(-1, keepdim=True)) / FP8_MAX
        elif form.weights["type"] == "float":
            whole = _positive(weight.abs().amax()) / (E2M1[-1] * FP8_MAX)
            scale = rounded_fp8(_positive(parts.abs().amax(-1, keepdim=True)) / E2M1[-1], whole)
            scale = torch.where(scale > 0, scale, whole)
        elif self._asymmetric:
            low, high = parts.amin(-1, keepdim=True).clamp_max(0), parts.amax(-1, keepdim=True).clamp_min(0)
            scale = _positive(high - low) / (2**form.bits - 1)
            self._zero = (-low / scale).round().expand_as(parts).reshape(weight.shape)
        else:
            scale = best_int_scales(parts, bits=int(form.bits))
        self.scales = scale.expand_as(parts).reshape(weight.shape)

    def rounded(self, values: torch.Tensor, columns: slice | torch.Tensor) -> torch.Tensor:
        """Return ``values``, (rows, chosen columns), on the grid of these columns."""
        form, scale = self.form, self.scales[:, columns]
        if form.weights is None:
            return values
        if form.weights["type"] == "float" and form.bits == 8:
            return rounded_fp8(values, scale)
        if form.weights["type"] == "float":
            grid = torch.tensor(E2M1, device=values.device)
            middles = (grid[1:] + grid[:-1]) / 2
            return torch.sign(values) * grid[torch.bucketize((values / scale).abs(), middles)] * scale
        if self._asymmetric:
            zero = self._zero[:, columns]
            return ((values / scale + zero).round().clamp(0, 2**form.bits - 1) - zero) * scale
        return rounded_int(values, scale, bits=int(form.bits))


def round_to_nearest(weight: torch.Tensor, form: Format) -> torch.Tensor:
    """Return the weight with each element rounded to the nearest value of the format: (rows, columns)."""
    return WeightGrid(weight, form).rounded(weight, slice(None))


def gptq(weight: torch.Tensor, hessian: torch.Tensor, form: Format, *, damping_fraction: float = 0.01) -> torch.Tensor:
    """Return the weight rounded column by column, with each error passed on to the columns that are still free.

    Columns are taken in the order of their weight in the loss; scales are set before. Frantar et al. 2022
    (arXiv 2210.17323), algorithm 1.

    Args:
        weight: (rows, columns).
        hessian: (columns, columns), the sum of x xᵀ over inputs x; its factor does not matter.
        form: Format with a grid of integers or floats.
        damping_fraction: Of the mean diagonal, added to it, so that the inverse exists.
    """
    grid = WeightGrid(weight, form)
    h = hessian.double().clone()
    dead = h.diagonal() == 0
    h[dead, dead] = 1
    w = weight.double().clone()
    w[:, dead] = 0
    order = torch.argsort(h.diagonal(), descending=True)
    h = h[order][:, order]
    h.diagonal().add_(damping_fraction * h.diagonal().mean())
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    columns = w.T[order].contiguous()
    out = torch.empty_like(columns)
    for i in range(len(columns)):
        out[i] = grid.rounded(columns[i, :, None].to(weight.dtype), order[i : i + 1])[:, 0].double()
        error = (columns[i] - out[i]) / inverse[i, i]
        columns[i + 1 :].addr_(inverse[i, i + 1 :], error, alpha=-1)
    result = torch.empty_like(weight)
    result[:, order] = out.T.to(weight.dtype)
    return result


def rounded_inputs(x: torch.Tensor, form: Format) -> torch.Tensor:
    """Return inputs of a layer rounded as the format multiplies them, with one scale per token: (..., columns)."""
    if form.inputs is None:
        return x
    if form.inputs["type"] == "float":
        return rounded_fp8(x, _positive(x.abs().amax(-1, keepdim=True)) / FP8_MAX)
    return rounded_int(x, int_scales(x, bits=8), bits=8)
