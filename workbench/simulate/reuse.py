"""How much of a trace's prompts a prefix cache of each size has, when requests come one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext
from workbench.core.traffic import Arrival
from workbench.simulate.prefix_cache import BLOCK_TOKENS, PrefixCache, Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """What a cache of one size has of a trace."""

    cache_tokens: int
    hits: tuple[int, ...]
    """Tokens of each request's prompt that were known."""
    n_too_long: int
    """Requests that are longer than the cache, and find nothing."""

    @property
    def hit_tokens(self) -> int:
        """Return the tokens that need not be computed."""
        return sum(self.hits)


def require_hash_ids(arrivals: Sequence[Arrival], place: str) -> None:
    """Raise ``InvalidSpec`` for a trace that does not say what prompts share."""
    if not any(a.hash_ids for a in arrivals):
        raise InvalidSpec(
            gettext("The trace {file} has no hash ids, which say what prompts share.").format(file=place),
            remedy=gettext("Give one of Mooncake's form."),
        )


def reuse(arrivals: Sequence[Arrival], *, cache_tokens: int) -> Reuse:
    """Return what a cache with least-recently-used eviction of blocks has of each prompt; answers take room too, but are not found again."""
    cache, hits, too_long = PrefixCache(cache_tokens // BLOCK_TOKENS), [], 0
    for a in arrivals:
        prompt = Prompt(a.input_tokens, a.hash_ids, a.block_tokens)
        if cache.claim(prompt) > cache.n_free:
            hits.append(0)
            too_long += 1
            continue
        held = cache.begin(prompt)
        cache.end(held, grown=cache.grow(-(-a.output_tokens // BLOCK_TOKENS)))
        hits.append(held.hit_tokens)
    return Reuse(cache_tokens=cache_tokens, hits=tuple(hits), n_too_long=too_long)
