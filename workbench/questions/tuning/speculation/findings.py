"""What a run of speculation says: whether it pays at a batch size, up to which one, and with how many draft tokens."""

from collections.abc import Sequence
from math import exp, log

from workbench.core.columns import Columns
from workbench.core.errors import NotAvailable
from workbench.core.language import gettext
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
    return gettext("your text") if name == OWN else gettext(CLASSES[name])


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
        return gettext("beyond {batch}").format(batch=max(b for b, _ in points))
    return three_digits(at) if at else gettext("none")


def best_at(rows: Sequence[SpeedUp], batch: int) -> SpeedUp:
    """Return the fastest variant at a batch size; raises ``NotAvailable`` where none was measured."""
    here = [r for r in rows if r.batch == batch]
    if not here:
        raise NotAvailable(
            gettext("Nothing was measured at batch size {size}.").format(size=batch),
            remedy=gettext("Choose another batch size."),
        )
    return max(here, key=lambda r: r.measured.value)


def verdict(run: Run, batch: int) -> Verdict:
    """Return whether speculation pays at a batch size, how far the prediction was right, and what speaks against it."""
    rows, spec = run.rows(SpeedUp), run.asked(SpeculationSpec)
    best = best_at(rows, batch)
    name, gain = label(best.method, best.draft_tokens), best.measured
    if gain.low > 1:
        headline = gettext(
            "Speculation pays at batch size {batch}: {name} writes {value} times the tokens per second."
        ).format(batch=batch, name=name, value=three_digits(gain.value))
    elif gain.high < 1:
        headline = gettext(
            "Speculation does not pay at batch size {batch}: the best, {name}, has {value} times the tokens per second."
        ).format(batch=batch, name=name, value=three_digits(gain.value))
    else:
        headline = gettext(
            "No gain is shown at batch size {batch}: {name} has {value} times the tokens per second."
        ).format(batch=batch, name=name, value=three_digits(gain.value))
    own = curve(rows, best.method, best.draft_tokens)
    measured, predicted = [(r.batch, r.measured.value) for r in own], [(r.batch, r.predicted) for r in own]
    misses = [abs(r.predicted - r.measured.value) for r in rows]
    return Verdict(
        best=f"{best.method} {best.draft_tokens}",
        headline=headline,
        evidence=gettext(
            "Measured {measured}, predicted {predicted} on {text_class}, with {tokens_per_step} tokens a step; its "
            "break-even batch size is {measured_even} measured and {predicted_even} predicted. Prediction and measurement differ "
            "by {most} at most in {n_cases} cases, and by {close} or less in {n_close}."
        ).format(
            measured=shown_interval(gain.value, gain.low, gain.high),
            predicted=three_digits(best.predicted),
            text_class=class_label(spec.timed_class),
            tokens_per_step=three_digits(best.tokens_per_step),
            measured_even=shown_break_even(measured),
            predicted_even=shown_break_even(predicted),
            most=three_digits(max(misses)),
            n_cases=len(misses),
            close=three_digits(CLOSE),
            n_close=sum(m <= CLOSE for m in misses),
        ),
        objection=_objection(run, best),
    )


def _objection(run: Run, best: SpeedUp) -> str:
    points = []
    mine = [r for r in run.rows(Acceptance) if (r.method, r.draft_tokens) == (best.method, best.draft_tokens)]
    if mine:
        low, high = (f(mine, key=lambda r: r.tokens_per_step.value) for f in (min, max))
        points.append(
            gettext("the text decides: {least} tokens a step on {low_class} and {most} on {high_class}").format(
                least=three_digits(low.tokens_per_step.value),
                low_class=class_label(low.text_class),
                most=three_digits(high.tokens_per_step.value),
                high_class=class_label(high.text_class),
            )
        )
    if repeated := [class_label(r.text_class) for r in mine if r.repeated_fraction > MUCH_REPEATED]:
        points.append(
            gettext(
                "greedy answers repeat themselves on {text_classes}, which flatters drafts; sampled ones accept fewer"
            ).format(text_classes=gettext(", ").join(repeated))
        )
    changed = [r for r in run.rows(SpeedUp) if r.n_equal < r.n_texts]
    if changed:
        points.append(
            gettext(
                "in {n} cases some answers differ from plain decoding, since sums are rounded otherwise in larger "
                "batches"
            ).format(n=len(changed))
        )
    points.append(gettext("measured with loops of our own, without a scheduler and without CUDA graphs"))
    return sentence(points)


ACCEPTANCE_COLUMNS: Columns[Acceptance] = {
    gettext("Method ●"): lambda r: label(r.method, r.draft_tokens),
    gettext("text"): lambda r: class_label(r.text_class),
    gettext("tokens a step"): lambda r: shown_interval(
        r.tokens_per_step.value, r.tokens_per_step.low, r.tokens_per_step.high
    ),
    gettext("accepted"): lambda r: (
        f"{shown_percent(r.accepted_fraction.value)} [{shown_percent(r.accepted_fraction.low)}, "
        f"{shown_percent(r.accepted_fraction.high)}]"
    ),
    gettext("by position"): lambda r: ", ".join(shown_percent(p) for p in r.by_position),
    gettext("repeated"): lambda r: shown_percent(r.repeated_fraction),
    gettext("texts"): lambda r: str(r.n_texts),
}
"""Of acceptance on one kind of text; by position is the share of the steps that accept so many drafts."""
SPEED_UP_COLUMNS: Columns[SpeedUp] = {
    gettext("Method"): lambda r: label(r.method, r.draft_tokens),
    gettext("batch"): lambda r: str(r.batch),
    gettext("speed-up ●"): lambda r: shown_interval(r.measured.value, r.measured.low, r.measured.high),
    gettext("predicted ◌"): lambda r: three_digits(r.predicted),
    gettext("tokens a step ●"): lambda r: three_digits(r.tokens_per_step),
    gettext("same answers"): lambda r: gettext("{n} of {total}").format(n=r.n_equal, total=r.n_texts),
}
TIME_COLUMNS: Columns[StepTime] = {
    gettext("Batch ●"): lambda r: str(r.batch),
    gettext("part"): lambda r: (
        gettext("plain step")
        if not r.draft_tokens
        else gettext("verify {n}").format(n=r.draft_tokens)
        if r.what == "verify"
        else label(r.what, r.draft_tokens)
    ),
    "p50": lambda r: shown_duration(r.p50_s.value),
    gettext("interval"): lambda r: gettext("{low} to {high}").format(
        low=shown_duration(r.p50_s.low), high=shown_duration(r.p50_s.high)
    ),
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
    clock = gettext("processor time of one thread") if run.environment.device_id == "cpu" else gettext("time")
    return gettext(
        "{model}, greedy decoding, prompts of {prompt_tokens} tokens, speed on {text_class} · {clock} on {device}, "
        "run {id}, {day}"
    ).format(
        model=spec.model,
        prompt_tokens=spec.prompt_tokens,
        text_class=class_label(spec.timed_class),
        clock=clock,
        device=run.environment.device,
        id=run.id,
        day=run.day,
    )
