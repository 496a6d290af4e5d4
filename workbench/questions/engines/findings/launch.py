"""The commands that start what was measured, and the engines that were not."""

from workbench.catalog.tables import engines
from workbench.core.errors import NotAvailable
from workbench.core.runs import Run
from workbench.engines.recipes import MAKERS, launch_recipe
from workbench.engines.serve_plan import ServePlan
from workbench.questions.engines.rows import EngineResult
from workbench.questions.engines.spec import Candidate, EngineSweepSpec


def launch_commands(run: Run) -> str:
    """Return the shell commands that start what was measured."""
    spec = run.asked(EngineSweepSpec)
    random = " --random-weights" if spec.random_weights else ""
    return "\n\n".join(_launch(r, spec.model, random) for r in run.rows(EngineResult))


def _launch(result: EngineResult, model: str, random: str) -> str:
    candidate = Candidate.read(result.engine)
    if candidate.url:
        return f"# {candidate.label}\nworkbench load {candidate.url} --rate 10"
    settings = f" -- {' '.join(candidate.extra)}" if candidate.extra else ""
    line = f"# {candidate.label}\nworkbench serve {model} --engine {candidate.engine}{random}{settings}"
    if candidate.engine in {"vllm", "lmdeploy"} and result.launch:
        line += f"\n# which starts, in the engine's own environment\n{result.launch}"
    return line


def other_launch_commands(run: Run) -> str:
    """Return the commands of the engines that were not measured, each with whether it was ever started here."""
    measured = {Candidate.read(r.engine).engine for r in run.rows(EngineResult)}
    model = run.asked(EngineSweepSpec).model
    plan = ServePlan(model=model, n_gpus=0 if run.environment.device_id.startswith("cpu") else 1)
    known = {e.id: e for e in engines()}
    lines = []
    for name in (n for n in MAKERS if n not in measured):
        head = f"# {known[name].name}: {known[name].started}"
        try:
            lines.append(f"{head}\n{launch_recipe(name, plan).text}")
        except NotAvailable as error:
            lines.append(f"{head}; {error.cause}")
    return "\n\n".join(lines)
