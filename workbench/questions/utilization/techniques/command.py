"""The command that measures what raises the use of a device."""

from dataclasses import dataclass

from workbench.core.rows import Json, plain
from workbench.core.runs import Run
from workbench.core.units import shown_percent
from workbench.interface.command import measures, print_table
from workbench.interface.readable import out
from workbench.questions.utilization.techniques import findings
from workbench.questions.utilization.techniques.rows import Gain, TechniquesSamples
from workbench.questions.utilization.techniques.spec import TechniquesSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedClaim:
    """A claim of the FAQ with its outcome, in the JSON form."""

    technique: str
    metric: str
    outcome: str
    measured: float | None


def _claims(run: Run) -> dict[str, Json]:
    judged = [
        JudgedClaim(technique=c.claim.technique, metric=c.claim.metric, outcome=c.outcome, measured=c.measured)
        for c in findings.claims_here(run.rows(Gain))
    ]
    samples = run.sampled(TechniquesSamples)
    return {"profiles": plain(samples.profiles), "roof": plain(samples.roof), "claims": plain(judged)}


@measures(TechniquesSpec, also=_claims)
def techniques(run: Run) -> None:
    """Measure what batching, overlap, fusion, graphs, pools and lower precision gain here, and profile three steps."""
    rows, samples = findings.technique_rows(run), run.sampled(TechniquesSamples)
    print_table(findings.TECHNIQUE_HEAD, (r if len(r) > 2 else (r[0], *4 * "–", r[1]) for r in rows))
    for name, profile in samples.profiles.items():
        bound = findings.bound_by(profile, samples.roof)
        shares = f"compute {shown_percent(bound.compute)}, memory {shown_percent(bound.memory)}"
        title = findings.profile_title(name, profile, samples.roof)
        out.print(f"● {title}; {shares}, neither {shown_percent(bound.neither)}")
    for c in findings.claims_here(run.rows(Gain)):
        if c.measured is not None:
            out.print(f"claim: {c.claim.technique}, {c.claim.metric}: {c.outcome} ({c.shown})")


COMMANDS = (techniques,)
