"""Judges of the claims about savings: each way is planned for the load that the cost notebook opens with."""

from functools import cache
from math import ceil

from workbench.catalog.ledger import Evidence, Judge, Judgement, Judges, compared, first_of, untested
from workbench.catalog.tables import Claim
from workbench.core.errors import WorkbenchError
from workbench.core.knobs import knobs_of
from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.core.units import shown_usd
from workbench.estimate.fleet import Ownership
from workbench.estimate.search import Plan
from workbench.questions.cost.findings import case_of
from workbench.questions.cost.findings.savings import Saving, savings
from workbench.questions.cost.spec import CostSpec

COST = "workbench cost meta-llama/Meta-Llama-3.1-8B h200-sxm --rate 100"


@cache
def opening_savings() -> tuple[CostSpec, tuple[Saving, ...], Plan | None]:
    """Return the opening load of the cost notebook, its ways to save, and its plan; none where it cannot be planned."""
    spec = CostSpec(**{name: field.start for name, field in knobs_of(CostSpec).items()})
    try:
        base, ways = savings(case_of(spec))
    except WorkbenchError:
        return spec, (), None
    return spec, tuple(ways), base.plan if base else None


def saving(technique: str) -> Judge:
    """Return a judge of a way to save."""

    def judge(claim: Claim, evidence: Evidence) -> Judgement | None:
        spec, ways, plan = opening_savings()
        way = next((w for w in ways if w.technique == technique), None)
        if plan is None or way is None or way.saved_fraction is None:
            return None
        how = (
            f"{way.how[0].upper()}{way.how[1:]}. Planned for {spec.model} on {spec.device}, {spec.requests_per_s:g} requests/s of {spec.input_tokens} + "
            f"{spec.output_tokens} tokens, {shown_usd(plan.usd_per_hour or 0)} USD/h without it; another load saves another share."
        )
        return compared(
            claim, 100 * way.saved_fraction, how, runs=_calibrations(spec, evidence), provenance=Provenance.ESTIMATED
        )

    return first_of(judge, untested(COST, "No plan meets the SLO without it."))


def hybrid(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return what the cheapest mix of owned replicas and ones on demand saves over the opening day, beside all on demand."""
    spec, _, plan = opening_savings()
    if plan is None or plan.usd_per_hour is None:
        return None
    rented, owned = (
        plan.usd_per_hour / plan.n_replicas,
        Ownership(purchase_usd=spec.purchase_usd).usd_per_hour * plan.n_devices,
    )
    needed = [ceil(plan.n_replicas * share) for share in spec.day]
    prices = [len(needed) * n * owned + rented * sum(max(0, m - n) for m in needed) for n in range(plan.n_replicas + 1)]
    best = min(range(len(prices)), key=lambda n: prices[n])
    how = (
        f"{best} of {plan.n_replicas} replicas owned ({shown_usd(spec.purchase_usd)} USD a device, {shown_usd(owned)} USD/h), the others on demand "
        f"({shown_usd(rented)} USD/h), over the opening day of the cost notebook, beside the same replicas on demand only."
    )
    return compared(
        claim,
        100 * (1 - min(prices) / prices[0]),
        how,
        runs=_calibrations(spec, evidence),
        provenance=Provenance.ESTIMATED,
    )


def _calibrations(spec: CostSpec, evidence: Evidence) -> list[Run]:
    """Return the runs that the constants of the estimate come from."""
    return [r for r in evidence.of("calibration") if r.environment.device_id == spec.device]


JUDGES: Judges = {
    **{
        (8, name, "cost_saving"): saving(name)
        for name in ("quantization", "dynamic batching", "caching", "spot instances", "distillation")
    },
    (8, "hybrid cloud", "cost_saving"): first_of(
        hybrid, untested(f"{COST} --reserved-usd PRICE", "No price of a whole term is listed.")
    ),
}
"""By question, technique and metric."""
