"""A load as text tables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from workbench.core.runs import Run
from workbench.core.units import shown_duration, three_digits

ROWS = (
    ("TTFT from due", "ttft_s", "from_due"),
    ("TTFT from sent", "ttft_s", "from_sent"),
    ("TPOT (guidellm, AIPerf: ITL)", "tpot_s", "from_sent"),
    ("gap between chunks (vllm bench: ITL)", "itl_s", "from_sent"),
    ("end to end from due", "e2e_s", "from_due"),
    ("end to end from sent", "e2e_s", "from_sent"),
)


def _cell(found: Mapping[str, Any], name: str) -> str:
    value = found[name]
    if value is None:
        return "beyond the failures" if found["n_censored"] else "–"
    interval = found["interval"].get(name)
    if interval is None:
        return shown_duration(value)
    return f"{shown_duration(value)} [{shown_duration(interval[0])}, {shown_duration(interval[1])}]"


def loads_table(runs: Sequence[Run]) -> Table:
    """Loads of this and other tools beside each other, one a row."""
    columns = ("TTFT p50 / p99 from sent", "TPOT p50", "end to end p50", "end to end p50 from due")
    table = Table("run", "measured with", "model", "requests/s offered", *columns, "ok / failed", "client")
    for run in runs:
        answers = run.results[0]
        ttft, tpot = answers["ttft_s"]["from_sent"], answers["tpot_s"]["from_sent"]
        e2e, health = answers["e2e_s"], answers["client_health"]
        offered = answers["rates"].get("offered_per_s")
        table.add_row(
            run.id,
            run.spec.get("imported_from", "workbench load"),
            run.spec["model"],
            three_digits(offered) if offered else "–",
            f"{_plain(ttft['p50'])} / {_plain(ttft['p99'])}",
            _plain(tpot["p50"]),
            _plain(e2e["from_sent"]["p50"]),
            _plain(e2e["from_due"]["p50"]),
            f"{answers['counts']['ok']} / {answers['counts']['failed']}",
            health["verdict"] if health else "not recorded",
        )
    return table


def _plain(seconds: float | None) -> str:
    return "–" if seconds is None else shown_duration(seconds)


def load_tables(run: Run) -> Iterator[Table | str]:
    """Latencies with 95 % intervals, then rates, then what to make of them."""
    if not run.results:
        return
    answers = run.results[0]
    table = Table("latency", "mean", "p50", "p90", "p99", "n", "failed")
    table.title = f"● measured, {run.day}, run {run.id} (95 % intervals)"
    for label, name, origin in ROWS:
        found = answers[name][origin]
        cells = (_cell(found, column) for column in ("mean", "p50", "p90", "p99"))
        table.add_row(label, *cells, str(found["n"]), str(found["n_censored"]))
    yield table
    if any(found["interval"].get("p99") is None for found in (answers[name][origin] for _, name, origin in ROWS)):
        yield "No interval where there are too few samples for one."
    counts, steady = answers["counts"], answers["steady_state"]
    goodput = steady["goodput"]
    yield (
        f"{counts['due']} requests due, {counts['sent']} sent, {counts['ok']} answered, {counts['failed']} failed; "
        f"in the steady part {three_digits(goodput['completed_per_s'])} answers/s, "
        f"{three_digits(steady['output_tokens_per_s'] or 0)} output tokens/s"
    )
    low, high = goodput["attainment_interval"]
    yield f"goodput {three_digits(goodput['good_per_s'])} requests/s, {goodput['attainment_fraction']:.1%} [{low:.1%}, {high:.1%}] good"
    yield f"tokens counted by: {', '.join(answers['token_source']) or '–'}"
    yield f"steady from {steady['start_s']:.1f} to {steady['end_s']:.1f} s, {steady['n_cut']} requests before that"
    health = answers["client_health"]
    yield f"client: {health['verdict']}: {health['reason']}" if health else "client: not recorded"
    if answers["prefix_cache"]["warning"]:
        yield f"▲ {answers['prefix_cache']['warning']}"
    for failure in run.failures:
        yield f"▲ {failure['cause']}"
