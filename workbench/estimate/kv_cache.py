"""Memory of a plain key-value cache, and the longest context that it leaves room for; vLLM's pages are in ``paged_cache``."""

from bisect import bisect_right
from math import ceil

from workbench.catalog.model_spec import ModelSpec
from workbench.core.errors import DoesNotFit, NotAvailable
from workbench.core.language import gettext
from workbench.core.units import GIB


def kv_bytes_per_token(model: ModelSpec, *, kv_bits: float = 16) -> float:
    """Return the bytes of one token's cache over all layers; sliding windows are counted as if they were full."""
    if model.kv_elements_per_token is None:
        raise NotAvailable(
            gettext("The layers of {model} differ in kind; its cache is not one number per token.").format(
                model=model.name
            ),
            remedy=gettext("Measure it with the long-context notebook."),
        )
    return model.kv_elements_per_token * kv_bits / 8


def kv_cache_bytes(
    model: ModelSpec, *, context_tokens: int, batch: int = 1, kv_bits: float = 16, page_tokens: int = 1
) -> float:
    """Return the bytes of the cache of ``batch`` sequences of one length in whole pages; layers with a window keep no more.

    MHA and GQA store 2 x KV heads x head_dim numbers per token and layer, MLA its latent. Raises ``NotAvailable``
    when what a layer keeps is not known for this model.
    """
    if model.kv_layers is None:
        raise NotAvailable(
            gettext("What the layers of {model} keep of a token is not in the catalogue.").format(model=model.name),
            remedy=gettext("Choose another model, or measure it with vLLM, which prints its cache's size."),
        )
    total = 0.0
    for group in model.kv_layers:
        kept = context_tokens if group.window_tokens is None else min(context_tokens, group.window_tokens)
        pages = ceil(kept / page_tokens)
        total += group.n_layers * group.elements_per_token * pages * page_tokens * kv_bits / 8
    return batch * total


def prefill_workspace_bytes(model: ModelSpec, *, chunk_tokens: int, bits: float = 16) -> float:
    """Return the bytes of activations that live at once during the prefill of a chunk.

    The widest place of a decoder layer: residual stream and normalised input (2 x hidden), gate, up and their product
    (3 x intermediate). Attention's own queries and outputs are smaller and come before.
    """
    return chunk_tokens * (2 * model.hidden + 3 * model.intermediate) * bits / 8


def longest_context_tokens(
    model: ModelSpec, *, free_bytes: float, batch: int = 1, kv_bits: float = 16, page_tokens: int = 1
) -> int:
    """Return the longest context of ``batch`` sequences whose cache fits, whatever the model was trained for.

    Raises ``DoesNotFit`` when not even one page of each sequence fits.
    """

    def needed(tokens: int) -> float:
        return kv_cache_bytes(model, context_tokens=tokens, batch=batch, kv_bits=kv_bits, page_tokens=page_tokens)

    pages = bisect_right(range(1, 2**40 // page_tokens), free_bytes, key=lambda n: needed(n * page_tokens))
    if not pages:
        raise DoesNotFit(
            gettext("After the weights {n} GiB are left, which holds no cache of {model}.").format(
                n=f"{free_bytes / GIB:.1f}", model=model.name
            ),
            remedy=gettext("Use fewer bits for the weights, a larger device, or more devices."),
        )
    return pages * page_tokens
