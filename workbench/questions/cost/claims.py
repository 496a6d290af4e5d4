"""Judges of the claims about savings: each way is planned for the load that the cost notebook opens with."""

from functools import cache
from math import ceil

from workbench.catalog.ledger import Decision, Evidence, Judge, Judgement, Judges, compared, first_of, untested
from workbench.catalog.models import language_model_from
from workbench.catalog.tables import Claim
from workbench.core.errors import WorkbenchError
from workbench.core.knobs import knobs_of
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.core.units import shown_usd
from workbench.estimate.device_calibration import offers
from workbench.estimate.fleet import Ownership
from workbench.estimate.search import plans
from workbench.questions.cost.findings import Priced, price_load
from workbench.questions.cost.spec import CostSpec

COST = "workbench cost meta-llama/Meta-Llama-3.1-8B h200-sxm --rate 100"


@cache
def opening_price() -> tuple[CostSpec, Priced | None]:
    """Return the load that the cost notebook opens with and what it costs; None where no plan meets its SLO."""
    spec = CostSpec(**{name: field.start for name, field in knobs_of(CostSpec).items()})
    try:
        return spec, price_load(spec)
    except WorkbenchError:
        return spec, None


def saving(technique: str) -> Judge:
    """Return a judge of a way to save."""

    def judge(claim: Claim, evidence: Evidence) -> Judgement | None:
        spec, priced = opening_price()
        way = next((w for w in priced.savings if w.technique == technique), None) if priced else None
        if priced is None or way is None or way.saved_fraction is None:
            return None
        how = gettext(
            "{comparison}. Planned for {model} on {device}, {rate} requests/s of {input} + {output} tokens, {price} USD/h without it; another load saves another share."
        ).format(
            comparison=f"{way.how[0].upper()}{way.how[1:]}",
            model=spec.model,
            device=spec.device,
            rate=f"{spec.requests_per_s:g}",
            input=spec.input_tokens,
            output=spec.output_tokens,
            price=shown_usd(priced.usd_per_hour),
        )
        return compared(
            claim, 100 * way.saved_fraction, how, runs=_calibrations(spec, evidence), provenance=Provenance.ESTIMATED
        )

    return first_of(judge, untested(COST, gettext("No plan meets the SLO without it.")))


def hybrid(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return what the cheapest mix of owned replicas and ones on demand saves over the opening day, beside all on demand."""
    spec, priced = opening_price()
    if priced is None or priced.plan.n_replicas < 2:
        return None
    plan, rented = priced.plan, priced.usd_per_hour / priced.plan.n_replicas
    owned = (
        Ownership(purchase_usd=spec.purchase_usd, used_fraction=1.0).usd_per_hour * plan.n_devices
    )  # every hour is paid
    needed = [ceil(plan.n_replicas * share) for share in spec.day]
    alone = rented * sum(needed)
    prices = {
        n: len(needed) * n * owned + rented * sum(max(0, m - n) for m in needed) for n in range(1, plan.n_replicas)
    }
    best = min(prices, key=lambda n: prices[n])
    how = gettext(
        "{owned} of {n} replicas owned ({purchase} USD a device, {hour} USD/h), the others on demand ({rented} USD/h), over the opening day of the cost notebook, beside the same replicas on demand only."
    ).format(
        owned=best,
        n=plan.n_replicas,
        purchase=shown_usd(spec.purchase_usd),
        hour=shown_usd(owned),
        rented=shown_usd(rented),
    )
    return compared(
        claim,
        100 * (1 - prices[best] / alone),
        how,
        runs=_calibrations(spec, evidence),
        provenance=Provenance.ESTIMATED,
    )


def _calibrations(spec: CostSpec, evidence: Evidence) -> list[Run]:
    """Return the runs that the constants of the estimate come from."""
    return [r for r in evidence.of("calibration") if r.environment.device_id == spec.device]


FAQ_UNITS = {"a100-sxm-80": (4.10, 80.0, 6.0), "h100-sxm": (8.00, 80.0, 12.0)}
"""USD per hour, gigabytes and computing units that the FAQ gives a device (12.4 Q8)."""


def faq_instances(device: str, *, model_gb: float, requests_per_s: float, latency_s: float) -> int | None:
    """Return the instances of the FAQ's cost function, restated; None where it finds the memory too small."""
    _, memory_gb, units = FAQ_UNITS[device]
    if model_gb > 0.8 * memory_gb:
        return None
    most = 100 * units * max(0.1, 1 - model_gb / memory_gb) * max(0.1, 0.1 / latency_s)
    return max(1, int(requests_per_s / most) + 1)


def decisions(_evidence: Evidence) -> list[Decision]:
    """Return the instances that the FAQ's cost function wants beside those of the cheapest plan, for the opening load."""
    spec, rows = CostSpec(**{name: field.start for name, field in knobs_of(CostSpec).items()}), []
    model = language_model_from(spec.model)
    for device in FAQ_UNITS:
        (offer,) = offers([device])
        found = plans(model, spec, [offer], precisions=("bf16",), group_sizes=(1,))[0]
        faq = faq_instances(
            device, model_gb=2 * model.n_params / 1e9, requests_per_s=spec.requests_per_s, latency_s=spec.ttft_s
        )
        ours = found.n_replicas if found.reason is None else None
        rows.append(
            Decision(
                rule="calculate_inference_cost",
                case=gettext("{model}, {device}, {rate} requests/s, latency {seconds} s").format(
                    model=spec.model,
                    device=offer.name,
                    rate=f"{spec.requests_per_s:g}",
                    seconds=f"{spec.ttft_s:g}",
                ),
                faq=gettext("does not fit") if faq is None else gettext("{n} instances").format(n=faq),
                ours=gettext("{n} replicas by mean latencies").format(n=ours)
                if ours
                else gettext("none: {reason}").format(reason=found.reason),
                is_same=faq == ours,
                provenance=Provenance.ESTIMATED,
            )
        )
    return rows


JUDGES: Judges = {
    **{
        (8, name, "cost_saving"): saving(name)
        for name in ("quantization", "dynamic batching", "caching", "spot instances", "distillation")
    },
    (8, "hybrid cloud", "cost_saving"): first_of(
        hybrid, untested(f"{COST} --reserved-usd PRICE", gettext("No price of a whole term is listed."))
    ),
}
"""By question, technique and metric."""
