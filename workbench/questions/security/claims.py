"""Judges of the claims about protection: most are about attacks that no corpus here covers."""

from workbench.catalog.ledger import Decision, Evidence, Judges, not_testable
from workbench.core.language import gettext, gettext_noop
from workbench.core.provenance import Provenance
from workbench.questions.security.findings import percent, shown_class
from workbench.questions.security.rows import DetectorScore
from workbench.questions.security.spec import OWN

FAQ_PATTERNS = "faq"


def decisions(evidence: Evidence) -> list[Decision]:
    """Return what the FAQ's patterns find beside what the workbench's detector finds in the same texts."""
    rows = []
    for run, scores in evidence.with_rows("redaction", DetectorScore)[:1]:
        by = {(s.detector, s.kind): s for s in scores}
        for (detector, kind), faq in by.items():
            ours = by.get((OWN, kind))
            if detector == FAQ_PATTERNS and ours is not None and faq.recall and faq.recall.value:
                rows.append(
                    Decision(
                        rule="sanitize_output",
                        case=gettext("{kind}, {n} texts with one item and as many look-alikes").format(
                            kind=shown_class(kind), n=faq.n_texts
                        ),
                        faq=_found(faq),
                        ours=_found(ours),
                        is_same=False,
                        provenance=Provenance.MEASURED,
                        runs=(run,),
                    )
                )
    return rows


def _found(score: DetectorScore) -> str:
    return gettext("recall {recall}, precision {precision}").format(
        recall=percent(score.recall), precision=percent(score.precision)
    )


JUDGES: Judges = {
    (9, "input validation and adversarial training", "protection"): not_testable(
        gettext_noop("needs an adversarially trained model"),
        gettext(
            "Validation refuses malformed requests (tests/gateway/test_validation.py); well-formed texts that mislead a model need one that was trained against them."
        ),
    ),
    (9, "rate limits and output perturbation", "protection"): not_testable(
        gettext_noop("needs an attacker that trains on the answers"),
        gettext(
            "The gateway flags a copying key on generated traffic (tests/gateway/test_abuse.py); a share of prevented extractions needs extractions."
        ),
    ),
    (9, "differential privacy and encryption", "protection"): not_testable(
        gettext_noop("needs a model trained with differential privacy"),
        gettext(
            "Redaction, which the workbench measures, is another control; differential privacy belongs to training, encryption to the load balancer."
        ),
    ),
    (9, "input cleaning and sandbox", "protection"): not_testable(
        gettext_noop("needs a model that follows instructions and calls tools"),
        gettext("No filter of instructions inside texts is reliable; the gateway forwards tool calls and runs none."),
    ),
}
"""By question, technique and metric; that of denial of service is judged where surges are measured."""
