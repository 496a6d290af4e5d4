"""What a plan costs in every unit at once: bits, bytes, and time of products wherever they were timed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.core.runs import Run
from workbench.estimate.mixed_precision import Option, priced, uniform
from workbench.experiments.sensitivity import UNQUANTIZED, bit_options, time_options


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedAt:
    """Products that were timed: where, of which model, for how many tokens."""

    label: str
    options: Mapping[str, Sequence[Option]]
    plain_s: float
    """All products in BF16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Everything that a plan costs at once, whatever unit the budget is in."""

    bits: Mapping[str, Sequence[Option]]
    n_weights: int
    timed: Sequence[TimedAt]
    """The slowest products first: those of the largest model or the weakest device."""

    def stored_bits(self, plan: Mapping[str, str]) -> float | None:
        """Bits per weight, scales included."""
        solution = priced(self.bits, plan)
        return solution.cost if solution else None

    def stored_bytes(self, plan: Mapping[str, str]) -> float | None:
        """Bytes of the linear layers."""
        bits = self.stored_bits(plan)
        return None if bits is None else bits * self.n_weights / 8

    def time_fractions(self, plan: Mapping[str, str]) -> list[float | None]:
        """Time of all products over BF16's, for each of ``timed``; None where a format has no kernel."""
        priced_plans = [(priced(t.options, plan), t.plain_s) for t in self.timed]
        return [solution.cost / plain if solution else None for solution, plain in priced_plans]


def ledger(run: Run, products: Sequence[Run], *, batch: int) -> Ledger:
    """The ledger of a sensitivity run.

    Args:
        run: The sensitivity run.
        products: Runs that timed products; those without this batch are taken at their nearest smaller one.
        batch: Tokens that are worked on together.
    """
    layers = [r for r in run.results if r["part"] == "layer group"]
    timed = []
    for p in products:
        batches = sorted({int(r["batch"]) for r in p.results})
        at = max((b for b in batches if b <= batch), default=batches[0])
        options = time_options(layers, list(p.results), batch=at)
        plain = uniform(options).get(UNQUANTIZED)
        if plain is not None:
            label = f"{p.environment.device}, {Path(p.spec['model']).name}, {at} token{'s' if at > 1 else ''}"
            timed.append(TimedAt(label=label, options=options, plain_s=plain.cost))
    timed.sort(key=lambda t: -t.plain_s)
    sizes = {r["group"]: r["n_weights"] for r in layers}
    return Ledger(bits=bit_options(layers), n_weights=sum(sizes.values()), timed=timed)
