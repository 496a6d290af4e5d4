"""What techniques do for the use of the device by a served model: the verdict, and a row for each."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from workbench.catalog.tables import claims
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.statistics import Interval
from workbench.core.units import NOT_KNOWN, shown_duration, shown_percent, three_digits
from workbench.core.verdict import Verdict, objections
from workbench.measuring.machine import BUSY
from workbench.questions.utilization.served.rows import NotServed, ServedGain, ServedSide
from workbench.questions.utilization.served.spec import ServedTechniquesSpec

QUESTION = 4
CLAIMED_AS = {"async": "asynchronous inference", "fusion": "operator fusion", "pool": "memory pool"}
"""Name of each technique in the FAQ's table."""
STATUSES = {"not available": gettext("not available"), "failed": gettext("failed")}
TECHNIQUE_HEAD = (
    gettext("Technique ●"),
    gettext("utilization without"),
    gettext("utilization with"),
    gettext("difference, points"),
    gettext("tokens/s, ratio"),
    gettext("tokens/s, without → with"),
    gettext("TPOT, without → with"),
    gettext("tensor cores active, without → with"),
)


def claimed_utilization() -> dict[str, tuple[float, float]]:
    """Return the ends of the claimed utilization in percent by technique."""
    by_key = {(c.technique, c.metric): c for c in claims() if c.question == QUESTION}
    ranges = {name: by_key[claimed, "gpu_utilization"] for name, claimed in CLAIMED_AS.items()}
    return {n: (c.low, c.high) for n, c in ranges.items() if c.low is not None and c.high is not None}


def shown_share(value: Interval | None) -> str:
    """Return a share with its interval; a dash where it was not sampled."""
    if value is None:
        return NOT_KNOWN
    share, low, high = (three_digits(100 * v) for v in (value.value, value.low, value.high))
    return f"{share} % [{low}, {high}]"


def shown_ratio(value: Interval) -> str:
    """Return a ratio with its interval."""
    return f"{three_digits(value.value)} [{three_digits(value.low)}, {three_digits(value.high)}]"


def verdict(run: Run) -> Verdict | None:
    """Return which technique raises the utilization, and what it does for the tokens per second; None where none was measured."""
    rows, spec = run.rows(ServedGain), run.asked(ServedTechniquesSpec)
    if not rows:
        return None
    sampled = [(r, r.utilization_gain) for r in rows if r.utilization_gain is not None]
    raising = sorted(((gain.value, r) for r, gain in sampled if gain.low > 0), key=lambda pair: -pair[0])
    faster = sorted((r for r in rows if r.throughput_ratio.low > 1), key=lambda r: -r.throughput_ratio.value)
    best = raising[0][1] if raising else None if sampled else next(iter(faster), None)
    if raising:
        headline = gettext("{technique} raises the utilization of the GPU most: from {without} to {with_it}.").format(
            technique=at_start(gettext(raising[0][1].label)),
            without=_share_alone(raising[0][1].without),
            with_it=_share_alone(raising[0][1].with_it),
        )
    elif sampled:
        headline = gettext("No technique is shown to raise the utilization of the GPU.")
    elif best is not None:
        headline = gettext("{technique} raises the tokens per second most; no GPU was sampled.").format(
            technique=at_start(gettext(best.label))
        )
    else:
        headline = gettext("No technique is shown to raise the tokens per second; no GPU was sampled.")
    return Verdict(
        headline=headline,
        evidence=" ".join(_sentence(r) for r in rows),
        objection=objections(_points(run, rows), most=4),
        scope=_scope(spec, is_sampled=bool(sampled)),
        answer="yes" if best else "no",
        best=best.technique if best else None,
    )


def _scope(spec: ServedTechniquesSpec, *, is_sampled: bool) -> str:
    use = gettext("NVML's utilization counts the time in which any kernel ran, however little of the GPU it used.")
    load = gettext(
        "{n} users, prompts of {n_in} and answers of {n_out} tokens, {rounds} loads of {seconds} on each server."
    ).format(
        n=spec.concurrency,
        n_in=spec.input_tokens,
        n_out=spec.output_tokens,
        rounds=spec.rounds,
        seconds=shown_duration(spec.duration_s),
    )
    return f"{use} {load}" if is_sampled else load


def at_start(text: str) -> str:
    """Return a text as a sentence begins with it."""
    return text[:1].upper() + text[1:]


def _share_alone(side: ServedSide) -> str:
    used = side.utilization_fraction
    return f"{three_digits(100 * used.value)} %" if used else NOT_KNOWN


def _sentence(row: ServedGain) -> str:
    ratio = shown_ratio(row.throughput_ratio)
    if row.utilization_gain is None:
        return gettext("{technique}: {ratio} times the tokens per second.").format(
            technique=at_start(gettext(row.label)), ratio=ratio
        )
    return gettext(
        "{technique}: utilization {with_it} with it and {without} without, {ratio} times the tokens per second."
    ).format(
        technique=at_start(gettext(row.label)),
        with_it=shown_share(row.with_it.utilization_fraction),
        without=shown_share(row.without.utilization_fraction),
        ratio=ratio,
    )


def _points(run: Run, rows: Sequence[ServedGain]) -> list[str]:
    """Return what speaks against taking utilization for speed, or against the rows."""
    points = []
    used = [(r, r.utilization_gain) for r in rows if r.utilization_gain is not None]
    if idle := [gettext(r.label) for r, gain in used if gain.low > 0 and r.throughput_ratio.low <= 1]:
        points.append(
            gettext("more utilization without more tokens per second is shown for {techniques}").format(
                techniques=gettext(", ").join(idle)
            )
        )
    if fast := [gettext(r.label) for r, gain in used if gain.low <= 0 and r.throughput_ratio.low > 1]:
        points.append(
            gettext(
                "{techniques} gives more tokens per second without more utilization, which does not measure speed"
            ).format(techniques=gettext(", ").join(fast))
        )
    if failed := [gettext(r.label) for r in run.rows(NotServed) if r.status == "failed"]:
        points.append(gettext("a server failed for {techniques}").format(techniques=gettext(", ").join(failed)))
    busy = run.environment.other_load_fraction
    if busy is not None and busy > BUSY:
        points.append(
            gettext("other processes took {share} of the processors meanwhile").format(share=shown_percent(busy))
        )
    if n_failed := max(side.n_failed for r in rows for side in (r.without, r.with_it)):
        points.append(gettext("up to {n} requests of a server failed").format(n=n_failed))
    return points


def technique_rows(run: Run) -> list[tuple[str, ...]]:
    """Return the cells of ``TECHNIQUE_HEAD`` for each technique; name and reason of one that was not measured."""
    shown: list[tuple[str, ...]] = [
        (
            gettext(r.label),
            shown_share(r.without.utilization_fraction),
            shown_share(r.with_it.utilization_fraction),
            _points_more(r.utilization_gain),
            shown_ratio(r.throughput_ratio),
            _both(r, lambda side: three_digits(side.output_tokens_per_s)),
            _both(r, lambda side: shown_duration(side.tpot_p50_s)),
            _both(r, lambda side: shown_share(side.tensor_active_fraction)),
        )
        for r in run.rows(ServedGain)
    ]
    shown += [
        (
            gettext(r.label),
            gettext("{status}: {reason}").format(status=STATUSES[r.status], reason=gettext(r.reason)),
        )
        for r in run.rows(NotServed)
    ]
    return shown


def _points_more(gain: Interval | None) -> str:
    if gain is None:
        return NOT_KNOWN
    value, low, high = (f"{100 * v:+.1f}" for v in (gain.value, gain.low, gain.high))
    return f"{value} [{low}, {high}]"


def _both(row: ServedGain, shown: Callable[[ServedSide], str]) -> str:
    sides = [shown(row.without), shown(row.with_it)]
    return NOT_KNOWN if set(sides) == {NOT_KNOWN} else " → ".join(sides)


def launches_text(run: Run) -> str:
    """Return what is compared with what for each technique, and the flags and variables of both launches."""
    lines = []
    for row in run.rows(ServedGain):
        lines.append(f"# {gettext(row.label)}: {gettext(row.what)}")
        for text, side in ((gettext("without"), row.without), (gettext("with"), row.with_it)):
            words = [*(f"{k}={v}" for k, v in side.variables.items()), *side.flags]
            lines.append(f"# {text}\n{shlex.join(words)}")
    return "\n".join(lines)


def about(run: Run) -> str:
    """Return what the numbers are of."""
    spec = run.asked(ServedTechniquesSpec)
    return gettext("{model}, {n} users, {n_in} tokens in, {n_out} out · {device}, run {run}, {day}").format(
        model=Path(spec.model).name,
        n=spec.concurrency,
        n_in=spec.input_tokens,
        n_out=spec.output_tokens,
        device=run.environment.device,
        run=run.id,
        day=run.day,
    )
