"""A load as text tables."""

from collections.abc import Iterator, Sequence

from rich.table import Table

from workbench.core.runs import Run
from workbench.core.units import shown_duration, three_digits
from workbench.load.rows import Distribution, LoadResult
from workbench.load.spec import LoadSpec

FEW_INDEPENDENT = 50
"""Below so many independent requests the output says why intervals are wide or missing."""


def _latencies(answers: LoadResult) -> tuple[tuple[str, Distribution], ...]:
    return (
        ("TTFT from due", answers.ttft_s.from_due),
        ("TTFT from sent", answers.ttft_s.from_sent),
        ("TPOT (guidellm, AIPerf: ITL)", answers.tpot_s.from_sent),
        ("ITL, between chunks (vllm bench: ITL)", answers.itl_s.from_sent),
        ("end-to-end latency from due", answers.e2e_s.from_due),
        ("end-to-end latency from sent", answers.e2e_s.from_sent),
    )


def _cell(latency: Distribution, name: str, value: float | None) -> str:
    if value is None:
        return "beyond the failures" if latency.n_censored else "–"
    interval = latency.interval.get(name)
    if interval is None:
        return shown_duration(value)
    return f"{shown_duration(value)} [{shown_duration(interval[0])}, {shown_duration(interval[1])}]"


def _independent(n: float | None, *, of: int) -> str:
    """Return a remark where requests depended on each other so much that few of them are independent."""
    if n is None or n >= FEW_INDEPENDENT or n > of / 2:
        return ""
    return f" (they waited in one queue and tell as much as {three_digits(n)} independent requests)"


def loads_table(runs: Sequence[Run]) -> Table:
    """Return loads of this and other tools in one table, one a row."""
    columns = ("TTFT p50 / p99 from sent", "TPOT p50", "end-to-end p50 from sent", "end-to-end p50 from due")
    table = Table(
        "run", "measured with", "model", "request rate (requests/s)", *columns, "ok / failed", "client", "warnings"
    )
    for run, answers in ((r, answers) for r in runs for answers in r.rows(LoadResult)):
        ttft, e2e, health = answers.ttft_s.from_sent, answers.e2e_s, answers.client_health
        table.add_row(
            run.id,
            run.spec.get("imported_from", "workbench load"),
            run.asked(LoadSpec).model,
            three_digits((answers.rates and answers.rates.offered_per_s) or None),
            f"{shown_duration(ttft.p50)} / {shown_duration(ttft.p99)}",
            shown_duration(answers.tpot_s.from_sent.p50),
            shown_duration(e2e.from_sent.p50),
            shown_duration(e2e.from_due.p50),
            f"{answers.counts.ok} / {answers.counts.failed}",
            health.verdict if health else "not recorded",
            ", ".join(w.kind for w in answers.warnings) or "none",
        )
    return table


def load_tables(run: Run) -> Iterator[Table | str]:
    """Yield latencies with 95 % intervals, then rates, then what to make of them."""
    answers = run.row(LoadResult)
    if answers is None:
        return
    table = Table("latency", "mean", "p50", "p90", "p99", "n", "failed")
    table.title = f"● measured, {run.day}, run {run.id} (95 % intervals)"
    latencies = _latencies(answers)
    if answers.tail_s is not None:
        latencies = (*latencies, ("tail, from the last token to the end of the response", answers.tail_s))
    for label, latency in latencies:
        values = {"mean": latency.mean, "p50": latency.p50, "p90": latency.p90, "p99": latency.p99}
        cells = (_cell(latency, name, value) for name, value in values.items())
        table.add_row(label, *cells, str(latency.n), str(latency.n_censored))
    yield table
    if any(latency.interval.get("p99") is None for _, latency in latencies):
        yield "No interval where there are too few samples for one."
    counts, steady, health = answers.counts, answers.steady_state, answers.client_health
    goodput = steady.goodput
    text = f"{counts.due} requests due, {counts.sent} sent, {counts.ok} answered, {counts.failed} failed"
    text += f", {counts.cancelled} cut off when the load ended" if counts.cancelled else ""
    if answers.stopped_after_s is not None:
        yield f"▲ stopped after {answers.stopped_after_s:.1f} s: what follows is what was measured until then"
    if goodput is None:
        yield text
    else:
        yield (
            f"{text}; in the steady part {three_digits(goodput.completed_per_s)} answers/s, "
            f"{three_digits(steady.output_tokens_per_s or 0)} output tokens/s"
        )
        low, high = goodput.attainment_interval
        share = f"{goodput.attainment_fraction:.1%} [{low:.1%}, {high:.1%}]{_independent(goodput.n_independent, of=counts.due)}"
        yield f"goodput {three_digits(goodput.good_per_s)} requests/s, SLO attainment {share}"
    yield f"tokens counted by: {', '.join(answers.token_source) or '–'}; {_tpot_rule(answers)}"
    yield f"steady from {steady.start_s:.1f} to {steady.end_s:.1f} s, {steady.n_cut} requests before that"
    yield f"client: {health.verdict}: {health.reason}" if health else "client: not recorded"
    for warning in answers.warnings:
        yield f"▲ {warning.kind}: {warning.text}"
    if answers.prefix_cache.warning and not any(w.kind == "prefix-cache" for w in answers.warnings):
        yield f"▲ {answers.prefix_cache.warning}"
    yield from _asked_otherwise(answers)
    for failure in run.failures:
        yield f"▲ {failure.cause}"


def _tpot_rule(answers: LoadResult) -> str:
    """Return by what the time from the first to the last chunk was divided."""
    rules = ", ".join(answers.tpot_rule)
    return f"TPOT divides by: {rules}" if rules else "no TPOT"


def _asked_otherwise(answers: LoadResult) -> Iterator[str]:
    valid = answers.valid_answers
    if valid is not None and valid.valid_fraction is not None:
        yield f"valid answers: {valid.valid_fraction:.1%} ({valid.valid} of {valid.answered})"
    if answers.dropped_fields:
        yield f"fields that the server refuses, left out: {', '.join(answers.dropped_fields)}"
    yield from answers.notes
    if answers.nonce is not None:
        yield f"prompt nonce {answers.nonce}: --nonce {answers.nonce} sends the same prompts again"
