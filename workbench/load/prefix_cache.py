"""How much of a load a server's prefix cache answered, from its own counters.

vLLM counts the tokens of prompts and those that were cached (``prompt_tokens_total``, ``prompt_tokens_cached_total``). Older versions and
the workbench's servers count tokens looked up and found (``prefix_cache_queries_total``, ``prefix_cache_hits_total``); vLLM looks a prompt
up again whenever it finds no room for it, so with a full cache these counters show too small a share (29 % where 42 % were cached). SGLang
counts prompt tokens and those that were cached (``prompt_tokens_total``, ``cached_tokens_total``); llama.cpp counts the prompt
tokens that it computed (``prompt_tokens_total``), and since 2026 those that were cached apart; before, the rest of what was sent was cached; LMDeploy shows a rate over its recent requests alone
(``prefix_cache_hit_rate``). TGI has no such counter (its ``tgi_request_skipped_tokens`` are speculated ones).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from workbench.load.ask import Asker
from workbench.load.request_record import RequestRecord
from workbench.load.spec import LoadSpec

CACHED = ("vllm:prompt_tokens_total", "vllm:prompt_tokens_cached_total")
PAIRS = (
    ("vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total"),
    ("workbench:prefix_cache_queries_total", "workbench:prefix_cache_hits_total"),
    ("vllm:gpu_prefix_cache_queries_total", "vllm:gpu_prefix_cache_hits_total"),  # vLLM before 0.11
    ("sglang:prompt_tokens_total", "sglang:cached_tokens_total"),
)
COMPUTED = ("llamacpp:prompt_tokens_total", "llamacpp:prompt_tokens_cached_total")
RATE = "lmdeploy:prefix_cache_hit_rate"
WARN_FRACTION = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixCounters:
    """Prompt tokens since the server started, as far as it counts them."""

    queries: float | None = None
    hits: float | None = None
    computed: float | None = None
    """Prompt tokens that were not cached."""
    recent_fraction: float | None = None
    """Share of the recent prompt tokens that were cached."""


def prefix_counters(spec: LoadSpec) -> PrefixCounters | None:
    """Return the prefix cache counters of ``/metrics``; None where the server has none."""
    try:
        with Asker(spec, timeout_s=5.0) as asker:
            reply = asker.ask("GET", asker.address.plain("/metrics"))
    except (OSError, ValueError):
        return None
    return counters_of(reply.body.decode("utf-8", errors="replace")) if reply.status == 200 else None


def counters_of(page: str) -> PrefixCounters | None:
    """Return the prefix cache counters of a Prometheus page; None where it has none."""
    lines = page.splitlines()
    prompts, cached = (_sum(lines, name) for name in CACHED)
    if prompts is not None and cached is not None:
        return PrefixCounters(queries=prompts, hits=cached)
    for queries, hits in PAIRS:
        looked_up, found = _sum(lines, queries), _sum(lines, hits)
        if looked_up is not None:  # a counter with labels is absent until its first count
            return PrefixCounters(queries=looked_up, hits=found or 0.0)
    computed, cached = (_sum(lines, name) for name in COMPUTED)
    if computed is not None and cached is not None:
        return PrefixCounters(queries=computed + cached, hits=cached)
    rate = _sum(lines, RATE)
    if computed is None and rate is None:
        return None
    return PrefixCounters(computed=computed, recent_fraction=rate)


def _sum(lines: list[str], metric: str) -> float | None:
    values = []
    for line in lines:
        name = line.partition("{")[0].partition(" ")[0]
        if name == metric:
            try:
                values.append(float((line.rpartition("}")[2] if "}" in line else line.partition(" ")[2]).split()[0]))
            except (ValueError, IndexError):
                continue
    return sum(values) if values else None


def hit_fraction(
    before: PrefixCounters | None, after: PrefixCounters | None, *, prompt_tokens: float | None = None
) -> float | None:
    """Return the share of the prompt tokens between two readings that came from the cache; None: not known.

    Args:
        before: Reading before the load.
        after: Reading after it.
        prompt_tokens: That were sent in between, for servers that count only what they computed.
    """
    if before is None or after is None:
        return None
    if before.queries is not None and after.queries is not None and after.queries > before.queries:
        return ((after.hits or 0.0) - (before.hits or 0.0)) / (after.queries - before.queries)
    if before.computed is not None and after.computed is not None and prompt_tokens:
        return min(1.0, max(0.0, 1 - (after.computed - before.computed) / prompt_tokens))
    return after.recent_fraction


def used_fraction(records: Sequence[RequestRecord]) -> float | None:
    """Return the share of the prompt tokens that the usage of the answers calls cached; None where none says so."""
    known = [r for r in records if r.ok and r.cached_tokens is not None and r.usage_input_tokens]
    total = sum(r.usage_input_tokens or 0 for r in known)
    return sum(r.cached_tokens or 0 for r in known) / total if total else None


def prefix_share(
    before: PrefixCounters | None, after: PrefixCounters | None, records: Sequence[RequestRecord]
) -> tuple[float | None, Literal["counters", "usage"] | None]:
    """Return the share that came from the cache, and who says so: counters of the whole load first, then the usage of its answers."""
    sent = sum(r.usage_input_tokens or r.input_tokens for r in records if r.ok)
    from_counters = hit_fraction(before, after, prompt_tokens=sent)
    from_usage = used_fraction(records)
    if from_usage is not None and (from_counters is None or from_usage > from_counters):
        return from_usage, "usage"
    return from_counters, None if from_counters is None else "counters"
