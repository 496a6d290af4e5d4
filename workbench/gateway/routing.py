"""Routing: requests with the same prefix go to the same replica unless it is overloaded."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.core.errors import InvalidSpec, NotAvailable


@dataclass(slots=True, kw_only=True)
class Replica:
    """A server behind the gateway and its load."""

    name: str
    url: str
    weight: float = 1.0
    n_under_way: int = 0


def _draw(*parts: str) -> float:
    """Return a number in [0, 1) that is the same for the same texts in every process."""
    digest = hashlib.blake2b("\x00".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def least_loaded(replicas: Sequence[Replica]) -> Replica:
    """Return the replica with the fewest running requests for its weight; raises ``NotAvailable`` when there is none."""
    if not replicas:
        raise NotAvailable(
            "No replica is available.", remedy="Start one, or wait until a circuit breaker lets a probe pass."
        )
    return min(replicas, key=lambda r: (r.n_under_way / r.weight, r.name))


def by_prefix(replicas: Sequence[Replica], beginning: str, *, most_over: float = 1.25) -> Replica:
    """Return the replica that serves prompts with this prefix, or the next one when it has too many running requests.

    Highest random weight (Thaler and Ravishankar 1998) with bounded loads (Mirrokni, Thorup and Zadimoghaddam 2018):
    no replica gets more than ``most_over`` times its share of the running requests. Adding or removing a replica
    moves only the prefixes of that replica.
    """
    if most_over < 1:
        raise InvalidSpec(f"most_over is {most_over}.", remedy="Give 1 or more.")
    if not replicas:
        return least_loaded(replicas)
    total = sum(r.n_under_way for r in replicas) + 1
    weights = sum(r.weight for r in replicas)
    ranked = sorted(replicas, key=lambda r: -_draw(r.name, beginning))
    for replica in ranked:
        if replica.n_under_way + 1 <= max(1.0, most_over * total * replica.weight / weights):
            return replica
    return least_loaded(replicas)
