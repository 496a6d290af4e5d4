"""How a tuner's choice stands beside an exhaustive grid, where a run has one."""

from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.units import shown_duration, shown_percent
from workbench.questions.tuning.rows import SettingResult, TuneChoice, TuneTrial


def grid_comparison(run: Run) -> str | None:
    """Return how the tuner's choice compares with the best of an exhaustive grid: on its own load, and on fresh seeds in the loads that both had."""
    trials = [t for t in run.rows(TuneTrial) if t.purpose == "grid"]
    choice = run.row(TuneChoice)
    if not trials or choice is None:
        return None
    first = min(t.seed for t in trials)
    grid = {t.name: t for t in trials if t.seed == first}
    fresh: dict[str, dict[int, float]] = {}
    for t in trials:
        if t.seed != first:
            fresh.setdefault(t.name, {})[t.seed] = t.score
    chosen = fresh.pop(choice.best_measured, {})
    shares = {name: share for name, scores in fresh.items() if (share := _share(chosen, scores)) is not None}
    if choice.best_measured not in grid or not shares:
        return None
    least = min(shares, key=lambda name: shares[name])
    best, share = (least, shares[least]) if shares[least] < 1 else (choice.best_measured, 1.0)
    launches = {r.name: r.startup_s or 0.0 for r in run.rows(SettingResult)}
    grid_s = sum(t.seconds + (0.0 if t.changed_live else launches.get(t.name, 0.0)) for t in grid.values())
    most = max(t.score for t in grid.values())
    return gettext(
        "An exhaustive grid of {n} settings took {duration}; the tuner's choice has {own} of the best score there. Of the {finalists} that were "
        "measured again on fresh seeds {best} has the highest score, and the tuner's choice {share} of it."
    ).format(
        n=len(grid),
        duration=shown_duration(grid_s),
        own=shown_percent(grid[choice.best_measured].score / most if most > 0 else 1.0),
        finalists=1 + len(shares),
        best=best,
        share=shown_percent(share),
    )


def _share(ours: dict[int, float], others: dict[int, float]) -> float | None:
    """Return the mean of one setting's scores over another's, in the loads of the same seeds; None without one, or where the other has none."""
    both = ours.keys() & others.keys()
    total = sum(others[seed] for seed in both)
    return sum(ours[seed] for seed in both) / total if total > 0 else None
