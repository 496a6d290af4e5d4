"""What a precision plan can be made of, in the unit that the reader pays in, and what the chosen plan comes to."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.core.evaluation import kl_band
from workbench.core.runs import Run
from workbench.core.units import three_digits
from workbench.estimate.mixed_precision import Option, Solution, frontier, priced, solved, uniform
from workbench.experiments.quantization_verdict import Verdict
from workbench.experiments.sensitivity import UNQUANTIZED, bit_options, least_cost, time_options

BITS, BYTES, TIME = "bits", "bytes", "time:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """How a cost is called and shown."""

    name: str
    axis: str
    factor: float
    """From the cost to the number that is shown."""
    suffix: str

    def shown(self, cost: float) -> str:
        """A cost for readers."""
        return f"{three_digits(cost * self.factor)}{self.suffix}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Rank correlation (Spearman) over layer groups of the measured KL with cheaper measures, for one format."""

    format: str
    fisher: float
    weight_error: float
    input_outliers: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSpace:
    """Formats by layer group with their damage and cost, the best plans among them, and what was measured of plans."""

    unit: Unit
    options: Mapping[str, Sequence[Option]]
    corners: Sequence[Solution]
    """Plans that no mixture of others beats, from the cheapest on."""
    uniform: Mapping[str, Solution]
    layers: Sequence[Mapping[str, Any]]
    """Rows of single layer groups."""
    plans: Sequence[Mapping[str, Any]]
    """Rows of measured plans: ``origin`` is solved, random or checked."""
    agreement: Sequence["Agreement"]

    @property
    def low(self) -> float:
        """Cost of the cheapest plan."""
        return self.corners[0].cost

    @property
    def high(self) -> float:
        """Cost beyond which nothing improves."""
        return self.corners[-1].cost

    def best(self, budget: float) -> Solution:
        """The least damaging plan within a budget; the cheapest one when the budget is below it."""
        return solved(self.options, budget=max(budget, least_cost(self.options)))  # type: ignore[arg-type]

    def measured(self) -> Iterator[tuple[Solution, Mapping[str, Any]]]:
        """Measured plans that are made of these options, with their cost in this unit."""
        for row in self.plans:
            solution = priced(self.options, row["plan"])
            if solution is not None:
                yield solution, row

    def verified(self, solution: Solution) -> Mapping[str, Any] | None:
        """The measurement of exactly this plan, the newest if there are several."""
        return next((r for r in self.plans if dict(r["plan"]) == dict(solution.plan)), None)


def plan_space(
    run: Run, *, formats: Sequence[str], cost: str, batch: int, products: Sequence[Run], checks: Sequence[Run]
) -> PlanSpace:
    """The space of a sensitivity run.

    Args:
        run: The sensitivity run.
        formats: Allowed formats; BF16 always is.
        cost: "bits", "bytes", or "time:" with the id of a run in ``products``.
        batch: Tokens that are worked on together, where time is the cost.
        products: Runs that timed products.
        checks: Runs that measured whole plans, newest first.
    """
    allowed = {UNQUANTIZED, *formats}
    layers = [r for r in run.results if r["part"] == "layer group"]
    rows = [r for r in layers if r["format"] in allowed]
    sizes = {r["group"]: r["n_weights"] for r in layers}
    n_weights = sum(sizes.values())
    if cost.startswith(TIME):
        timed = next(p for p in products if p.id == cost.removeprefix(TIME))
        options = time_options(rows, list(timed.results), batch=batch)
        plain = uniform(options)[UNQUANTIZED].cost
        where = f"{timed.environment.device}, {Path(timed.spec['model']).name}"
        unit = Unit(
            name="time", axis=f"time of products, % of BF16 ({where}, {batch} tokens)", factor=100 / plain, suffix=" %"
        )
    else:
        options = bit_options(rows) if rows else {g: [_plain(n / n_weights)] for g, n in sizes.items()}
        factor = n_weights / 8e6 if cost == BYTES else 1.0
        axis = "linear layers, MB with scales" if cost == BYTES else "stored bits per weight, scales included"
        unit = Unit(name=cost, axis=axis, factor=factor, suffix=" MB" if cost == BYTES else " bits")
    options = {g: [o for o in choices if o.format in allowed] for g, choices in options.items()}
    own = [r for r in run.results if r["part"] == "plan"]
    checked = [
        _checked_row(c) for c in checks if c.spec["model"] == run.spec["model"] and "." in next(iter(c.spec["plan"]))
    ]
    return PlanSpace(
        unit=unit,
        options=options,
        corners=frontier(options),
        uniform=uniform(options),
        layers=layers,
        plans=[*checked, *own],
        agreement=agreement(layers),
    )


def _plain(share: float) -> Option:
    return Option(format=UNQUANTIZED, damage=0.0, cost=16 * share)


def _checked_row(check: Run) -> dict[str, Any]:
    row = max(check.results, key=lambda r: r["calibration_windows"])
    return {
        "origin": "checked",
        "plan": check.spec["plan"],
        "stored_bits": row["stored_bits"],
        "verified_kl_nat_per_token": row["mean_kl_nat_per_token"],
        "verified_kl_nat_per_token_low": row["mean_kl_nat_per_token_low"],
        "verified_kl_nat_per_token_high": row["mean_kl_nat_per_token_high"],
    }


def short_format(name: str) -> str:
    """A format's name for a narrow cell: W4, W8A8, FP8."""
    return name.upper().removesuffix("A16")


def without_kernel(products: Sequence[Run]) -> dict[str, str]:
    """Formats for which vLLM had no kernel in the newest run that tried, and where that was."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    for run in products:
        place = f"vLLM {run.environment.packages.get('vllm', '')} on {run.environment.device}".replace("  ", " ")
        timed = {r["format"] for r in run.results}
        for form in set(run.spec["formats"]) - seen:
            if form not in timed:
                found[form] = place
        seen |= set(run.spec["formats"])
    return found


def plan_verdict(space: PlanSpace, chosen: Solution, *, missing: Mapping[str, str], transferred: str | None) -> Verdict:
    """What the chosen plan costs and gains, what that stands on, and the strongest point against it.

    Args:
        space: Where the plan comes from.
        chosen: The plan.
        missing: Formats without a kernel and where.
        transferred: Why costs are of another model than damages, if they are.
    """
    counts: dict[str, int] = {}
    for form in chosen.plan.values():
        counts[form] = counts.get(form, 0) + 1
    mix = ", ".join(f"{n} × {short_format(f)}" for f, n in sorted(counts.items(), key=lambda item: -item[1]))
    name = "all BF16" if set(counts) == {UNQUANTIZED} else mix
    if chosen.damage == 0:
        return Verdict(
            best=None,
            headline=f"This budget ({space.unit.shown(chosen.cost)}) leaves every layer in BF16: nothing is lost.",
            evidence="No format was rounded.",
            objection=f"The cheapest plan costs {space.unit.shown(space.low)}."
            if space.low < chosen.cost
            else "No allowed format is cheaper here: quantization does not pay for these products."
            if len(space.uniform) > 1
            else "No other format is ticked, so there is nothing to choose from.",
        )
    headline = f"{space.unit.shown(chosen.cost)} buy KL {three_digits(chosen.damage)} nat/token ({kl_band(chosen.damage)}): {name}."
    return Verdict(
        best=None,
        headline=headline,
        evidence=_evidence(space, chosen),
        objection=_objection(space, chosen, missing, transferred),
    )


def _evidence(space: PlanSpace, chosen: Solution) -> str:
    row = space.verified(chosen)
    n = len({r["group"] for r in space.layers})
    told = f"Predicted by adding up the measured damage of {n} layer groups alone"
    if row is None:
        return f"{told}; this very plan has not been measured: press Verify."
    kl = row["verified_kl_nat_per_token"]
    off = f", {abs(chosen.damage / kl - 1) * 100:.1f} % off" if kl else ""
    low, high = row["verified_kl_nat_per_token_low"], row["verified_kl_nat_per_token_high"]
    return f"{told}; verified: {three_digits(kl)} [{three_digits(low)}, {three_digits(high)}] nat/token{off}."


def _objection(space: PlanSpace, chosen: Solution, missing: Mapping[str, str], transferred: str | None) -> str:
    points = []
    unserved = sorted({f for f in chosen.plan.values() if f in missing})
    if unserved:
        names = " and ".join(short_format(f) for f in unserved)
        points.append(f"{names}: no kernel in {missing[unserved[0]]}, so this plan cannot be served there; untick it")
    affordable = [(name, s) for name, s in space.uniform.items() if s.cost <= chosen.cost * 1.03]
    if affordable:
        name, rival = min(affordable, key=lambda item: (item[1].damage, item[1].cost))
        gain = rival.damage / chosen.damage if chosen.damage else float("inf")
        if len(set(chosen.plan.values())) == 1:
            points.append("one format everywhere does it: no mixing is needed")
        elif gain < 1.05:
            points.append(f"{short_format(name)} everywhere is as good for {space.unit.shown(rival.cost)}")
        else:
            points.append(
                f"{short_format(name)} everywhere is simpler: {space.unit.shown(rival.cost)}, "
                f"KL {three_digits(rival.damage)} ({gain:.1f} times as much)"
            )
    if transferred:
        points.append(transferred)
    text = "; ".join(points[:3]) or "adding up leaves out what groups do to each other"
    return text[0].upper() + text[1:] + "."


def agreement(layers: Sequence[Mapping[str, Any]]) -> list[Agreement]:
    """How far the Fisher proxy, the weight error and the outliers of inputs order layer groups as the measured KL does."""
    from scipy.stats import spearmanr

    made = []
    for form in dict.fromkeys(r["format"] for r in layers):
        rows = [r for r in layers if r["format"] == form]
        if len(rows) > 2:
            direct = [r["kl_nat_per_token"] for r in rows]
            fisher, error, outliers = (
                float(spearmanr(direct, [r[name] for r in rows]).statistic)
                for name in ("fisher_kl_nat_per_token", "weight_error_fraction", "input_outlier_ratio")
            )
            made.append(Agreement(format=form, fisher=fisher, weight_error=error, input_outliers=outliers))
    return made
