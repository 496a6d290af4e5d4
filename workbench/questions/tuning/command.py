"""``workbench tune``: the best server flags for a load."""

from workbench.catalog.models import model_spec_from
from workbench.core.runs import Run
from workbench.interface.command import measures
from workbench.questions.tuning.findings import verdict
from workbench.questions.tuning.spec import TuneSpec


@measures(TuneSpec, can_resume=True, check=lambda spec: model_spec_from(spec.model))
def tune(run: Run) -> None:
    """Find the server flags that are best for a load: all settings are simulated, the promising ones measured."""
    answer = verdict(run)
    print(f"{answer.headline}\n{answer.provenance.mark} {answer.evidence}\nAgainst it: {answer.objection}")


COMMANDS = (tune,)
