"""The formats that a precision plan can consist of, with their cost in the unit of the budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.calibrate.gemm.spec import GemmSpec
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.statistics import Interval
from workbench.core.units import three_digits
from workbench.estimate.mixed_precision import Option, Solution, frontier, priced, solved, uniform
from workbench.estimate.rows import ProductTime
from workbench.questions.quantization.plan_damage.rows import PlanDamage
from workbench.questions.quantization.plan_damage.spec import PlanDamageSpec
from workbench.questions.quantization.sensitivity.rows import (
    UNQUANTIZED,
    GroupDamage,
    Options,
    PlanResult,
    bit_options,
    group_sizes,
    least_cost,
    time_options,
)

BITS, BYTES, TIME = "bits", "bytes", "time:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Name, axis title and display of a cost."""

    name: str
    axis: str
    factor: float
    """From the cost to the number that is shown."""
    suffix: str

    def shown(self, cost: float) -> str:
        """Return a cost for readers."""
        return f"{three_digits(cost * self.factor)}{self.suffix}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedPlan:
    """A plan whose divergence was measured as a whole."""

    plan: Mapping[str, str]
    kl: Interval
    is_random: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPlan:
    """The divergence of a whole plan, with its cost in some unit."""

    cost: float
    kl: Interval
    is_random: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSpace:
    """Formats of each layer group with damage and cost, the best plans, and the measured plans."""

    unit: Unit
    options: Options
    corners: Sequence[Solution]
    """Plans that no mixture of others beats, from the cheapest on."""
    uniform: Mapping[str, Solution]
    layers: Sequence[GroupDamage]
    plans: Sequence[VerifiedPlan]
    """Measured plans, the newest first."""

    @property
    def low(self) -> float:
        """Cost of the cheapest plan of the space."""
        return self.corners[0].cost

    @property
    def high(self) -> float:
        """Cost beyond which the damage no longer falls."""
        return self.corners[-1].cost

    def best(self, budget: float) -> Solution:
        """Return the least damaging plan within a budget; the cheapest one when the budget is below it."""
        return solved(self.options, budget=max(budget, least_cost(self.options)))

    def measured(self) -> list[MeasuredPlan]:
        """Return the measured plans that are made of these options, with their cost in this unit."""
        return [
            MeasuredPlan(cost=solution.cost, kl=p.kl, is_random=p.is_random)
            for p in self.plans
            if (solution := priced(self.options, p.plan)) is not None
        ]

    def verified(self, solution: Solution) -> VerifiedPlan | None:
        """Return the measurement of exactly this plan, the newest if there are several."""
        return next((p for p in self.plans if dict(p.plan) == dict(solution.plan)), None)


def plan_space(
    run: Run, *, formats: Sequence[str], cost: str, batch: int, products: Sequence[Run], checks: Sequence[Run]
) -> PlanSpace:
    """Return the space of a sensitivity run.

    Args:
        run: The sensitivity run.
        formats: Allowed formats; BF16 always is.
        cost: "bits", "bytes", or "time:" with the id of a run in ``products``.
        batch: Tokens in one product, where time is the cost.
        products: Runs that timed products.
        checks: Runs that measured whole plans, newest first.
    """
    allowed, layers = {UNQUANTIZED, *formats}, run.rows(GroupDamage)
    n_weights = sum(group_sizes(layers).values())
    if cost.startswith(TIME):
        timed = next(p for p in products if p.id == cost.removeprefix(TIME))
        options = time_options(layers, timed.rows(ProductTime), batch=batch)
        where = gettext("{device}, {model}, {batch} tokens").format(
            device=timed.environment.device, model=Path(timed.model or "").name, batch=batch
        )
        plain = uniform(options)[UNQUANTIZED].cost
        unit = Unit(
            name="time",
            axis=gettext("time of products, % of BF16 ({where})").format(where=where),
            factor=100 / plain,
            suffix=" %",
        )
    else:
        options = bit_options(layers)
        unit = Unit(
            name=BITS, axis=gettext("stored bits per weight, scales included"), factor=1.0, suffix=gettext(" bits")
        )
        if cost == BYTES:
            unit = Unit(name=BYTES, axis=gettext("linear layers, MB with scales"), factor=n_weights / 8e6, suffix=" MB")
    offered: dict[str, list[Option]] = {g: [o for o in own if o.format in allowed] for g, own in options.items()}
    # A plan by roles is a verification of no single plan of this space.
    own = [c for c in checks if c.model == run.model and "." in next(iter(c.asked(PlanDamageSpec).plan))]
    return PlanSpace(
        unit=unit,
        options=offered,
        corners=frontier(offered),
        uniform=uniform(offered),
        layers=layers,
        plans=[
            *map(_checked, own),
            *(
                VerifiedPlan(plan=r.plan, kl=r.verified_kl_nat_per_token, is_random=r.origin == "random")
                for r in run.rows(PlanResult)
            ),
        ],
    )


def _checked(check: Run) -> VerifiedPlan:
    row = max(check.rows(PlanDamage), key=lambda r: r.calibration_windows)
    return VerifiedPlan(plan=check.asked(PlanDamageSpec).plan, kl=row.mean_kl_nat_per_token)


def without_kernel(products: Sequence[Run]) -> dict[str, str]:
    """Return the formats for which vLLM had no kernel in the newest run that tried, and where that was."""
    places: dict[str, str] = {}
    tried: set[str] = set()
    for run in products:
        place = (
            gettext("vLLM {version} on {device}")
            .format(version=run.environment.packages.get("vllm", ""), device=run.environment.device)
            .replace("  ", " ")
        )
        timed, formats = {r.format for r in run.rows(ProductTime)}, set(run.asked(GemmSpec).formats)
        places |= dict.fromkeys(formats - tried - timed, place)
        tried |= formats
    return places
