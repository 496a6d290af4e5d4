"""What a model says of itself: its counts, its cache and its products, as values of JSON."""

import contextlib
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence

from workbench.understanding.imports import OFFLINE, put_compiler_back

os.environ.update(OFFLINE)

import msgspec
import torch
import transformers
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental import _config as fx_config

from workbench.catalog.model_spec import ModelSpec
from workbench.core.errors import NotAModel, UnknownStorage
from workbench.core.language import gettext
from workbench.understanding.aliases import Fields
from workbench.understanding.cache import Kept, kept_by
from workbench.understanding.construct import Constructed, construct
from workbench.understanding.parameters import in_tower, linears, parts_of
from workbench.understanding.stored import stored_weights

CACHE_LIMIT_S = 15.0
"""Processor time for filling a cache; classes that loop over tokens take seconds."""
NOT_TEXT = re.compile("vision|audio|image|speech|talker|token2wav|code2wav|depth|codec|vq|qformer|generation")
"""Names of parts that are no language model."""


def understand(fields: Fields) -> ModelSpec:
    """Return what transformers' own class of a configuration says of its counts, its cache and its products.

    Raises:
        NotAModel: See ``construct`` and ``parts_of``.
    """
    made = construct(fields)
    parts, stored = parts_of(made), stored_weights(fields, linears(made), made)
    kept, notes = None, list(made.notes)
    if made.kind != "encoder":
        kept, reason = _kept(fields, made)
        notes += [reason] if reason else []
    products = {p.role: p for p in parts.products}
    places, width = _places(made), _width(made)
    n_layers = _first(places, "num_hidden_layers", "n_layer", "num_layers", "n_layers", default=_longest_list(made))
    hidden = _first(places, "hidden_size", "d_model", "n_embd", "model_dim", default=width)
    heads = _first(places, "num_attention_heads", "n_head", "num_heads", default=1)
    head_dim = _first(places, "head_dim", "v_head_dim", "d_kv", default=max(1, hidden // heads))
    gate_up = products.get("gate_up")
    latent = kept is not None and kept.is_latent
    kv_heads = _first(places, "num_key_value_heads", "num_kv_heads", default=heads)
    if kept and kept.layers and not latent:
        kv_heads = max(g.n_heads or 0 for g in kept.layers) or kv_heads
    return ModelSpec(
        name="",
        architecture=str(fields.get("model_type")),
        kind=made.kind,
        n_layers=n_layers,
        hidden=hidden,
        n_heads=heads,
        n_kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=_first(
            places, "intermediate_size", "ffn_dim", "n_inner", "d_ff", default=gate_up.rows if gate_up else 0
        ),
        vocab_size=_first(places, "vocab_size", default=0),
        max_context_tokens=_first(
            places, "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", default=0
        ),
        tied_embeddings=bool(getattr(made.config, "tie_word_embeddings", False)),
        n_params=parts.total,
        n_active_params=parts.active,
        n_embedding_params=parts.ends,
        n_vision_params=parts.tower,
        kv_elements_per_token=sum(g.n_layers * g.elements_per_token for g in kept.layers) if kept else None,
        kv_layers=kept.layers if kept else None,
        state_bytes=kept.state_bytes if kept else 0,
        has_latent_cache=latent,
        experts=parts.experts,
        products=parts.products,
        stored=stored,
        notes=tuple(notes),
        source=f"transformers {transformers.__version__}",
    )


def _kept(fields: Fields, made: Constructed) -> tuple[Kept | None, str | None]:
    """Return what the layers keep, or why that is not known.

    It is asked on the meta device, then with tensors that pretend to have values, then with questions about values
    answered by yes: those are whether no token is padding and whether all belong to one sequence.
    """
    errors: list[Exception] = []
    attempts: tuple[Callable[[], Kept | None], ...] = (
        lambda: kept_by(made),
        lambda: _kept_by_pretenders(fields),
        lambda: _kept_by_yes(made),
    )
    try:
        with _time_limit(CACHE_LIMIT_S):
            for attempt in attempts:
                try:
                    kept = attempt()
                except Exception as error:
                    errors.append(error)
                else:
                    return (
                        kept,
                        None if kept else "The class returns no cache, so what it keeps of a token is not known.",
                    )
    except _TooLong:
        limit = f"{CACHE_LIMIT_S:.0f} s of processor time"
        return None, f"The class has not filled a cache within {limit}: what it keeps is not known."
    reason = f"{type(errors[0]).__name__}: {' '.join(str(errors[0]).split())[:200]}"
    return None, f"The class cannot be asked for its cache, so what it keeps is not known ({reason})."


def _kept_by_pretenders(fields: Fields) -> Kept | None:
    put_compiler_back()
    with FakeTensorMode():
        return kept_by(construct(fields, device="cpu"), device="cpu")


def _kept_by_yes(made: Constructed) -> Kept | None:
    put_compiler_back()
    own = torch.Tensor.__bool__

    def yes(self: torch.Tensor) -> bool:
        return True if self.is_meta else bool(own(self))

    torch.Tensor.__bool__ = yes  # type: ignore[method-assign,assignment]
    try:
        fx_config.meta_nonzero_assume_all_nonzero = True
        return kept_by(made)
    finally:
        fx_config.meta_nonzero_assume_all_nonzero = False
        torch.Tensor.__bool__ = own  # type: ignore[method-assign]


class _TooLong(BaseException):
    """The time is over. No class of transformers catches it."""


@contextlib.contextmanager
def _time_limit(limit_s: float) -> Iterator[None]:
    """End what takes more processor time, where that can be noticed (in the main thread of a POSIX system)."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise _TooLong

    earlier = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, earlier)


def _places(made: Constructed) -> tuple[object, ...]:
    """Return the parts of a configuration in the order in which a size is looked for: the language model's first."""
    config = made.config
    others = [getattr(config, name, None) for name in config.sub_configs if not NOT_TEXT.search(name)]
    return (made.text, config, *(part for part in others if part is not None))


def _width(made: Constructed) -> int | None:
    """Return the width of the input embeddings; None where a class does not tell them."""
    get = getattr(made.model, "get_input_embeddings", None)
    try:
        weight = getattr(get() if callable(get) else None, "weight", None)
    except NotImplementedError:
        return None
    return None if weight is None else int(weight.shape[-1])


def _longest_list(made: Constructed) -> int | None:
    """Return the length of the longest list of layers of the language model; None where it has none."""
    lists = [
        len(module)
        for name, module in made.model.named_modules()
        if isinstance(module, torch.nn.ModuleList) and not in_tower(made, name) and "expert" not in name
    ]
    return max(lists, default=None)


def _first(places: Sequence[object], *names: str, default: int | None = None) -> int:
    """Return the first of some fields that is a whole number above zero; of a list, its largest."""
    for place in places:
        for name in names:
            value = getattr(place, name, None)
            if isinstance(value, list) and value and all(isinstance(v, int) for v in value):
                value = max(value)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    if default is None:
        raise NotAModel(
            gettext("The configuration has no {field}.").format(field=names[0]),
            remedy=gettext("Only language models can be counted."),
        )
    return default


def answer_to(fields: Fields) -> dict[str, object]:
    """Return the answer as values of JSON; an error is an answer too."""
    try:
        return {"spec": msgspec.to_builtins(understand(fields))}
    except NotAModel as error:
        return {"cause": error.cause, "remedy": error.remedy, "is_storage": isinstance(error, UnknownStorage)}
