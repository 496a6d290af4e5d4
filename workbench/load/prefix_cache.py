"""How much of a load a server's prefix cache answered, from its own counters."""

import urllib.request
from dataclasses import dataclass

from workbench.core.load import LoadSpec
from workbench.load.process import api_headers

NAMES = {
    "queries": ("vllm:prefix_cache_queries_total", "workbench:prefix_cache_queries_total"),
    "hits": ("vllm:prefix_cache_hits_total", "workbench:prefix_cache_hits_total"),
}
WARN_FRACTION = 0.01


@dataclass(frozen=True, slots=True)
class PrefixCounters:
    """Prompt tokens looked up and found, since the server started."""

    queries: float
    hits: float


def prefix_counters(spec: LoadSpec) -> PrefixCounters | None:
    """The counters of ``/metrics``; None where the server has none."""
    request = urllib.request.Request(spec.base_url + "/metrics", headers=api_headers(spec))  # noqa: S310 - checked by the spec
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5.0) as answer:
            lines = answer.read().decode("utf-8", errors="replace").splitlines()
    except (OSError, ValueError):
        return None
    found = {key: _sum(lines, names) for key, names in NAMES.items()}
    if found["queries"] is None or found["hits"] is None:
        return None
    return PrefixCounters(found["queries"], found["hits"])


def _sum(lines: list[str], names: tuple[str, ...]) -> float | None:
    values = [float(line.rpartition(" ")[2]) for line in lines if line.startswith(names)]
    return sum(values) if values else None


def hit_fraction(before: PrefixCounters | None, after: PrefixCounters | None) -> float | None:
    """Share of the prompt tokens between two readings that came from the cache; None: not known."""
    if before is None or after is None or after.queries <= before.queries:
        return None
    return (after.hits - before.hits) / (after.queries - before.queries)
