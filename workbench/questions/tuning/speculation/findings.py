"""What a run of speculation says: whether it pays at a batch size, up to which one, and with how many draft tokens."""

from collections.abc import Sequence
from math import exp, log

from workbench.core.columns import Columns
from workbench.core.errors import NotAvailable
from workbench.core.runs import Run
from workbench.core.units import shown_duration, shown_percent, three_digits
from workbench.core.verdict import Verdict, sentence
from workbench.questions.tuning.speculation.rows import Acceptance, SpeedUp, StepTime
from workbench.questions.tuning.speculation.spec import CLASSES, OWN, SpeculationSpec, label

CLOSE = 0.1
"""Prediction and measurement that differ by no more are called alike."""
MUCH_REPEATED = 0.2


def class_label(name: str) -> str:
    """Return what readers call a kind of text."""
    return "your text" if name == OWN else CLASSES[name]


def shown_interval(value: float, low: float, high: float, unit: str = "") -> str:
    """Return a number with its interval."""
    return f"{three_digits(value)}{unit} [{three_digits(low)}, {three_digits(high)}]"


def break_even(points: Sequence[tuple[int, float]]) -> float | None:
    """Return the batch size from which on drafts no longer pay, between measured ones in the logarithm.

    Args:
        points: Batch size and speed-up.

    Returns:
        0 where they pay at no batch size, and None where they still pay at the largest.
    """
    ordered = sorted(points)
    last_paying = max((i for i, (_, gain) in enumerate(ordered) if gain > 1), default=None)
    if last_paying is None:
        return 0.0
    if last_paying == len(ordered) - 1:
        return None
    (b0, g0), (b1, g1) = ordered[last_paying], ordered[last_paying + 1]
    share = (g0 - 1) / (g0 - g1)
    return exp(log(b0) + share * (log(b1) - log(b0)))


def curve(rows: Sequence[SpeedUp], method: str, draft_tokens: int) -> list[SpeedUp]:
    """Return the speed-ups of a method with a number of draft tokens, by batch size."""
    return sorted((r for r in rows if (r.method, r.draft_tokens) == (method, draft_tokens)), key=lambda r: r.batch)


def shown_break_even(points: Sequence[tuple[int, float]]) -> str:
    """Return the break-even batch size in words."""
    at = break_even(points)
    if at is None:
        return f"beyond {max(b for b, _ in points)}"
    return three_digits(at) if at else "none"


def best_at(rows: Sequence[SpeedUp], batch: int) -> SpeedUp:
    """Return the fastest variant at a batch size; raises ``NotAvailable`` where none was measured."""
    here = [r for r in rows if r.batch == batch]
    if not here:
        raise NotAvailable(f"Nothing was measured at batch size {batch}.", remedy="Choose another batch size.")
    return max(here, key=lambda r: r.measured.value)


def verdict(run: Run, batch: int) -> Verdict:
    """Return whether speculation pays at a batch size, how far the prediction was right, and what speaks against it."""
    rows, spec = run.rows(SpeedUp), run.asked(SpeculationSpec)
    best = best_at(rows, batch)
    name, gain = label(best.method, best.draft_tokens), best.measured
    if gain.low > 1:
        headline = f"Speculation pays at batch size {batch}: {name} writes {three_digits(gain.value)} times the tokens per second."
    elif gain.high < 1:
        headline = f"Speculation does not pay at batch size {batch}: the best, {name}, has {three_digits(gain.value)} times the tokens per second."
    else:
        headline = f"No gain is shown at batch size {batch}: {name} has {three_digits(gain.value)} times the tokens per second."
    own = curve(rows, best.method, best.draft_tokens)
    measured, predicted = [(r.batch, r.measured.value) for r in own], [(r.batch, r.predicted) for r in own]
    misses = [abs(r.predicted - r.measured.value) for r in rows]
    return Verdict(
        best=f"{best.method} {best.draft_tokens}",
        headline=headline,
        evidence=f"Measured {shown_interval(gain.value, gain.low, gain.high)}, predicted {three_digits(best.predicted)} on "
        f"{class_label(spec.timed_class)}, with {three_digits(best.tokens_per_step)} tokens a step; its break-even batch size is "
        f"{shown_break_even(measured)} measured and {shown_break_even(predicted)} predicted. Prediction and measurement differ by "
        f"{three_digits(max(misses))} at most in {len(misses)} cases, and by {three_digits(CLOSE)} or less in "
        f"{sum(m <= CLOSE for m in misses)}.",
        objection=_objection(run, best),
    )


def _objection(run: Run, best: SpeedUp) -> str:
    points = []
    mine = [r for r in run.rows(Acceptance) if (r.method, r.draft_tokens) == (best.method, best.draft_tokens)]
    if mine:
        low, high = (f(mine, key=lambda r: r.tokens_per_step.value) for f in (min, max))
        points.append(
            f"the text decides: {three_digits(low.tokens_per_step.value)} tokens a step on {class_label(low.text_class)} and "
            f"{three_digits(high.tokens_per_step.value)} on {class_label(high.text_class)}"
        )
    if repeated := [class_label(r.text_class) for r in mine if r.repeated_fraction > MUCH_REPEATED]:
        points.append(
            f"greedy answers repeat themselves on {', '.join(repeated)}, which flatters drafts; sampled ones accept fewer"
        )
    changed = [r for r in run.rows(SpeedUp) if r.n_equal < r.n_texts]
    if changed:
        points.append(
            f"in {len(changed)} cases some answers differ from plain decoding, since sums are rounded otherwise in larger batches"
        )
    points.append("measured with loops of our own, without a scheduler and without CUDA graphs")
    return sentence(points)


ACCEPTANCE_COLUMNS: Columns[Acceptance] = {
    "Method ●": lambda r: label(r.method, r.draft_tokens),
    "text": lambda r: class_label(r.text_class),
    "tokens a step": lambda r: shown_interval(r.tokens_per_step.value, r.tokens_per_step.low, r.tokens_per_step.high),
    "accepted": lambda r: (
        f"{shown_percent(r.accepted_fraction.value)} [{shown_percent(r.accepted_fraction.low)}, "
        f"{shown_percent(r.accepted_fraction.high)}]"
    ),
    "by position": lambda r: ", ".join(shown_percent(p) for p in r.by_position),
    "repeated": lambda r: shown_percent(r.repeated_fraction),
    "texts": lambda r: str(r.n_texts),
}
"""Of acceptance on one kind of text; by position is the share of the steps that accept so many drafts."""
SPEED_UP_COLUMNS: Columns[SpeedUp] = {
    "Method": lambda r: label(r.method, r.draft_tokens),
    "batch": lambda r: str(r.batch),
    "speed-up ●": lambda r: shown_interval(r.measured.value, r.measured.low, r.measured.high),
    "predicted ◌": lambda r: three_digits(r.predicted),
    "tokens a step ●": lambda r: three_digits(r.tokens_per_step),
    "same answers": lambda r: f"{r.n_equal} of {r.n_texts}",
}
TIME_COLUMNS: Columns[StepTime] = {
    "Batch ●": lambda r: str(r.batch),
    "part": lambda r: (
        "plain step"
        if not r.draft_tokens
        else f"verify {r.draft_tokens}"
        if r.what == "verify"
        else label(r.what, r.draft_tokens)
    ),
    "p50": lambda r: shown_duration(r.p50_s.value),
    "interval": lambda r: f"{shown_duration(r.p50_s.low)} to {shown_duration(r.p50_s.high)}",
}
"""Of one part of a step."""


def launch_flags(run: Run, batch: int) -> str | None:
    """Return vLLM's flags for the fastest variant at a batch size; None where it does not pay."""
    best, spec = best_at(run.rows(SpeedUp), batch), run.asked(SpeculationSpec)
    if best.measured.low <= 1:
        return None
    if best.method == "ngram":
        what = f'"method":"ngram","prompt_lookup_min":{spec.shortest},"prompt_lookup_max":{spec.longest}'
    else:
        what = f'"method":"draft_model","model":"{spec.draft_model}"'
    return f"--speculative-config '{{{what},\"num_speculative_tokens\":{best.draft_tokens}}}'"


def about(run: Run) -> str:
    """Return what the numbers are of."""
    spec = run.asked(SpeculationSpec)
    clock = "processor time of one thread" if run.environment.device_id == "cpu" else "time"
    return (
        f"{spec.model}, greedy decoding, prompts of {spec.prompt_tokens} tokens, speed on {class_label(spec.timed_class)} · {clock} on "
        f"{run.environment.device}, run {run.id}, {run.day}"
    )
