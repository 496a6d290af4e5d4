"""Judges of the claims about finding causes: how long the diagnosis needs for the causes that each step is about."""

from collections.abc import Sequence

from workbench.catalog.ledger import Decision, Evidence, Judge, Judgement, Judges, compared, first_of, untested
from workbench.catalog.tables import Claim
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.questions.latency.faults.rows import WORKBENCH, Episode, FaultsSamples, Score
from workbench.questions.latency.faults.spec import FaultsSpec

RESOURCES = ("processor hog", "fewer cores", "memory filled", "GPU neighbour")
NETWORK = ("slow network", "packet loss")
MODEL = ("another precision or model",)
RELEASE = ("server errors", "server pauses")
ALGORITHM = ("slow tokenizer",)
FAQ_CHECKS = "FAQ's checks"
NAMED = 0.75
"""Share of the faults whose cause must be named: a method that finds fewer does not find them in any time."""


def episodes_of(evidence: Evidence, faults: Sequence[str]) -> list[tuple[Run, Episode]]:
    """Return the injected faults of these names that took effect, with their runs."""
    return [
        (run, e)
        for run in evidence.of("faults")
        if isinstance(run.samples, FaultsSamples)
        for e in run.samples.episodes
        if e.fault in faults and e.took_effect and e.cause
    ]


def time_to_find(faults: Sequence[str]) -> Judge:
    """Return a judge of the time until the diagnosis names the cause: the length of the load, after which it takes less than a second."""

    def judge(claim: Claim, evidence: Evidence) -> Judgement | None:
        found = episodes_of(evidence, faults)
        named = [(run, e) for run, e in found if e.answer.named == e.cause]
        if not found or len(named) < NAMED * len(found):
            return None
        runs = {run.id: run for run, _ in found}.values()
        length = max(run.asked(FaultsSpec).duration_s for run in runs)
        how = gettext(
            "Length of the load after which the diagnosis answers; a healthy load of the same length must be at hand. It "
            "named the cause of {named} of {found} injected faults ({faults}). What a remedy takes is not in it."
        ).format(
            named=len(named),
            found=len(found),
            faults=gettext(", ").join(dict.fromkeys(gettext(e.fault) for _, e in found)),
        )
        return compared(claim, length, how, runs=runs)

    return first_of(judge, untested("workbench faults", gettext("No run named enough of these causes.")))


def decisions(evidence: Evidence) -> list[Decision]:
    """Return the causes that the FAQ's checks name beside those that the diagnosis names, for the same observations."""
    rows = []
    for run, scores in evidence.with_rows("faults", Score):
        faq, ours = (next((s for s in scores if s.method == name), None) for name in (FAQ_CHECKS, WORKBENCH))
        if faq is None or ours is None or faq.top1 is None or ours.top1 is None:
            continue
        rows.append(
            Decision(
                rule="diagnose_latency_issue",
                case=gettext("{n_faults} injected faults and {n_controls} healthy loads, {model}, {device}").format(
                    n_faults=ours.n_faults, n_controls=ours.n_controls, model=run.model, device=run.environment.device
                ),
                faq=gettext("names the cause of {value:.0f} %").format(value=100 * faq.top1.value),
                ours=gettext("names the cause of {value:.0f} %").format(value=100 * ours.top1.value),
                is_same=False,
                provenance=Provenance.MEASURED,
                runs=(run,),
            )
        )
    return rows


JUDGES: Judges = {
    (11, "quick check of system resources", "time_to_find"): time_to_find(RESOURCES),
    (11, "network diagnosis", "time_to_find"): time_to_find(NETWORK),
    (11, "model analysis", "time_to_find"): time_to_find(MODEL),
    (11, "code review", "time_to_find"): time_to_find(RELEASE),
    (11, "profiling", "time_to_find"): time_to_find(ALGORITHM),
}
"""By question, technique and metric."""
