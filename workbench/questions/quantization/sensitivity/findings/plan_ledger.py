"""The cost of a plan in every unit: bits, bytes, and time of products on each device where they were timed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.core.language import ngettext
from workbench.core.runs import Run
from workbench.estimate.mixed_precision import priced, uniform
from workbench.estimate.rows import ProductTime
from workbench.questions.quantization.sensitivity.rows import (
    UNQUANTIZED,
    GroupDamage,
    Options,
    bit_options,
    group_sizes,
    time_options,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedAt:
    """Products that were timed: where, of which model, for how many tokens."""

    label: str
    options: Options
    plain_s: float
    """All products in BF16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Costs of a plan in all units, whatever unit the budget is in."""

    bits: Options
    n_weights: int
    timed: Sequence[TimedAt]
    """The slowest products first: those of the largest model or the weakest device."""

    def stored_bits(self, plan: Mapping[str, str]) -> float | None:
        """Return bits per weight, scales included."""
        solution = priced(self.bits, plan)
        return solution.cost if solution else None

    def stored_bytes(self, plan: Mapping[str, str]) -> float | None:
        """Return bytes of the linear layers."""
        bits = self.stored_bits(plan)
        return None if bits is None else bits * self.n_weights / 8

    def time_fractions(self, plan: Mapping[str, str]) -> list[float | None]:
        """Return the time of all products over BF16's, for each of ``timed``; None where a format has no kernel."""
        priced_plans = [(priced(t.options, plan), t.plain_s) for t in self.timed]
        return [solution.cost / plain if solution else None for solution, plain in priced_plans]


def ledger(run: Run, products: Sequence[Run], *, batch: int) -> Ledger:
    """Return the ledger of a sensitivity run.

    Args:
        run: The sensitivity run.
        products: Runs that timed products; those without this batch are taken at their nearest smaller one.
        batch: Tokens in one product.
    """
    timed, damages = [], run.rows(GroupDamage)
    for p in products:
        times = p.rows(ProductTime)
        batches = sorted({r.batch for r in times})
        at = max((b for b in batches if b <= batch), default=batches[0])
        options = time_options(damages, times, batch=at)
        plain = uniform(options).get(UNQUANTIZED)
        if plain is not None:
            text = ngettext("{device}, {model}, {n} token", "{device}, {model}, {n} tokens", at)
            label = text.format(device=p.environment.device, model=Path(p.model or "").name, n=at)
            timed.append(TimedAt(label=label, options=options, plain_s=plain.cost))
    timed.sort(key=lambda t: -t.plain_s)
    return Ledger(bits=bit_options(damages), n_weights=sum(group_sizes(damages).values()), timed=timed)
