"""A search for plans: what was asked, every combination, and what a simulation says of the cheapest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from workbench.catalog.model_spec import ModelSpec
from workbench.catalog.models import language_model_from
from workbench.catalog.paths import workbench_home
from workbench.catalog.prices import own_prices
from workbench.core.errors import NotAvailable
from workbench.core.language import gettext
from workbench.core.traces import read_trace
from workbench.estimate.device_calibration import CALIBRATIONS, offers
from workbench.estimate.precision import OFFERED, STORED, chosen_precision, offered_precisions
from workbench.estimate.search import Curve, Offer, Plan, choose_plans, curves, pareto
from workbench.questions.parallelism.findings.sensitivity import Sensitivity, sensitivities
from workbench.questions.parallelism.spec import PlanSpec
from workbench.simulate.attained import AttainedPlan, attained_plans, judged_plan


@dataclass(frozen=True, kw_only=True)
class Planned:
    """All plans for a load; what takes longer than the search is computed when it is first asked for."""

    spec: PlanSpec
    model: ModelSpec
    offers: Sequence[Offer]
    curves: Sequence[Curve]
    plans: Sequence[Plan]
    best: Sequence[Plan]
    """Plans that no other beats in both cost and time per token, cheapest first."""

    @cached_property
    def attained(self) -> list[AttainedPlan]:
        """Plans whose simulated requests meet the SLO, cheapest first; else the cheapest by its means, which does not hold."""
        return attained_plans(self.model, self.spec, self.offers, self.curves)

    @property
    def simulated(self) -> AttainedPlan | None:
        """The plan that is offered, or the nearest one."""
        return self.attained[0] if self.attained else None

    @property
    def offered(self) -> AttainedPlan | None:
        """The cheapest plan whose simulated requests meet the SLO; None without one."""
        return self.attained[0] if self.attained and self.attained[0].does_hold else None

    @cached_property
    def by_means(self) -> AttainedPlan | None:
        """The cheapest plan by its mean latencies alone, simulated as it is; None where no plan that costs more is offered."""
        offered, cheapest = self.offered, self.best[0] if self.best else None
        if offered is None or cheapest is None or (cheapest.usd_per_hour or 0.0) >= (offered.plan.usd_per_hour or 0.0):
            return None
        return judged_plan(self.model, self.spec, self.offers, cheapest)

    @cached_property
    def sensitivities(self) -> list[Sensitivity]:
        """The cheapest plan by its mean latencies under changed assumptions; empty without a plan."""
        if not self.best:
            return []
        asked = precisions_of(self.spec, self.model)
        return sensitivities(self.model, self.spec, self.offers, self.best[0], precisions=asked)


@dataclass(frozen=True, kw_only=True)
class Searched:
    """Every combination for requests of some lengths, whatever their rate and SLO are."""

    model: ModelSpec
    offers: Sequence[Offer]
    curves: Sequence[Curve]


def search(spec: PlanSpec) -> Searched:
    """Return every combination for the lengths of a load; raises ``NotAvailable`` for a model or a device that cannot be planned."""
    model = language_model_from(spec.model)
    if model.kv_layers is None:
        raise NotAvailable(
            gettext("What the layers of {model} keep of a token is not in the catalogue.").format(model=model.name),
            remedy=gettext("Choose another model."),
        )
    prices = own_prices(Path(spec.prices)) if spec.prices else None
    candidates = offers(spec.devices, own=workbench_home() / CALIBRATIONS, prices=prices)
    found = curves(model, spec, candidates, precisions=precisions_of(spec, model))
    return Searched(model=model, offers=candidates, curves=found)


def plan_load(spec: PlanSpec, *, searched: Callable[[PlanSpec], Searched] = search) -> Planned:
    """Return all plans for a load; raises ``NotAvailable`` for a model or a device that cannot be planned.

    ``searched`` is called with the same spec for all rates and SLOs, so that a panel may keep what it returns.
    """
    spec = _traced(spec)
    found = searched(replace(spec, trace=None, requests_per_s=1.0, ttft_s=1.0, tpot_s=1.0))
    plans = choose_plans(found.curves, spec)
    return Planned(
        spec=spec, model=found.model, offers=found.offers, curves=found.curves, plans=plans, best=pareto(plans)
    )


def precisions_of(spec: PlanSpec, model: ModelSpec) -> tuple[str, ...]:
    """Return the precisions to plan: of those that a plan offers by itself, the ones that make the checkpoint smaller."""
    offered = offered_precisions(model) if STORED in spec.precisions else ()
    asked = [p for p in spec.precisions if not offered or p not in OFFERED or p in offered]
    return tuple(dict.fromkeys(chosen_precision(model, p) for p in asked))


def _traced(spec: PlanSpec) -> PlanSpec:
    """Return the spec with the load of its trace: the rate of the busiest minute, and the mean lengths."""
    if not spec.trace:
        return spec
    trace = read_trace(Path(spec.trace))
    prompt, answer = trace.mean_tokens
    return replace(
        spec, requests_per_s=trace.busiest_per_s, input_tokens=round(prompt), output_tokens=max(1, round(answer))
    )
