"""The score of each method to find causes, over the same episodes."""

from collections.abc import Sequence

from workbench.core.statistics import Interval, share_interval
from workbench.questions.latency.faults.rows import WORKBENCH, Episode, Score

NONE = "none"


def score_of(episodes: Sequence[Episode], method: str) -> Score:
    """Return top-1 and top-3 accuracy, macro-F1, false alarms, abstentions and median time to detect of a method.

    Faults count when their proof holds. A fault without an alarm, and one on which the diagnosis abstains, is not top-1; it is top-3 when an
    alarm was raised and the true cause is among the first three. A control is a false alarm when the method raises any alarm.
    """
    faults = [(e.cause, e.answers[method]) for e in episodes if e.cause is not None and e.took_effect]
    controls = [e.answers[method] for e in episodes if e.cause is None]
    times = sorted(e.time_to_detect_s for e in episodes if e.took_effect and e.time_to_detect_s is not None)
    squares = [(a.probability - (a.named == cause)) ** 2 for cause, a in faults if a.probability is not None]
    n = len(faults)
    return Score(
        method=method,
        n_faults=n,
        n_controls=len(controls),
        top1=_share(sum(a.named == cause for cause, a in faults), n),
        top3=_share(sum(a.alarm and cause in a.causes[:3] for cause, a in faults), n),
        false_alarms=_share(sum(a.alarm for a in controls), len(controls)),
        alarmed_fraction=sum(a.alarm for _, a in faults) / n if n else None,
        abstained_fraction=sum(bool(a.abstains) for _, a in faults) / n if n else None,
        macro_f1=macro_f1([e for e in episodes if e.cause is None or e.took_effect], method),
        time_to_detect_s=times[len(times) // 2] if times and method == WORKBENCH else None,
        brier=sum(squares) / len(squares) if squares else None,
    )


def _share(n_right: int, n: int) -> Interval | None:
    return share_interval(n_right, n) if n else None


def macro_f1(episodes: Sequence[Episode], method: str) -> float | None:
    """Return the mean over causes, "none" among them, of the harmonic mean of precision and recall."""
    pairs = [(e.cause or NONE, e.answers[method].named or NONE) for e in episodes]
    causes = sorted({truth for truth, _ in pairs})
    if not causes:
        return None
    scores = []
    for cause in causes:
        n_right = sum(truth == answer == cause for truth, answer in pairs)
        scores.append(2 * n_right / sum(pair.count(cause) for pair in pairs))
    return sum(scores) / len(scores)
