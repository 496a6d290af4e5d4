"""How a tuner's choice stands beside an exhaustive grid, where a run has one."""

import numpy as np

from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.units import shown_duration, shown_percent
from workbench.questions.tuning.rows import SettingResult, TuneChoice, TuneTrial


def grid_comparison(run: Run) -> str | None:
    """Return how the tuner's choice compares with the best of an exhaustive grid's finalists, by the seeds that those alone were measured on."""
    trials = [t for t in run.rows(TuneTrial) if t.purpose == "grid"]
    choice = run.row(TuneChoice)
    if not trials or choice is None:
        return None
    first = min(t.seed for t in trials)
    grid = [t for t in trials if t.seed == first]
    fresh: dict[str, list[float]] = {}
    for t in trials:
        if t.seed != first:
            fresh.setdefault(t.name, []).append(t.score)
    means = {name: float(np.mean(scores)) for name, scores in fresh.items()}
    if choice.best_measured not in means or len(means) < 2:
        return None
    best = max(means, key=lambda name: means[name])
    share = means[choice.best_measured] / means[best] if means[best] > 0 else 1.0
    launches = {r.name: r.startup_s or 0.0 for r in run.rows(SettingResult)}
    grid_s = sum(t.seconds + (0.0 if t.changed_live else launches.get(t.name, 0.0)) for t in grid)
    return gettext(
        "An exhaustive grid of {n} settings took {duration}; of the {finalists} that were measured again on fresh seeds "
        "{best} has the highest score there, and the tuner's choice {share} of it."
    ).format(n=len(grid), duration=shown_duration(grid_s), finalists=len(means), share=shown_percent(share), best=best)
