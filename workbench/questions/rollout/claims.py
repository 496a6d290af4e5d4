"""The FAQ's rollback rule beside what the measured rollouts decided; the FAQ claims no figure about releases."""

from workbench.catalog.ledger import Decision, Evidence, Judges
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.questions.rollout.findings import shown_scenario
from workbench.questions.rollout.rows import RolloutResult
from workbench.questions.rollout.spec import HEALTHY
from workbench.release.journal import Phase

FAQ_LEAST_SUCCESS = 0.95
"""Share of answered requests below which the FAQ's rule rolls back (12.5 Q10); it looks at nothing else."""
JUDGES: Judges = {}


def faq_phase(result: RolloutResult) -> Phase:
    """Return what the FAQ's rule decides from the requests that the new version answered."""
    success = 1 - result.n_new_failed / result.n_new if result.n_new else 1.0
    return Phase.PROMOTED if success >= FAQ_LEAST_SUCCESS else Phase.ROLLED_BACK


def decisions(evidence: Evidence) -> list[Decision]:
    """Return both decisions about each new version of the newest run."""
    return [
        Decision(
            rule="safe_model_rollout",
            case=(
                gettext("{version} (healthy), {n} of {total} requests answered")
                if r.scenario in HEALTHY
                else gettext("{version} (degraded), {n} of {total} requests answered")
            ).format(version=shown_scenario(r.scenario), n=r.n_new - r.n_new_failed, total=r.n_new),
            faq=gettext(faq_phase(r)),
            ours=gettext(r.phase),
            is_same=faq_phase(r) is r.phase,
            provenance=Provenance.MEASURED,
            runs=(run,),
        )
        for run, rows in evidence.with_rows("rollout", RolloutResult)[:1]
        for r in rows
    ]
