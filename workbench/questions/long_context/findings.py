"""What is planned and what runs say of long contexts: what fits, how fast it is, and how near the plan came."""

from pathlib import Path

from workbench.attention.reasons import STATUSES, shown_reason
from workbench.attention.rows import ComparedCache, NotMeasured, Prefill
from workbench.catalog.model_spec import ModelSpec
from workbench.catalog.tables import devices
from workbench.core.columns import Columns, cells
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.core.stored_texts import in_readers_words
from workbench.core.units import shown_bytes, shown_duration, shown_percent, three_digits
from workbench.core.verdict import Verdict, objections, sentence
from workbench.estimate.serving_memory import ContextPlan, MemorySettings, context_plan
from workbench.questions.long_context.rows import Limit, Series, Served, timed_series
from workbench.questions.long_context.spec import FP8_CACHE, PRECISIONS, WIDE_CACHE, LongContextSpec, ServingCase

CONTEXTS = tuple(2**n for n in range(10, 21))
EXACT = 1e-6
TIE = 1.02
CHUNK_TOKENS, USABLE_FRACTION = 8192, 0.9
"""Of the launch command, and of the memory that is planned for it."""
CACHE_COLUMNS: Columns[ComparedCache] = {
    gettext("KV cache of transformers ●"): lambda r: (
        r.cache if r.window_tokens is None else gettext("{cache}, window {n}").format(cache=r.cache, n=r.window_tokens)
    ),
    gettext("size"): lambda r: shown_bytes(r.kv_held_bytes),
    gettext("on the device"): lambda r: shown_bytes(max(0, r.device_bytes)),
    gettext("prefill"): lambda r: shown_duration(r.prefill_s),
    gettext("TPOT p50"): lambda r: shown_duration(r.step_p50_s or None),
    gettext("largest logit difference"): lambda r: f"{r.max_logit_difference:.1e}",
}
"""Of a cache that was compared."""
TIMED_HEAD = (
    gettext("Engine ●"),
    gettext("context, tokens"),
    gettext("TTFT"),
    gettext("TTFT, prefix cached"),
    gettext("TPOT p50"),
    gettext("KV cache"),
)


# --- the plan -----------------------------------------------------------------------------------------------------


def memory_plan(
    model: ModelSpec, case: ServingCase, *, context_tokens: int | None = None, precision: str | None = None
) -> ContextPlan:
    """Return the memory of a case, or of the same with another context or precision."""
    weight_bits, kv_bits = PRECISIONS[precision or case.precision]
    return context_plan(
        model,
        memory_bytes=float(devices()[case.planned_device].memory_bytes or 0),
        n_devices=case.n_devices,
        weight_bits=weight_bits,
        kv_bits=kv_bits,
        context_tokens=context_tokens or case.context_tokens,
        batch=case.batch,
        settings=MemorySettings(usable_fraction=USABLE_FRACTION, chunk_tokens=CHUNK_TOKENS, max_sequences=case.batch),
    )


def cache_bytes_by_context(model: ModelSpec, case: ServingCase) -> dict[int, float]:
    """Return the size of the cache, states included, at the case's context and at powers of two."""
    contexts = sorted({*CONTEXTS, case.context_tokens})
    plans = {n: memory_plan(model, case, context_tokens=n) for n in contexts}
    return {n: plan.cache_bytes + plan.state_bytes for n, plan in plans.items()}


def is_beyond_model(model: ModelSpec, case: ServingCase) -> bool:
    """Return whether the context is longer than the model was made for."""
    return bool(model.max_context_tokens and case.context_tokens > model.max_context_tokens)


def plan_message(model: ModelSpec, case: ServingCase) -> tuple[str, str, str, str]:
    """Return whether the case fits: kind of message, title, cause and remedy."""
    plan, device = memory_plan(model, case), devices()[case.planned_device].name
    place = f"{case.n_devices} × {device}" if case.n_devices > 1 else device
    sequences = f"{case.context_tokens:,}"
    if case.batch > 1:
        sequences = gettext("{n} sequences of {context}").format(n=case.batch, context=sequences)
    parts = (
        gettext(
            "weights {weights}, KV cache {cache}, states {states}, workspace {workspace}, reserve {reserve} of {usable} usable"
        )
        if plan.state_bytes
        else gettext("weights {weights}, KV cache {cache}, workspace {workspace}, reserve {reserve} of {usable} usable")
    ).format(
        weights=shown_bytes(plan.weight_bytes),
        cache=shown_bytes(plan.cache_bytes),
        states=shown_bytes(plan.state_bytes),
        workspace=shown_bytes(plan.workspace_bytes),
        reserve=shown_bytes(plan.reserve_bytes),
        usable=shown_bytes(plan.usable_bytes),
    )
    is_beyond, beyond = is_beyond_model(model, case), ""
    if is_beyond:
        beyond = gettext(" {model} was made for {n} tokens; beyond them its answers may be meaningless.").format(
            model=model.name, n=f"{model.max_context_tokens:,}"
        )
    mark = Provenance.ESTIMATED.mark
    if plan.does_fit:
        share = shown_percent(USABLE_FRACTION)
        end = gettext("the longest context is {n} tokens in a server with {share} of the memory").format(
            n=f"{plan.longest_tokens:,}", share=share
        )
        cause = gettext("{mark} {context} tokens fit on {place}: {parts}; {end}.{beyond}").format(
            mark=mark, context=sequences, place=place, parts=parts, end=end, beyond=beyond
        )
        return "caution" if is_beyond else "info", gettext("It fits."), cause, ""
    cause = gettext("{mark} {context} tokens on {place}: {parts}.{beyond}").format(
        mark=mark, context=sequences, place=place, parts=parts, beyond=beyond
    )
    remedy = gettext("Use fewer bits for the weights, a larger device or more devices.")
    if plan.longest_tokens:
        remedy = gettext("Up to {n} tokens fit; or use fewer bits, fewer sequences or more devices.").format(
            n=f"{plan.longest_tokens:,}"
        )
    return "failure", gettext("It does not fit."), cause, remedy


def launch_command(model: ModelSpec, case: ServingCase, *, place: str) -> str:
    """Return how vLLM is started with the settings of a case; ``place``: what the reader calls the model."""
    weight_bits, kv_bits = case.bits
    flags = (
        (f"vllm serve {place}", True),
        (f"--max-model-len {case.context_tokens}", True),
        (f"--max-num-seqs {case.batch}", True),
        (f"--max-num-batched-tokens {CHUNK_TOKENS}", True),
        ("--enable-prefix-caching", True),
        (f"--gpu-memory-utilization {USABLE_FRACTION}", True),
        ("--quantization fp8", weight_bits == 8),
        ("--kv-cache-dtype fp8", kv_bits == 8),
        (f"--tensor-parallel-size {case.n_devices}", case.n_devices > 1),
    )
    lines = " \\\n  ".join(flag for flag, is_needed in flags if is_needed)
    if weight_bits < 8:
        lines = "# INT4 needs a quantized checkpoint: workbench checkpoints\n" + lines
    if is_beyond_model(model, case):
        lines = f"# beyond the {model.max_context_tokens:,} tokens the model was made for\n" + lines
    return lines


def precision_columns(model: ModelSpec, case: ServingCase) -> Columns[str]:
    """Return the columns of the plan's table, whose rows are the names of ``PRECISIONS``."""
    plans = {name: memory_plan(model, case, precision=name) for name in PRECISIONS}
    return {
        gettext("Precision ◌"): gettext,
        gettext("weights"): lambda name: shown_bytes(plans[name].weight_bytes),
        gettext("KV cache at {n} tokens").format(n=f"{case.context_tokens:,}"): lambda name: shown_bytes(
            plans[name].cache_bytes
        ),
        gettext("of usable memory"): lambda name: shown_percent(plans[name].needed_bytes / plans[name].usable_bytes),
        gettext("longest context"): lambda name: (
            gettext("{n} tokens").format(n=f"{plans[name].longest_tokens:,}")
            if plans[name].longest_tokens
            else gettext("does not fit")
        ),
    }


# --- what was measured --------------------------------------------------------------------------------------------


def about(run: Run | None) -> str:
    """Return what the plan and the measurements are of."""
    if run is None:
        return gettext("from the catalogue; no run yet")
    env = run.environment
    packages = " · ".join(f"{p} {env.packages[p]}" for p in ("torch", "transformers", "vllm") if p in env.packages)
    measured, name = Provenance.MEASURED, Path(run.asked(LongContextSpec).model).name
    return gettext(
        "from the catalogue · {mark} {measured} with {model} on {device}, {packages} · run {run}, {day}"
    ).format(
        mark=measured.mark,
        measured=gettext(measured),
        model=name,
        device=env.device,
        packages=packages,
        run=run.id,
        day=run.day,
    )


def verdict(run: Run) -> Verdict:
    """Return the longest context that fits, how long its prefill takes, and how near the prediction came."""
    limit, series = run.row(Limit), timed_series(run)
    longest = {name: rows[-1] for name, rows in series.items()}
    if not longest:
        return Verdict(
            headline=gettext("No prefill was measured."),
            evidence=gettext("Every context length failed; the table says why."),
            answer="open",
        )
    at = max(r.length_tokens for r in longest.values())
    reached = {name: row for name, row in longest.items() if row.length_tokens == at}
    name, fastest = min(reached.items(), key=lambda pair: pair[1].ttft_s)
    evidence, longest_text = list[str](), ""
    if limit and limit.found_tokens:
        off = shown_percent(limit.predicted_tokens / limit.found_tokens - 1, 1, sign=True)
        longest_text = gettext(
            "; the longest context that fits into all free memory, without a server, is {n} tokens"
        ).format(n=f"{limit.found_tokens:,}")
        evidence.append(
            gettext("Predicted before loading: {n} tokens ({change}).").format(
                n=f"{limit.predicted_tokens:,}", change=off
            )
        )
    elif limit:
        mark = Provenance.ESTIMATED.mark
        evidence.append(
            gettext("Predicted by memory: {mark} {n} tokens; {reason}").format(
                mark=mark, n=f"{limit.predicted_tokens:,}", reason=shown_reason(limit.reason or "")
            )
        )
    held = run.rows(Prefill)
    if held:
        worst = max(abs(r.kv_held_bytes / r.kv_predicted_bytes - 1) for r in held if r.kv_predicted_bytes)
        nearest = min(held, key=lambda r: abs(r.length_tokens - at))
        agreement = (
            gettext("its formula is exact")
            if worst < EXACT
            else gettext("its formula is off by {share} %").format(share=f"{100 * worst:.2g}")
        )
        evidence.append(
            gettext("KV cache of {n} tokens: {size}; {agreement}.").format(
                n=f"{at:,}", size=shown_bytes(nearest.kv_held_bytes), agreement=agreement
            )
        )
    failed = [r for r in run.rows(NotMeasured) if r.what == "prefill"]
    points = (
        [
            gettext("{n} prefills were not measured: {reason}").format(
                n=len(failed), reason=shown_reason(failed[0].reason)
            )
        ]
        if failed
        else []
    )
    others = [n for n, row in reached.items() if row is not fastest and row.ttft_s <= TIE * fastest.ttft_s]
    if others:
        points.append(gettext("{names} takes no more than 2 % longer").format(names=gettext(" and ").join(others)))
    return Verdict(
        best=name,
        headline=gettext("TTFT is {ttft} and TPOT p50 {tpot} at {n} tokens with {name}{longest}.").format(
            ttft=shown_duration(fastest.ttft_s),
            tpot=shown_duration(fastest.step_p50_s),
            n=f"{at:,}",
            name=name,
            longest=longest_text,
        ),
        evidence=" ".join(evidence),
        objection=objections([*points, *_against(limit)]),
        scope=_scope(run),
    )


def _against(limit: Limit | None) -> list[str]:
    made_for, reached = (limit.model_limit_tokens, limit.found_tokens) if limit else (None, None)
    if not made_for or not reached or reached <= made_for:
        return []
    times = three_digits(reached / made_for)
    return [
        gettext("the model was made for {n} tokens, and memory holds {factor} times as many").format(
            n=f"{made_for:,}", factor=times
        )
    ]


def _scope(run: Run) -> str:
    """Return whether a server shares its cache, and what a cached prefix changes."""
    points = [gettext("measured with one sequence at a time; a server shares its KV cache among many")]
    if served := run.rows(Served):
        last = max(served, key=lambda r: r.length_tokens)
        change = (
            gettext("with {name}, TTFT falls from {ttft} to {cached} where the prefix of {n} tokens is cached")
            if last.ttft_prefix_s < last.ttft_s
            else gettext("with {name}, TTFT goes from {ttft} to {cached} where the prefix of {n} tokens is cached")
        )
        points.append(
            change.format(
                name=in_readers_words(last.label, (WIDE_CACHE, FP8_CACHE)),
                ttft=shown_duration(last.ttft_s),
                cached=shown_duration(last.ttft_prefix_s),
                n=f"{last.length_tokens:,}",
            )
        )
    return sentence(points)


def cache_rows(run: Run) -> list[tuple[str, ...]]:
    """Return the cells of ``CACHE_COLUMNS`` for each cache that was compared, then the reason why another was not."""
    missing = [r for r in run.rows(NotMeasured) if r.what == "cache"]
    return [
        *(cells(CACHE_COLUMNS, r) for r in run.rows(ComparedCache)),
        *(
            (
                r.label or "",
                gettext("{status}: {reason}").format(status=STATUSES[r.status], reason=shown_reason(r.reason)),
            )
            for r in missing
        ),
    ]


def timed_rows(series: Series) -> list[tuple[str, ...]]:
    """Return the cells of ``TIMED_HEAD`` for each way to run the model and each length."""
    shown: list[tuple[str, ...]] = []
    for name, r in ((name, r) for name, rows in series.items() for r in rows):
        prefix_s = r.ttft_prefix_s if isinstance(r, Served) else None
        times = (shown_duration(s) for s in (r.ttft_s, prefix_s, r.step_p50_s))
        cache = (
            shown_bytes(r.kv_held_bytes)
            if isinstance(r, Prefill)
            else gettext("{n} tokens").format(n=f"{r.kv_capacity_tokens or 0:,}")
        )
        shown.append((name, f"{r.length_tokens:,}", *times, cache))
    return shown
