"""Judges of the claims about surges: how soon a remedy takes effect, and what a flood leaves for the other clients."""

from collections import deque
from dataclasses import dataclass

from workbench.catalog.ledger import (
    RECOMMENDATION,
    Decision,
    Evidence,
    Judge,
    Judgement,
    Judges,
    compared,
    first_of,
    not_testable,
    untested,
)
from workbench.catalog.tables import Claim
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.units import shown_duration
from workbench.gateway.token_bucket import Buckets, Rate, Reservation
from workbench.questions.surge.rows import SurgeResult, SurgeSamples
from workbench.questions.surge.spec import SurgeSpec
from workbench.questions.surge.standby.findings import NAMES, cold_of, shown_time, times
from workbench.questions.surge.standby.rows import WARM, StandbyState

SURGE = "workbench surge"
FLOODER = "batch"
"""Client that sends the surge; the others send what they always do."""


def takes_effect(control: str, note: str = "") -> Judge:
    """Return a judge of the time after which a control keeps the goodput of the surge at its own mean, by the second."""

    def judge(claim: Claim, evidence: Evidence) -> Judgement | None:
        for run, rows in evidence.with_rows("surge", SurgeResult):
            row = next((r for r in rows if r.controls == control), None)
            base = next((r for r in rows if r.controls == "open"), None)
            if row is None or base is None or not isinstance(run.samples, SurgeSamples):
                continue
            spec = run.asked(SurgeSpec)
            seconds = run.samples.over_time[control].good[int(spec.calm_s) : int(spec.calm_s + spec.surge_s)]
            if not seconds or row.goodput_per_s <= 2 * base.goodput_per_s:
                continue
            at = next(i for i, good in enumerate(seconds) if good >= 0.5 * row.goodput_per_s)
            how = gettext(
                "Second of a surge of {factor} times the capacity in which half of the later goodput is reached: {goodput} requests/s within the SLO, {without} without controls. Counted in whole seconds."
            ).format(
                factor=f"{spec.overload:g}", goodput=f"{row.goodput_per_s:.1f}", without=f"{base.goodput_per_s:.1f}"
            )
            return compared(
                claim,
                float(at),
                gettext("{first} {second}").format(first=how, second=note) if note else how,
                runs=(run,),
            )
        return None

    return first_of(judge, untested(SURGE, gettext("No run measured it beside the gateway without controls.")))


def bystanders(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return the share of the other clients' requests that met the SLO while one client flooded, with rate limits alone."""
    for run, rows in evidence.with_rows("surge", SurgeResult):
        shares = {}
        for row in rows:
            others = [t for name, t in row.tenants.items() if name != FLOODER]
            asked = sum(t.asked_per_s for t in others)
            if FLOODER in row.tenants and asked:
                shares[row.controls] = 100 * sum(t.good_per_s for t in others) / asked
        if "rates" not in shares:
            continue
        best = max(shares, key=lambda name: shares[name])
        how = gettext(
            "Requests of the other clients within the SLO while one client sends {factor} times the capacity: {rates} % with rate limits, {without} % without controls, {most} % with “{best}”. No CDN: answers to new prompts cannot be cached by one."
        ).format(
            factor=f"{run.asked(SurgeSpec).overload:g}",
            rates=f"{shares['rates']:.0f}",
            without=f"{shares.get('open', 0):.0f}",
            most=f"{shares[best]:.0f}",
            best=best,
        )
        return compared(claim, shares["rates"], how, runs=(run,))
    return None


def pre_warmed(claim: Claim, evidence: Evidence) -> Judgement | None:
    """Return the median of the slowest pre-warmed state with right answers, from the decision to the first token; on a GPU where one was measured."""
    on_gpu = evidence.with_rows("standby", StandbyState, on_gpu=True)
    for run, _ in on_gpu or evidence.with_rows("standby", StandbyState):
        states = times(run)
        warm = {s: states[s] for s in WARM if s in states and states[s].is_same_answer}
        if not warm:
            continue
        slowest = max(warm, key=lambda s: warm[s].first_token_s or 0.0)
        how = gettext(
            "From the decision to the first token through a running gateway, medians [minimum, maximum]: {states}. The slowest counts, “{slowest}”. A cold start of the same replica takes {cold}."
        ).format(
            states=gettext("; ").join(f"{NAMES[s]} {shown_time(r)}" for s, r in warm.items()),
            slowest=NAMES[slowest],
            cold=shown_duration(cold_of(states).first_token_s),
        )
        return compared(claim, warm[slowest].first_token_s or 0.0, how, runs=(run,))
    return None


FAQ_HISTORY = 60
"""Requests that the FAQ's limiter remembers (12.3 Q6), so that it never counts more in a second."""
FLOODS = ((100.0, 50), (2000.0, 1000), (500.0, 1000))
"""Requests per second that arrive, and the limit that is set."""
FLOOD_S = 10


def faq_admitted(rate_per_s: float, limit: int) -> int:
    """Return the requests that the FAQ's limiter admits in ``FLOOD_S`` seconds, restated: refused ones count too."""
    history: deque[float] = deque(maxlen=FAQ_HISTORY)
    admitted = 0
    for i in range(round(FLOOD_S * rate_per_s)):
        now = i / rate_per_s
        history.append(now)
        admitted += sum(now - at < 1.0 for at in history) <= limit
    return admitted


def bucket_admitted(rate_per_s: float, limit: int) -> int:
    """Return the requests that a bucket of the gateway with this limit admits of the same arrivals."""
    clock = ManualTime()
    buckets = Buckets(Rate(per_s=limit, burst=2.0), clock=clock)
    admitted = 0
    for i in range(round(FLOOD_S * rate_per_s)):
        clock.now_s = i / rate_per_s
        admitted += isinstance(buckets.reserve("client", 1.0), Reservation)
    return admitted


@dataclass(slots=True)
class ManualTime:
    """A clock that is set."""

    now_s: float = 0.0

    def __call__(self) -> float:
        """Return the time that was set last."""
        return self.now_s


def decisions(_evidence: Evidence) -> list[Decision]:
    """Return what the FAQ's limiter and a bucket of the gateway admit of the same arrivals."""
    rows = []
    for rate, limit in FLOODS:
        faq, ours = (admit(rate, limit) / FLOOD_S for admit in (faq_admitted, bucket_admitted))
        rows.append(
            Decision(
                rule="should_rate_limit",
                case=gettext("{rate} requests/s for {seconds} s, limit {limit} requests/s").format(
                    rate=f"{rate:,.0f}", seconds=FLOOD_S, limit=f"{limit:,}"
                ),
                faq=gettext("admits {rate} requests/s").format(rate=f"{faq:,.0f}"),
                ours=gettext("admits {rate} requests/s").format(rate=f"{ours:,.0f}"),
                is_same=abs(faq - ours) <= 0.02 * rate,
                provenance=Provenance.SIMULATED,
            )
        )
    return rows


OPERATOR = gettext("The factor is the number of replicas that the operator allows; any factor can be set.")
JUDGES: Judges = {
    (6, "rate limiting", "response_time"): takes_effect("rates"),
    (6, "degradation", "response_time"): takes_effect("shorter"),
    (6, "cache pre-warming", "response_time"): takes_effect(
        "cache", gettext("The cache was empty before the surge: a warmed one is no later.")
    ),
    (6, "pre-warmed scaling", "response_time"): first_of(
        pre_warmed, untested("workbench standby", gettext("No run measured a replica that waits."))
    ),
    (6, "pre-warmed scaling", "capacity_gain"): not_testable(RECOMMENDATION, OPERATOR),
    (6, "autoscaling", "capacity_gain"): not_testable(RECOMMENDATION, OPERATOR),
    (9, "rate limits and CDN", "protection"): first_of(
        bystanders, untested(SURGE, gettext("No run measured rate limits alone."))
    ),
}
"""By question, technique and metric."""
