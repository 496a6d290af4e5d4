"""Causes of a change of latency, and what speaks for and against each.

Every cause is a list of clues. A clue reads one difference between a healthy load and the one in question, and says how strongly it speaks:
from -1 (against) over 0 (nothing was seen, or it says nothing) to 1 (for). Its weight says how much that counts. A clue without a reading is
left out, so that less telemetry gives less certain answers and not wrong ones.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from workbench.experiments.observation import Observation

Reading = tuple[float, str]
ALONE_BY = 1.2
CHANCE_Z = 2.33  # one side, 99 %
Clue = Callable[[Observation, Observation], Reading | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One possible cause."""

    key: str
    title: str
    remedy: str
    clues: tuple[tuple[float, Clue], ...]
    """Weight, and what is read."""
    needs: str | None = None
    """A quantity without which the cause is not weighed at all."""


def strength(x: float, none: float, full: float) -> float:
    """0 at ``none`` or less, 1 at ``full`` or more, straight in between."""
    return min(1.0, max(0.0, (x - none) / (full - none)))


def more(name: str, text: str, *, by: float = 1.2, surely: float = 1.6, otherwise: float = -1.0) -> Clue:
    """A quantity grew by a factor; ``otherwise`` is what it says when it did not."""

    def read(a: Observation, b: Observation) -> Reading | None:
        before, after = a.get(name), b.get(name)
        if before is None or after is None or before <= 0:
            return None
        factor = after / before
        told = f"{text} {_shown(before)} → {_shown(after)} (×{factor:.2f})"
        if factor <= by:
            return otherwise * strength(by - factor, 0.0, by - 1.0), told
        return strength(math.log(factor), math.log(by) * 0.8, math.log(surely)), told

    return read


def more_requests(a: Observation, b: Observation) -> Reading | None:
    """More requests came, beyond what arrivals at random differ by: the lower end of the ratio of two Poisson counts is read."""
    before, after = a.get("offered_per_s"), b.get("offered_per_s")
    if not before or not after or a.n_requests < 2 or b.n_requests < 2:
        return None
    factor = after / before
    sure = factor * math.exp(-CHANCE_Z * math.sqrt(1 / a.n_requests + 1 / b.n_requests))
    told = f"requests per second {_shown(before)} → {_shown(after)} (×{factor:.2f}, at least ×{max(sure, 0.0):.2f})"
    if sure <= 1.05:
        return -strength(1.25 - factor, -0.25, 0.15), told
    return strength(math.log(sure), 0.0, math.log(1.35)), told


def more_gpu_processes(a: Observation, b: Observation) -> Reading | None:
    """Programs that compute on the GPU; nothing where its list does not even name the server, as inside a container."""
    before, after = a.get("gpu0.processes"), b.get("gpu0.processes")
    if before is None or after is None or before < 1:
        return None
    told = f"processes that compute on the GPU {_shown(before)} → {_shown(after)}"
    return (-1.0 if after - before <= 0.4 else strength(after - before, 0.0, 0.9)), told


def less(name: str, text: str, *, to: float = 0.85, surely: float = 0.6, otherwise: float = -1.0) -> Clue:
    """A quantity fell to a share of what it was."""

    def read(a: Observation, b: Observation) -> Reading | None:
        before, after = a.get(name), b.get(name)
        if before is None or after is None or before <= 0:
            return None
        share = after / before
        told = f"{text} {_shown(before)} → {_shown(after)} (×{share:.2f})"
        if share >= to:
            return otherwise * strength(share - to, 0.0, 1.0 - to), told
        return strength(-share, -to, -surely), told

    return read


def added(name: str, text: str, *, none: float, full: float, unit: str = "", otherwise: float = -1.0) -> Clue:
    """A quantity grew by an amount."""

    def read(a: Observation, b: Observation) -> Reading | None:
        before, after = a.get(name), b.get(name)
        if before is None or after is None:
            return None
        grown = after - before
        told = f"{text} {_shown(before)} → {_shown(after)}{' ' + unit if unit else ''}"
        if grown <= none:
            return otherwise * strength(none - grown, 0.0, max(none, 1e-9)), told
        return strength(grown, none, full), told

    return read


def same(name: str, text: str, *, within: float = 1.25) -> Clue:
    """A quantity stayed as it was, which the cause needs; otherwise it speaks against it."""

    def read(a: Observation, b: Observation) -> Reading | None:
        before, after = a.get(name), b.get(name)
        if before is None or after is None or before <= 0 or after <= 0:
            return None
        apart = abs(math.log(after / before)) / math.log(within)
        told = f"{text} {_shown(before)} → {_shown(after)}"
        return (0.0 if apart <= 1 else -min(1.0, apart - 1)), told

    return read


def reaches(name: str, text: str, *, none: float, full: float, otherwise: float = -1.0) -> Clue:
    """A quantity is high now, and was not before."""

    def read(a: Observation, b: Observation) -> Reading | None:
        before, after = a.get(name), b.get(name)
        if after is None:
            return None
        told = f"{text} {_shown(after)}" + ("" if before is None else f" (before {_shown(before)})")
        if before is not None and strength(before, none, full) >= 0.8:
            return 0.0, told + ": as before"
        if after <= none:
            return otherwise, told
        return strength(after, none, full), told

    return read


def limit_changed(name: str, text: str, *, grown: bool) -> Clue:
    """A limit that the server announces."""

    def read(a: Observation, b: Observation) -> Reading | None:
        try:
            before, after = (float(o.server["limits"][name]) for o in (a, b))
        except (KeyError, TypeError, ValueError):
            return None
        told = f"{text} {before:.0f} → {after:.0f}"
        changed = after > before if grown else after < before
        return (1.0 if changed else -1.0), told

    return read


def factor_alone(a: Observation, b: Observation) -> tuple[float, str] | None:
    """How many times as long the server takes when it is asked alone: for a token, or for a long prompt, whichever grew more."""
    found = []
    for name, text in (("probe.tpot_s", "token"), ("probe.long_ttft_s", "long prompt")):
        # Without the way there and back, where it was measured.
        before, after = ((o.get(name) or 0.0) - (o.get("probe.health_s") or 0.0) for o in (a, b))
        if name == "probe.tpot_s":
            before, after = a.get(name) or 0.0, b.get(name) or 0.0
        if before > 0 and after > 0:
            found.append((after / before, f"asked alone, a {text} takes {1000 * before:.1f} → {1000 * after:.1f} ms"))
    return max(found) if found else None


def slower_alone(a: Observation, b: Observation) -> Reading | None:
    """The server itself is slower, whatever is sent."""
    found = factor_alone(a, b)
    if found is None:
        return None
    factor, told = found
    if factor <= ALONE_BY:
        return -strength(ALONE_BY - factor, 0.0, ALONE_BY - 1.0), told
    return strength(math.log(factor), math.log(ALONE_BY) * 0.8, math.log(1.6)), told


def as_fast_alone(a: Observation, b: Observation) -> Reading | None:
    """The server itself is not slower, as a cause in the load needs it."""
    found = factor_alone(a, b)
    if found is None:
        return None
    return -strength(math.log(found[0]), math.log(1.25), math.log(1.6)), found[1]


def answers_differ(a: Observation, b: Observation) -> Reading | None:
    """Greedy answers to the same questions."""
    pairs = [(x, y) for x, y in zip(a.answers, b.answers, strict=False) if x is not None and y is not None]
    if not pairs:
        return None
    n = sum(x != y for x, y in pairs)
    told = f"{n} of {len(pairs)} greedy answers differ"
    return (-1.0 if n == 0 else 0.7 if n == 1 else 1.0), told


def described_differently(a: Observation, b: Observation) -> Reading | None:
    """Model and version as the server names them."""
    before, after = (
        {
            "models": [{k: v for k, v in m.items() if k != "max_model_len"} for m in o.server.get("models") or []],
            "version": o.server.get("version"),
        }
        for o in (a, b)
    )
    if not before["models"] or not after["models"]:
        return None
    changed = [k for k in before if before[k] != after[k]]
    if not changed:
        return -0.4, "the server names the same model and version"
    return 1.0, f"the server names another {' and another '.join(c.removesuffix('s') for c in changed)}"


def failures_grew(a: Observation, b: Observation) -> Reading | None:
    """Share of failed requests, with what the server said."""
    before, after = a.get("failed_fraction"), b.get("failed_fraction")
    if before is None or after is None:
        return None
    counts = {t: sum(t in e for e in b.errors) for t in ("HTTP 5", "HTTP 429", "timeout", "no connection")}
    kinds = ", ".join(f"{n} × {t}" for t, n in counts.items() if n) or ", ".join(sorted(set(b.errors))[:1])
    told = f"failed requests {100 * before:.1f} % → {100 * after:.1f} %" + (f" ({kinds})" if kinds else "")
    if after - before <= 0.005:
        return -1.0, told
    return strength(after - before, 0.0, 0.02), told


def stalls_alone(a: Observation, b: Observation) -> Reading | None:
    """Streams that stall while others go on."""
    return _stalls(a, b, together=False)


def stalls_together(a: Observation, b: Observation) -> Reading | None:
    """Streams that all stall at once."""
    return _stalls(a, b, together=True)


def _stalls(a: Observation, b: Observation, *, together: bool) -> Reading | None:
    """Whether stalls grew, and whether others stall with them more often than chance would have it."""
    grown = _stalls_grew(a, b)
    if grown is None:
        return None
    n, told = grown
    if n <= 0:
        return (-0.4 if together else -1.0), told
    shared, by_chance = b.get("stalls_shared_fraction"), b.get("stall_fraction") or 0.0
    if shared is None or by_chance >= 1:
        return (0.3 if together else 0.5) * n, told
    excess = (shared - by_chance) / (1 - by_chance)
    side = max(-1.0, min(1.0, 3 * (excess - 0.5)))
    return n * (
        side if together else -side
    ), f"{told}; {100 * shared:.0f} % of other answers with them ({100 * by_chance:.0f} % by chance)"


def _stalls_grew(a: Observation, b: Observation) -> Reading | None:
    before, after = a.get("stalls_per_answer"), b.get("stalls_per_answer")
    if before is None or after is None:
        return None
    return strength(after - before, 0.02, 0.2), f"stalls between tokens of an answer {before:.2f} → {after:.2f}"


def share_of_change(*parts: str) -> Clue:
    """How much of the growth of the wait for a whole answer these parts explain."""
    names = {"queue": "server.queue_s", "prefill": "server.prefill_s", "decode": "server.decode_s"}

    def read(a: Observation, b: Observation) -> Reading | None:
        found: dict[str, float] = {}
        for part, name in names.items():
            before, after = a.get(name), b.get(name)
            if before is None or after is None:
                return None
            found[part] = after - before
        before, after = a.get("e2e_s"), b.get("e2e_s")
        if before is None or after is None or after - before < 0.1 * before:
            return None
        found["outside"] = (after - before) - sum(found.values())
        share = sum(found[p] for p in parts) / (after - before)
        where = " and ".join("client and network" if p == "outside" else p for p in parts)
        return max(-1.0, min(1.0, 2 * share - 0.8)), f"{100 * share:.0f} % of the change lies in {where}"

    return read


def _shown(x: float) -> str:
    return f"{x:.3g}" if abs(x) < 10_000 else f"{x:.4g}"
