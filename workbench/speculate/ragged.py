"""A causal language model with a cache in which each sequence of a batch has a length of its own."""

from typing import cast

import torch
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from workbench.core.errors import NotAvailable
from workbench.core.language import gettext
from workbench.understanding.reading import CausalReader, refused_in_words


class _Place:
    """Where the tokens of the present call go, for all layers."""

    positions: torch.Tensor
    """(batch, tokens)"""
    stop: int


class _RaggedLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values at given positions; what lies behind a sequence's end is written over."""

    def __init__(self, place: _Place, room: int) -> None:
        super().__init__()
        self.place, self.room = place, room
        self.is_initialized: bool = False

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_rest: object, **_named: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write states, (batch, kv_heads, tokens, head_dim), and return all up to the end of the longest sequence."""
        if not self.is_initialized:
            self.dtype, self.device = key_states.dtype, key_states.device
            self.keys, self.values = (
                x.new_zeros((*x.shape[:2], self.room, x.shape[3])) for x in (key_states, value_states)
            )
            self.is_initialized = True
        at = self.place.positions[:, None, :, None]
        self.keys.scatter_(2, at.expand_as(key_states), key_states)
        self.values.scatter_(2, at.expand_as(value_states), value_states)
        return self.keys[:, :, : self.place.stop], self.values[:, :, : self.place.stop]

    def get_seq_length(self) -> int:
        """Return no length: positions and mask are given with each call."""
        return 0


class RaggedModel:
    """A model and its cache for one batch.

    Raises:
        NotAvailable: Layers keep something else than keys and values of all tokens.

    Args:
        model: Read with attention masks of its own shape.
        room: Most tokens of a sequence.
    """

    def __init__(self, model: PreTrainedModel, *, room: int) -> None:
        require_plain_cache(model)
        self.model, self._place = model, _Place()
        n_layers = len(DynamicCache(config=model.config).layers)
        self._cache = Cache(layers=[_RaggedLayer(self._place, room) for _ in range(n_layers)])

    def read(self, ids: torch.Tensor, at: torch.Tensor, *, longest: int) -> torch.Tensor:
        """Return the logits of tokens that stand at given positions: (batch, tokens, words).

        Args:
            ids: (batch, tokens)
            at: Position of each sequence's first token: (batch,)
            longest: The largest of these, which the caller knows without waiting for the device.
        """
        n = ids.shape[1]
        positions = at[:, None] + torch.arange(n, device=ids.device)
        stop = longest + n
        self._place.positions, self._place.stop = positions, stop
        mask = torch.arange(stop, device=ids.device)[None, None, None, :] <= positions[:, None, :, None]
        out = self.model(
            input_ids=ids, position_ids=positions, attention_mask=mask, past_key_values=self._cache, use_cache=True
        )
        return cast("torch.Tensor", out.logits)


def require_plain_cache(model: PreTrainedModel) -> None:
    """Raise ``NotAvailable`` for a model whose layers keep windows or states, of which rejected tokens cannot be taken back."""
    layers = DynamicCache(config=model.config).layers
    if not CausalReader(model).takes_cache or any(type(layer) is not DynamicLayer for layer in layers):
        raise NotAvailable(
            gettext(
                "{kind} keeps more than the keys and values of all tokens, so that rejected drafts cannot be taken back here."
            ).format(kind=type(model).__name__),
            remedy=gettext("Measure a model with full attention in all layers, or speculation in vLLM."),
        )


@torch.inference_mode()
def require_same_when_ragged(model: PreTrainedModel) -> None:
    """Raise ``NotAvailable`` where a sequence has other logits beside shorter ones than alone."""
    reader = CausalReader(model)
    ids = reader.sample(batch=2)[:, :24]
    with refused_in_words(model, "verify several drafts at once"):
        ragged, zero = RaggedModel(model, room=40), torch.zeros(2, dtype=torch.long, device=ids.device)
        ragged.read(ids[:, :16], zero, longest=0)
        at = torch.tensor([16, 12], device=ids.device)
        rest = torch.stack([ids[0, 16:20], ids[1, 12:16]])
        logits = ragged.read(rest, at, longest=16).float()
        whole = torch.stack([reader.whole(ids[:1, :20])[0, 16:], reader.whole(ids[1:, :16])[0, 12:]]).float()
    difference = float((logits - whole).square().mean().sqrt() / whole.std())
    if not difference < 0.15:
        raise NotAvailable(
            gettext(
                "{kind} in transformers answers otherwise when sequences of different lengths are read together."
            ).format(kind=type(model).__name__),
            remedy=gettext("Measure speculation in vLLM."),
        )
