"""A KV cache that rounds keys and values when they are appended, so that the damage of a narrower cache can be measured."""

import torch
from transformers import DynamicCache, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from workbench.compress.fake_quant import FP8_MAX, int_scales, rounded_fp8, rounded_int
from workbench.core.errors import NotAvailable
from workbench.understanding.reading import CausalReader


def rounded_states(x: torch.Tensor, scale: torch.Tensor, *, number: str) -> torch.Tensor:
    """Return keys or values on the grid of ``scale``, which broadcasts against them; same shape.

    Args:
        x: (batch, heads, tokens, head_dim).
        scale: As ``state_scales`` makes it.
        number: "int8", "int4" or "fp8".
    """
    if number == "fp8":
        return rounded_fp8(x, scale)
    return rounded_int(x, scale, bits=int(number.removeprefix("int")))


def state_scales(x: torch.Tensor, *, number: str, shared_by: str) -> torch.Tensor:
    """Return scales of keys or values: (batch, heads, tokens, 1) for "token", (batch, heads, 1, 1) for "head"."""
    rows = x if shared_by == "token" else x.flatten(2)[:, :, None]
    if number == "fp8":
        return rows.abs().amax(-1, keepdim=True).clamp_min(1e-12) / FP8_MAX
    return int_scales(rows, bits=int(number.removeprefix("int")))


class RoundedCache(DynamicCache):  # type: ignore[misc]
    """A growing cache in a format such as "int8-token", with the windows and states that a configuration asks for.

    Scales of "head" formats come from the tokens of the prefill and hold for all later ones, as in a server.
    """

    def __init__(self, form: str, config: PretrainedConfig | None = None) -> None:
        super().__init__(config=config)
        self._number, self._shared_by = form.split("-")
        self._scales: dict[tuple[int, int], torch.Tensor] = {}

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *rest: object, **named: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Round new keys and values, (batch, heads, tokens, head_dim), and add them to a layer."""
        rounded = [self._rounded(x, (layer_idx, i)) for i, x in enumerate((key_states, value_states))]
        kept: tuple[torch.Tensor, torch.Tensor] = super().update(*rounded, layer_idx, *rest, **named)
        return kept

    def _rounded(self, x: torch.Tensor, place: tuple[int, int]) -> torch.Tensor:
        if self._shared_by == "token" or place not in self._scales:
            self._scales[place] = state_scales(x, number=self._number, shared_by=self._shared_by)
        return rounded_states(x, self._scales[place], number=self._number)


def require_kv_cache(model: PreTrainedModel) -> None:
    """Raise ``NotAvailable`` where a model keeps no keys and values, so that no format of a cache could change its answers."""
    layers = DynamicCache(config=model.config).layers
    if not CausalReader(model).takes_cache or not any(isinstance(layer, DynamicLayer) for layer in layers):
        raise NotAvailable(
            f"{type(model).__name__} keeps states instead of keys and values, so that it has no KV cache to round.",
            remedy="Leave the cache formats out for this model.",
        )
