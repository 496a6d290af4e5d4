"""What a diagnosis says: its verdict, the rows of its tables, and when a test detects the change."""

from workbench.core.language import gettext
from workbench.core.stored_texts import translated
from workbench.core.units import shown_percent
from workbench.core.verdict import Verdict, objections, sentence
from workbench.estimate.change_point import LEAST_BASELINE, first_change
from workbench.questions.latency.findings import Diagnosis, Ranked
from workbench.questions.latency.findings.cause_list import CAUSES
from workbench.questions.latency.findings.confirmation import Outcome
from workbench.questions.latency.rows import Points

EVIDENCE_HEAD = (gettext("Cause"), gettext("observation"), gettext("evidence (−1 … 1)"), gettext("weight"))
FALSE_ALARM_RATE = 0.01


def shown(text: str) -> str:
    """Return a text of a diagnosis in the reader's language; runs keep it in English."""
    return translated(text, domain="latency")


def evidence_for(cause: Ranked, *, least: float = 0.1) -> list[str]:
    """Return the evidence for a cause, the strongest first."""
    return [shown(e.text) for e in cause.evidence if e.score > least]


def evidence_against(cause: Ranked) -> list[str]:
    """Return the evidence against a cause, the strongest first."""
    return [shown(e.text) for e in cause.evidence if e.score < -0.1]


def verdict(diagnosis: Diagnosis, tested: Outcome | None) -> Verdict:
    """Return the named cause, or why none is named, with the outcome of the confirming load if one was sent."""
    if diagnosis.differences:
        return Verdict(
            headline=gettext("These two loads cannot be compared: they differ in {names}.").format(
                names=gettext(", ").join(gettext(d.split(":")[0]) for d in diagnosis.differences)
            ),
            evidence=gettext("{differences} Choose two loads of the same model on the same machine.").format(
                differences=sentence(map(shown, diagnosis.differences))
            ),
            answer="open",
        )
    if diagnosis.withheld is not None:
        reason = shown(diagnosis.withheld)
        return Verdict(
            headline=gettext("Latency differs, but no more than other programs on the machine explain."),
            evidence=gettext("{reason}. Measure both loads again while the machine has no other work.").format(
                reason=reason[0].upper() + reason[1:]
            ),
            answer="open",
        )
    if not diagnosis.alarm:
        return Verdict(
            headline=gettext("Users notice no change between the two loads."),
            evidence=gettext(
                "TTFT, TPOT and end-to-end latency did not grow noticeably, no more requests fail, and answers are the same."
            ),
            scope=gettext("A change smaller than the noise of these loads is not detected."),
        )
    top = diagnosis.causes[0]
    outcome = "" if tested is None else gettext(" {verdict}: {text}").format(verdict=tested.verdict, text=tested.text)
    symptoms = gettext("Users notice: {symptoms}.").format(symptoms=gettext("; ").join(map(shown, diagnosis.symptoms)))
    against = evidence_against(top)
    objection = objections(against)
    if diagnosis.abstains is not None:
        headline = gettext("The cause is not clear: {reason}.").format(reason=shown(diagnosis.abstains))
        return Verdict(headline=headline, evidence=f"{symptoms}{outcome}", objection=objection, answer="open")
    return Verdict(
        headline=gettext("{title} (probability {probability}).").format(
            title=gettext(top.title), probability=shown_percent(top.probability)
        ),
        evidence=gettext("{evidence}. {symptoms} {remedy}{outcome}").format(
            evidence=gettext("; ").join(evidence_for(top, least=0.3)),
            symptoms=symptoms,
            remedy=gettext(top.remedy),
            outcome=outcome,
        ),
        objection=objection,
        answer="no",
        best=top.key,
    )


def evidence_rows(diagnosis: Diagnosis) -> list[tuple[str, ...]]:
    """Return the cells of ``EVIDENCE_HEAD`` for all the evidence."""
    return [
        ("" if i else gettext(c.title), shown(e.text), f"{e.score:+.2f}", f"{e.weight:g}")
        for c in diagnosis.causes
        for i, e in enumerate(c.evidence)
    ]


def n_without_evidence(diagnosis: Diagnosis) -> int:
    """Return the number of causes without any evidence."""
    return len(CAUSES) - sum(bool(c.evidence) for c in diagnosis.causes)


def changed_at_s(baseline: Points, current: Points) -> float | None:
    """Return when a test on the latencies, in the order of arrival, detects a change; None where it detects none."""
    if len(baseline) < LEAST_BASELINE:
        return None
    change = first_change([v for _, v in baseline], [v for _, v in current], false_alarm_rate=FALSE_ALARM_RATE)
    return current[change.at][0] if change is not None else None
