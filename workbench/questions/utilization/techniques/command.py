"""The command that measures what raises the use of a device."""

from workbench.core.rows import Json, plain
from workbench.core.runs import Run
from workbench.core.units import shown_percent
from workbench.interface.command import measures, print_table
from workbench.interface.readable import out
from workbench.questions.utilization.techniques import findings
from workbench.questions.utilization.techniques.rows import TechniquesSamples
from workbench.questions.utilization.techniques.spec import TechniquesSpec


def _profiles(run: Run) -> dict[str, Json]:
    samples = run.sampled(TechniquesSamples)
    return {"profiles": plain(samples.profiles), "roof": plain(samples.roof)}


@measures(TechniquesSpec, also=_profiles)
def techniques(run: Run) -> None:
    """Measure what batching, overlap, fusion, graphs, pools and lower precision gain here, and profile three steps."""
    rows, samples = findings.technique_rows(run), run.sampled(TechniquesSamples)
    print_table(findings.TECHNIQUE_HEAD, (r if len(r) > 2 else (r[0], *4 * "–", r[1]) for r in rows))
    for name, profile in samples.profiles.items():
        bound = findings.bound_by(profile, samples.roof)
        shares = f"compute {shown_percent(bound.compute)}, memory {shown_percent(bound.memory)}"
        title = findings.profile_title(name, profile, samples.roof)
        out.print(f"● {title}; {shares}, neither {shown_percent(bound.neither)}")


COMMANDS = (techniques,)
