"""A causal language model of any architecture, opened and read in pieces with the memory that its own class keeps between them."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, Cache, DynamicCache, PretrainedConfig, PreTrainedModel

from workbench.core.errors import NotAModel, NotAvailable, WorkbenchError, first_line
from workbench.core.language import gettext, gettext_noop
from workbench.understanding.loading import loaded, refused_as_folder

MEMORIES = ("past_key_values", "cache_params", "state")
"""What classes of transformers call what they keep of the tokens that they have read."""
CONTEXT_FIELDS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
PIECES = (40, 3, 1, 1)
"""Tokens of the pieces in which a model is tried."""
LATER = 4
"""Tokens at the end of a text that are changed to see whether answers before them do."""
OTHER_ENGINE = gettext_noop("Use an engine that has this architecture, such as vLLM.")
LONGEST_TRIED = 1024
"""A sliding window up to so many tokens is tried beyond its end."""
ALIKE = {torch.float32: 0.01, torch.bfloat16: 0.15, torch.float16: 0.15}
"""Largest difference between logits of the same text that rounding explains, in standard deviations of all logits."""


def open_causal_model(place: str, *, dtype: torch.dtype, device: str, random_weights: bool = False) -> PreTrainedModel:
    """Return the model of a folder in evaluation mode; random weights where only the shape counts.

    Raises:
        NotAModel: It cannot be read, tensors are missing or have another shape, or weights are not finite.
        NotAvailable: It is a checkpoint with quantized experts.
    """
    if random_weights:
        torch.manual_seed(0)
        with torch.device(device), refused_as_folder(Path(place).name):
            return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(place), dtype=dtype).eval()
    return loaded(place, dtype=dtype).to(device)


@contextmanager
def refused_in_words(model: torch.nn.Module, doing: str) -> Iterator[None]:
    """Turn an error of a model's own code into ``NotAvailable``; lack of memory stays what it is."""
    try:
        yield
    except (WorkbenchError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:  # the code of each architecture has errors of its own
        if "allocate memory" in str(error) or "out of memory" in str(error):
            raise
        raise NotAvailable(
            gettext("{model} cannot {doing}: {kind}: {error}.").format(
                model=type(model).__name__, doing=doing, kind=type(error).__name__, error=first_line(error)
            ),
            remedy=gettext(OTHER_ENGINE),
        ) from error


def shortest_window(config: PretrainedConfig) -> int | None:
    """Return the fewest tokens that a sliding or chunked layer looks back on; None where every layer sees all."""
    layers = DynamicCache(config=config).layers
    windows = [int(layer.sliding_window) for layer in layers if getattr(layer, "sliding_window", None)]
    return min(windows, default=None)


def context_limit(config: PretrainedConfig) -> int | None:
    """Return the most tokens of prompt and answer that a model was made for; None where its configuration names none."""
    text = config.get_text_config()
    named = (getattr(text, name, None) for name in CONTEXT_FIELDS)
    return next((n for n in named if isinstance(n, int) and n > 0), None)


class CausalReader:
    """A model with the memory of its own class: a growing KV cache, sliding windows, recurrent states or several of them."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        parameters = inspect.signature(model.forward).parameters
        self._memory = next((name for name in MEMORIES if name in parameters), None)
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}
        self._takes_positions = "position_ids" in parameters

    @cached_property
    def n_words(self) -> int:
        """Rows of the input embedding."""
        with refused_in_words(self.model, gettext("name its input embedding")):
            return int(self.model.get_input_embeddings().weight.shape[0])

    @cached_property
    def takes_cache(self) -> bool:
        """Whether the class keeps keys and values, or states beside them, in a cache that it can be given."""
        if self._memory != "past_key_values":
            return False
        with torch.inference_mode(), refused_in_words(self.model, gettext("read a token")):
            return type(self.read(self.sample()[:, :2])[1]) is DynamicCache

    def read(
        self, ids: torch.Tensor, memory: object = None, *, all_logits: bool = False
    ) -> tuple[torch.Tensor, object]:
        """Return logits, (batch, tokens, words), and the memory after tokens, (batch, tokens); at least those of the last token."""
        named: dict[str, object] = {"use_cache": True}
        if self._memory and memory is not None:
            named[self._memory] = memory
            if self._takes_positions and (n_read := _tokens_in(memory)) is not None:
                positions = torch.arange(ids.shape[1], device=ids.device) + n_read
                named["position_ids"] = positions.expand(ids.shape)  # Bamba's class counts from 0 in each piece without
        out = self.model(input_ids=ids, **named, **({} if all_logits else self._last_only))
        after = getattr(out, self._memory, None) if self._memory else None
        return out.logits, memory if after is None else after

    @torch.inference_mode()
    def whole(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the logits of a text that is read at once, without a memory: (batch, tokens, words)."""
        logits: torch.Tensor = self.model(input_ids=ids, use_cache=False).logits
        return logits

    @torch.inference_mode()
    def end(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the logits of a text that is read at once, at least those of its last token: (batch, tokens, words)."""
        logits: torch.Tensor = self.model(input_ids=ids, use_cache=False, **self._last_only).logits
        return logits

    def begin(self, ids: torch.Tensor) -> tuple[torch.Tensor, object]:
        """Return what ``read`` does; raises ``NotAvailable`` where the class hands out no memory of the tokens."""
        logits, memory = self.read(ids)
        if memory is None:
            raise NotAvailable(
                gettext(
                    "{kind} hands out no memory of what it has read, so that every token would cost a whole prefill."
                ).format(kind=type(self.model).__name__),
                remedy=gettext(OTHER_ENGINE),
            )
        return logits, memory

    def sample(self, *, batch: int = 1) -> torch.Tensor:
        """Return tokens to try the model with, beyond the end of its shortest window where that is short: (batch, tokens)."""
        window = shortest_window(self.model.config) or 0
        n = sum(PIECES) + (window if window <= LONGEST_TRIED else 0)
        ids = [[(i * 7919 + 101 + 37 * row) % self.n_words for i in range(n)] for row in range(batch)]
        return torch.tensor(ids, device=self.model.device)

    @torch.inference_mode()
    def require_causal(self) -> None:
        """Check that no answer depends on later tokens, as those of encoders do: likelihoods of tokens that were seen mean nothing.

        Raises:
            NotAModel: One does.
            NotAvailable: The model cannot read a text.
        """
        ids = self.sample()[:, : sum(PIECES)]
        changed = torch.cat([ids[:, :-LATER], (ids[:, -LATER:] + 1) % self.n_words], dim=1)
        with refused_in_words(self.model, gettext("read a text")):
            one, other = (self.whole(text)[:, :-LATER].float() for text in (ids, changed))
        if (one - other).square().mean().sqrt() > ALIKE.get(self.model.dtype, 0.01) * one.std():
            raise NotAModel(
                gettext("{kind} reads the tokens that it should predict: its answers change with later tokens.").format(
                    kind=type(self.model).__name__
                ),
                remedy=gettext("Choose a causal language model; `workbench edge` measures encoders."),
            )

    @torch.inference_mode()
    def require_right_in_pieces(self, *, chunks: bool, batch: int = 2) -> None:
        """Check that texts read in pieces have the logits of each that is read at once.

        Raises:
            NotAModel: The model answers with NaN.
            NotAvailable: The pieces give other answers, or the class keeps no memory.

        Args:
            chunks: Read pieces of several tokens too, instead of one token at a time after the first piece.
            batch: Texts that are read together.
        """
        ids = self.sample(batch=batch)
        first = ids.shape[1] - sum(PIECES[1:])
        sizes = (first, *PIECES[1:]) if chunks else (first, *(1,) * sum(PIECES[1:]))
        with refused_in_words(self.model, gettext("read a text in pieces")):
            whole = torch.cat([self.whole(row[None]) for row in ids]).float()
            require_finite(whole, self.model)
            self.begin(ids[:, :1])
            ends = self._ends(ids, sizes)
        difference = (ends - whole[:, torch.tensor(sizes).cumsum(0) - 1]).square().mean().sqrt() / whole.std()
        if not difference < ALIKE.get(self.model.dtype, 0.01):
            how = gettext("in pieces of several tokens") if chunks else gettext("token by token")
            raise NotAvailable(
                gettext(
                    "{kind} in transformers answers otherwise when it reads {how}{batch} than at once (logits differ by {n} standard deviations)."
                ).format(
                    kind=type(self.model).__name__,
                    how=how,
                    batch=gettext(" in a batch of {n}").format(n=batch) if batch > 1 else "",
                    n=f"{float(difference):.2g}",
                ),
                remedy=gettext(OTHER_ENGINE),
            )

    def _ends(self, ids: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
        """Return the logits after each piece: (batch, pieces, words)."""
        logits, memory, at = [], None, 0
        for size in sizes:
            out, memory = self.read(ids[:, at : at + size], memory)
            logits.append(out[:, -1].float())
            at += size
        return torch.stack(logits, dim=1)


def _tokens_in(memory: object) -> int | torch.Tensor | None:
    """Return the tokens that a cache has seen; None where it keeps states alone, which count none."""
    with suppress(ValueError):
        return memory.get_seq_length() if isinstance(memory, Cache) else None
    return None


def require_finite(logits: torch.Tensor, model: torch.nn.Module) -> None:
    """Raise ``NotAModel`` where a model answers with NaN or infinite logits."""
    if not bool(torch.isfinite(logits).all()):
        raise NotAModel(
            gettext("{kind} answers with NaN or infinite logits.").format(kind=type(model).__name__),
            remedy=gettext(
                "Check the weights, or use a wider number format: nothing can be measured with such answers."
            ),
        )
