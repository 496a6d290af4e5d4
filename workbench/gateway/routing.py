"""Which replica answers: the one that has read the beginning before, unless it has too much; and which version a user sees."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.core.errors import InvalidSpec, NotAvailable


@dataclass(slots=True, kw_only=True)
class Replica:
    """A server behind the gateway."""

    name: str
    url: str
    weight: float = 1.0
    n_under_way: int = 0


def _draw(*parts: str) -> float:
    """A number in [0, 1) that is the same for the same texts, in every process."""
    digest = hashlib.blake2b("\x00".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def least_loaded(replicas: Sequence[Replica]) -> Replica:
    """The replica with the fewest requests for its weight; raises ``NotAvailable`` when there is none."""
    if not replicas:
        raise NotAvailable("No replica can be asked.", remedy="Start one, or wait until a breaker lets it be tried.")
    return min(replicas, key=lambda r: (r.n_under_way / r.weight, r.name))


def by_prefix(replicas: Sequence[Replica], beginning: str, *, most_over: float = 1.25) -> Replica:
    """The replica that is responsible for prompts with this beginning, as long as it has not too much; then the next.

    Highest random weight (Thaler and Ravishankar 1998) with bounded loads (Mirrokni, Thorup and Zadimoghaddam 2018): none gets more than
    ``most_over`` times its share of what is under way.

    Args:
        replicas: That can be asked; a replica that comes or goes moves only the beginnings that are its own.
        beginning: First characters or tokens of a prompt.
        most_over: At least 1.
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


def version_for(user: str, shares: Mapping[str, float], *, salt: str = "") -> str:
    """The version that a user sees: always the same, and with a growing share only from old to new.

    Args:
        user: Whoever must not see versions change to and fro.
        shares: By version, the stable one first; together 1.
        salt: Of this rollout, so that it is not always the same users who see what is new.
    """
    if not shares or abs(sum(shares.values()) - 1) > 1e-9 or any(not 0 <= s <= 1 for s in shares.values()):
        raise InvalidSpec(f"Shares of {dict(shares)}.", remedy="Give shares from 0 to 1 that add up to 1.")
    drawn = _draw(salt, user)
    at = 1.0
    for version, share in reversed(list(shares.items())):  # the newest takes the upper end, which grows downwards
        at -= share
        if share > 0 and drawn >= at - 1e-12:
            return version
    return next(v for v, s in shares.items() if s > 0)
