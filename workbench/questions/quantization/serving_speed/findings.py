"""Findings of a run of vLLM's steps: the fastest precision in each cell, and the batch size where INT4 is no longer faster."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from workbench.calibrate.serving_speed.rows import TIE, cells_of, crossover_batch
from workbench.calibrate.serving_speed.spec import ServingSpeedSpec
from workbench.catalog.served import Served
from workbench.core.columns import cells
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.stored_texts import translated
from workbench.core.units import NOT_KNOWN, shown_duration, shown_p99, three_digits
from workbench.core.verdict import Verdict, objections, sentence
from workbench.estimate.rows import StepCell, StepTime

PLAIN = "bf16"
FOUR_BITS, EIGHT_BITS = ("w4a16", "w4a16-asym", "nvfp4a16"), ("fp8", "w8a8")
FLAGS = {
    "bf16": "--dtype bfloat16",
    "fp8": "--quantization fp8",
    "bf16+fp8-kv": "--dtype bfloat16 --kv-cache-dtype fp8",
    "fp8+fp8-kv": "--quantization fp8 --kv-cache-dtype fp8",
}
SCHEMES_OF = {"w8a8": "smoothquant-w8a8", "w4a16-asym": "awq-w4a16", "mixed": "mixed"}

Cells = Mapping[tuple[str, int, int], StepTime]


def about(run: Run) -> str:
    """Return model, device and versions that the numbers of a run are for."""
    env, spec = run.environment, run.asked(ServingSpeedSpec)
    return gettext(
        "{model}, random weights · vLLM {version} on {device} · inside the engine, without HTTP · "
        "{n_steps} steps a cell · run {run}, {day} · ◌ roofline: published bandwidth and peak rates"
    ).format(
        model=Path(spec.model).name,
        version=env.packages.get("vllm", "–"),
        device=env.device,
        n_steps=spec.decode_steps,
        run=run.id,
        day=run.day,
    )


def speed_verdict(run: Run, *, batch: int, context_tokens: int) -> Verdict:
    """Return the fastest precision in a cell, its speed-up over BF16, and whether INT4 is slower than eight bits."""
    cells = cells_of(run.results)
    here = {name: row for (name, b, c), row in cells.items() if (b, c) == (batch, context_tokens)}
    if not here:
        return Verdict(
            headline=gettext("This cell was not measured."),
            evidence=gettext(
                "Its sequences do not fit into the KV cache, or the run left it out. Choose another batch size or "
                "context length."
            ),
            answer="open",
        )
    best = min(here, key=lambda name: here[name].tpot_p50_s.value)
    row, plain = here[best], here.get(PLAIN)
    equal = [name for name, r in here.items() if name != best and r.tpot_p50_s.low <= row.tpot_p50_s.high]
    headline = (
        gettext("At {batch} × {context} tokens, {format} is not shown to differ from {equal}: {time} per token{gain}.")
        if equal
        else gettext("At {batch} × {context} tokens, {format} is fastest: {time} per token{gain}.")
    ).format(
        batch=batch,
        context=context_tokens,
        format=_label(best),
        equal=_names(equal) if equal else "",
        time=shown_duration(row.tpot_p50_s.value),
        gain=gettext(", {factor} times as fast as BF16").format(
            factor=f"{plain.tpot_p50_s.value / row.tpot_p50_s.value:.2f}"
        )
        if plain and best != PLAIN and PLAIN not in equal
        else "",
    )
    return Verdict(
        best=best,
        headline=headline,
        evidence=_evidence(here, best),
        objection=objections(_against(run, cells, best, context_tokens)),
        scope=gettext("Weights are random, so this is about speed alone."),
        answer="no" if best == PLAIN or PLAIN in equal else "yes",
    )


def _names(served: Sequence[str]) -> str:
    """Return the labels of precisions as a list in words."""
    *others, last = map(_label, served)
    return gettext("{others} and {last}").format(others=gettext(", ").join(others), last=last) if others else last


def _label(served: str) -> str:
    return gettext(Served.read(served).label)


def _evidence(here: Mapping[str, StepTime], best: str) -> str:
    row = here[best]
    low, high = shown_duration(row.tpot_p50_s.low), shown_duration(row.tpot_p50_s.high)
    rivals = sorted((r.tpot_p50_s.value, name) for name, r in here.items() if name != best)[:2]
    return sentence(
        [
            gettext("median of {n} steps [{low}, {high}]").format(n=row.n_steps, low=low, high=high),
            *(f"{_label(name)} {shown_duration(seconds)}" for seconds, name in rivals),
        ]
    )


def _against(run: Run, cells: Cells, best: str, context_tokens: int) -> list[str]:
    points = [p for p in (four_bits_against_eight(run), _stops_paying(run, best, context_tokens)) if p]
    largest = max((b, c) for n, b, c in cells if n == best)
    prefills = {name: r.prefill_tokens_per_s for (name, b, c), r in cells.items() if (b, c) == largest}
    quickest = max(prefills, key=lambda name: prefills[name])
    gain = prefills[quickest] / prefills[best]
    if gain > TIE:
        points.append(
            gettext("{format} prefills long prompts {factor} times as fast").format(
                format=_label(quickest), factor=f"{gain:.2f}"
            )
        )
    return points


def four_bits_against_eight(run: Run) -> str | None:
    """Return in how many cells the best four-bit format is slower than the best eight-bit one."""
    cells = cells_of(run.results)
    is_slower = []
    for size in dict.fromkeys((b, c) for _, b, c in cells):
        four, eight = (
            [cells[f, *size].tpot_p50_s.value for f in formats if (f, *size) in cells]
            for formats in (FOUR_BITS, EIGHT_BITS)
        )
        if four and eight:
            is_slower.append(min(four) > TIE * min(eight))
    if not is_slower:
        return None
    return gettext(
        "INT4 everywhere is slower than the better of FP8 and INT8 in {n} of {n_all} cells (by over 2 %)"
    ).format(n=sum(is_slower), n_all=len(is_slower))


def _stops_paying(run: Run, best: str, context_tokens: int) -> str | None:
    for other in dict.fromkeys(["fp8" if best != "fp8" else PLAIN, PLAIN]) if best != PLAIN else ():
        batch = crossover_batch(run, best, other, context_tokens=context_tokens)
        if batch is not None:
            return gettext("at this context it is no faster than {other} from batch size {batch} on").format(
                other=_label(other), batch=batch
            )
    return None


def sequences_that_fit(row: StepCell) -> int | None:
    """Return how many sequences of the row's context the cache holds."""
    return row.kv_capacity_tokens // row.context_tokens if row.kv_capacity_tokens else None


def gains(run: Run, *, context_tokens: int) -> dict[str, list[tuple[int, float]]]:
    """Return batch size and speed-up over BF16 by precision, at one context length."""
    cells = cells_of(run.results)
    points: dict[str, list[tuple[int, float]]] = {}
    for (name, batch, context), row in cells.items():
        plain = cells.get((PLAIN, batch, context_tokens))
        if context == context_tokens and plain and name != PLAIN:
            points.setdefault(name, []).append((batch, plain.tpot_p50_s.value / row.tpot_p50_s.value))
    return points


def shown_share(fraction: float | None) -> str:
    """Return a share of the roofline for a table."""
    return NOT_KNOWN if fraction is None else f"{three_digits(100 * fraction)} %"


def cell_table(run: Run, *, batch: int, context_tokens: int) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return titles and rows: times of each precision in one cell, and the reason where one was not measured."""
    here = [r for r in run.rows(StepCell) if (r.batch, r.context_tokens) == (batch, context_tokens)]
    plain = next((r.tpot_p50_s.value for r in here if isinstance(r, StepTime) and r.served == PLAIN), None)
    columns: Mapping[str, Callable[[StepTime], str]] = {
        gettext("Precision ●"): lambda r: gettext(r.label),
        gettext("time per token, p50 / p99"): lambda r: (
            f"{shown_duration(r.tpot_p50_s.value)} / {shown_p99(r.tpot_p99_s, n=r.n_steps)}"
        ),
        gettext("over BF16"): lambda r: f"{plain / r.tpot_p50_s.value:.2f}×" if plain else NOT_KNOWN,
        gettext("of roofline ◌"): lambda r: shown_share(r.roofline.step_fraction if r.roofline else None),
        gettext("prefill, tok/s"): lambda r: three_digits(r.prefill_tokens_per_s),
        gettext("prefill, of roofline ◌"): lambda r: shown_share(r.roofline.prefill_fraction if r.roofline else None),
        gettext("cache, tokens"): lambda r: f"{r.kv_capacity_tokens:,}",
        gettext("sequences of {context}").format(context=context_tokens): lambda r: str(
            sequences_that_fit(r) or NOT_KNOWN
        ),
    }
    rows = [
        cells(columns, r)
        if isinstance(r, StepTime)
        else (gettext(r.label), gettext("does not fit: its KV cache is larger than the device's memory"))
        for r in here
    ]
    return tuple(columns), [
        *rows,
        *(
            (
                _label(f.subject or ""),
                gettext("failed: {cause}").format(cause=translated(f.cause, domain="quantization")),
            )
            for f in run.failures
        ),
    ]


def all_cells(run: Run) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return titles and rows: the time per token in every cell and its share of the roofline, a column for each precision."""
    by_size = cells_of(run.results)
    names = list(dict.fromkeys(name for name, _, _ in by_size))

    def shown(row: StepTime | None) -> str:
        if row is None:
            return NOT_KNOWN
        share = shown_share(row.roofline.step_fraction if row.roofline else None)
        return f"{row.tpot_p50_s.value * 1e3:.2f} · {share}"

    lines = [
        (f"{batch} × {context}", *(shown(by_size.get((name, batch, context))) for name in names))
        for batch, context in dict.fromkeys((b, c) for _, b, c in by_size)
    ]
    return (gettext("sequences × tokens"), *map(_label, names)), lines


def launch_commands(run: Run, best: str) -> str:
    """Return the launch command of a precision: vLLM's server flags, or the commands that make a checkpoint first."""
    spec, served = run.asked(ServingSpeedSpec), Served.read(best)
    if best in FLAGS:
        return f"vllm serve {spec.model} {FLAGS[best]}"
    is_mixed = served.format == "mixed"
    plan, note = (" --plan plan.json", f"\n# plan.json: {json.dumps(spec.plan)}") if is_mixed else ("", "")
    scheme = SCHEMES_OF.get(str(served.format), "gptq-w4a16")
    return (
        f"workbench checkpoints {spec.model} --schemes {scheme}{plan} --out checkpoints\nvllm serve checkpoints/*{note}"
    )
