"""Why a GPU does not do all that it could: where its time goes, from samples of its units, clocks and the engine's queue."""

from collections import Counter

import numpy as np

from workbench.core.errors import NotAvailable
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.stored_texts import in_readers_words
from workbench.core.units import shown_duration, shown_percent, three_digits
from workbench.core.verdict import Verdict
from workbench.load.recording.rows import RecordingSamples, sampled_span, span_of
from workbench.load.recording.spec import RecordingSpec
from workbench.load.rows import KeptRequest, LoadResult, LoadSamples
from workbench.questions.utilization.rows import EnergyUse, GpuUse, Loss, ShownSpan, Utilization
from workbench.telemetry.gpu_source import PROBLEMS, slowed_by
from workbench.telemetry.labels import shown_label
from workbench.telemetry.samples import Recording

NO_PRODUCTS = gettext("no matrix products")
SMALL = 0.02  # a loss below this is not worth a remedy
WAITS = 0.1  # share of time in which some task waits for a processor that counts as pressure
LOSS_HEAD = (gettext("Loss of GPU time ●"), gettext("share of time"), gettext("evidence"), gettext("remedy"))
SIGNAL_HEAD = (gettext("Signal"), gettext("meaning"), gettext("mean, or increase of a counter"), gettext("samples"))
ENERGIES = {
    "joules": gettext("all GPUs"),
    "joules_per_output_token": gettext("per output token"),
    "joules_per_request": gettext("per answered request"),
    "joules_per_good_request": gettext("per request that met the SLO"),
}
REQUESTS = {
    "none": gettext("none"),
    "ttft": gettext("longest TTFT"),
    "e2e": gettext("longest end-to-end latency"),
    "middle": gettext("median end-to-end latency"),
}
"""Which request of a load is laid over its samples; latencies count from when it was due."""


def gpus_of(recording: Recording) -> list[str]:
    """Return the GPUs that were sampled."""
    names = (n.partition(".") for n in recording.values if n.startswith("gpu"))
    return sorted({gpu for gpu, _, quantity in names if quantity == "utilisation_percent"})


def gpu_use(recording: Recording, gpu: str, start_s: float, end_s: float) -> GpuUse:
    """Return where the time of a GPU such as "gpu0" went in a span of the monotonic clock.

    Its highest clock is the highest that was sampled. Raises ``NotAvailable`` when it was not sampled in this span.
    """

    def mean(quantity: str) -> float | None:
        return recording.mean(f"{gpu}.{quantity}", start_s, end_s)

    def share(percent_quantity: str) -> float | None:
        percent = mean(percent_quantity)
        return None if percent is None else percent / 100

    kernel = share("utilisation_percent")
    if kernel is None:
        raise NotAvailable(
            gettext("{gpu} was not sampled between {start} and {end} s.").format(
                gpu=gpu, start=f"{start_s:.0f}", end=f"{end_s:.0f}"
            ),
            remedy=gettext("Sampled are: {names}.").format(names=", ".join(gpus_of(recording)) or gettext("no GPUs")),
        )
    level, losses, not_seen = 1.0, list[Loss](), list[str]()

    def lose(cause: str, fraction: float, evidence: str, remedy: str) -> None:
        losses.append(Loss(cause=cause, fraction=max(0.0, fraction), evidence=evidence, remedy=remedy))

    asked = share_with_work(recording, start_s, end_s)
    if asked is None:
        not_seen.append(gettext("whether there were requests: no engine counters were sampled"))
    else:
        lose(
            gettext("no requests"),
            min(1 - asked, 1 - kernel),
            gettext("requests were running or waiting {share} of the time").format(share=shown_percent(asked)),
            gettext("Route more requests to this GPU, share it, or switch it off in quiet hours."),
        )
        level -= losses[-1].fraction
    lose(
        gettext("no kernel running"),
        level - kernel,
        gettext("a kernel ran {share} of the time; {host}").format(
            share=shown_percent(kernel), host=_host(recording, start_s, end_s)
        ),
        gettext(
            "The GPU waits for the host: CUDA graphs, asynchronous scheduling, fewer and larger steps, a faster core."
        ),
    )
    level, achieved = min(level, kernel), gettext("a kernel was running")
    active, tensor, dram = share("sm_active_percent"), share("tensor_active_percent"), share("dram_active_percent")
    if active is None or tensor is None:
        problem = recording.problems.get(f"{gpu}.tensor_active_percent")
        why = problem_text(problem) if problem else gettext("they were not sampled")
        not_seen.append(gettext("which units worked: {why}").format(why=why))
    else:
        active, tensor = min(level, active), min(level, tensor)
        lose(
            gettext("multiprocessors without work"),
            level - active,
            gettext("of the multiprocessors {share} had work").format(share=shown_percent(active)),
            gettext("Kernels are too small for this card, or wait for each other: larger batches, fewer launches."),
        )
        memory = "" if dram is None else gettext("; memory bandwidth in use {share}").format(share=shown_percent(dram))
        lose(
            NO_PRODUCTS,
            active - tensor,
            gettext("tensor cores worked {share} of the time{memory}").format(
                share=shown_percent(tensor), memory=memory
            ),
            gettext(
                "Reading weights and cache, attention and small kernels: larger batches, fewer bits, an FP8 cache."
            ),
        )
        level, achieved = min(active, tensor), gettext("tensor cores were at work")
    clock, clocks = mean("sm_clock_mhz"), recording.values.get(f"{gpu}.sm_clock_mhz")
    if clock is None or clocks is None or not (highest := float(clocks.max())):
        not_seen.append(gettext("the clock"))
    else:
        lose(
            gettext("clock below the highest"),
            level * max(0.0, 1 - clock / highest),
            gettext("{clock} of {highest} MHz{why}").format(
                clock=f"{clock:.0f}", highest=f"{highest:.0f}", why=_held_down(recording, gpu, start_s, end_s)
            ),
            gettext("Raise the power limit if allowed, improve cooling, or use fewer bits: less energy per token."),
        )
    return GpuUse(
        gpu=gpu,
        span_s=end_s - start_s,
        losses=losses,
        achieved_fraction=max(0.0, 1 - sum(loss.fraction for loss in losses)),
        achieved=achieved,
        dram_fraction=dram,
        not_seen=not_seen,
    )


def share_with_work(recording: Recording, start_s: float, end_s: float) -> float | None:
    """Return the share of a span in which an engine had requests; None without its counters."""
    name = "engine.num_requests_running"
    if name not in recording:
        return None
    t, running = recording.times_s[name], recording.values[name]
    waiting = recording.values.get("engine.num_requests_waiting")
    if waiting is not None and waiting.size == running.size:
        running = running + waiting
    inside = (t >= start_s) & (t <= end_s)
    if inside.sum() < 2:
        return None
    at, has = t[inside], running[inside] > 0
    return float(np.sum(np.diff(at) * has[:-1]) / (at[-1] - at[0]))


def _host(recording: Recording, start_s: float, end_s: float) -> str:
    parts = []
    core = recording.mean("host.busiest_core_percent", start_s, end_s)
    if core is not None:
        parts.append(gettext("the busiest core was busy {share} %").format(share=f"{core:.0f}"))
    waited = (recording.increase("host.cpu_stalled_s", start_s, end_s) or 0.0) / (end_s - start_s)
    if waited > WAITS:
        parts.append(
            gettext("some task waited for a processor {share} of the time").format(share=shown_percent(waited))
        )
    if throttled := recording.increase("host.throttled_s", start_s, end_s):
        parts.append(gettext("the container's limit stopped it for {seconds} s").format(seconds=f"{throttled:.1f}"))
    return gettext(", ").join(parts) or gettext("the host was not sampled")


def _held_down(recording: Recording, gpu: str, start_s: float, end_s: float) -> str:
    parts = []
    for quantity, text in (
        ("power_violation_s", gettext("power limit")),
        ("thermal_violation_s", gettext("temperature")),
    ):
        held = (recording.increase(f"{gpu}.{quantity}", start_s, end_s) or 0.0) / (end_s - start_s)
        if held > SMALL:
            parts.append(
                gettext("held down by the {what} {share} of the time").format(what=text, share=shown_percent(held))
            )
    name = f"{gpu}.clock_reasons"
    if not parts and name in recording:
        samples = recording.between(start_s, end_s).values[name]
        times = Counter(reason for bits in samples for reason in slowed_by(float(bits)))
        parts = [
            gettext("{reason} in {share} of the samples").format(
                reason=gettext(reason), share=shown_percent(n / samples.size)
            )
            for reason, n in times.items()
        ]
    power, limit = (recording.mean(f"{gpu}.{q}", start_s, end_s) for q in ("power_w", "power_limit_w"))
    if power is not None and limit is not None:
        parts.append(gettext("{power} W of {limit}").format(power=f"{power:.0f}", limit=f"{limit:.0f}"))
    return gettext("; {reasons}").format(reasons=gettext(", ").join(parts)) if parts else ""


def _answered(run: Run) -> list[KeptRequest]:
    requests = run.samples.requests if isinstance(run.samples, LoadSamples) else ()
    return [q for q in requests if not q.error and q.end_s is not None]


def _origin_s(run: Run) -> float | None:
    """Return the start of a run on the monotonic clock; None where it is not known."""
    return run.samples.started_monotonic_s if isinstance(run.samples, LoadSamples | RecordingSamples) else None


def energy_by_unit(run: Run, recording: Recording, start_s: float, end_s: float) -> EnergyUse:
    """Return the joules of all GPUs in a span, by output token, by answered and by good request.

    Idle power is in it. Requests are those that ended in the span; a good one met the SLO of the load's spec.
    """
    energies = [recording.increase(f"{gpu}.energy_j", start_s, end_s) for gpu in gpus_of(recording)]
    sampled = [joules for joules in energies if joules is not None]
    if not sampled or len(sampled) < len(energies):
        return EnergyUse()
    joules, origin = float(sum(sampled)), _origin_s(run) or 0.0
    ended = [q for q in _answered(run) if q.end_s is not None and start_s <= origin + q.end_s <= end_s]
    ttft, tpot = run.spec.get("slo_ttft_s"), run.spec.get("slo_tpot_s")
    good = sum(q.meets(ttft_s=ttft, tpot_s=tpot) for q in ended)
    n_tokens = sum(q.output_tokens for q in ended)
    return EnergyUse(
        joules=joules,
        joules_per_output_token=joules / n_tokens if n_tokens else None,
        joules_per_request=joules / len(ended) if ended else None,
        joules_per_good_request=joules / good if good else None,
    )


def utilization(run: Run, recording: Recording) -> Utilization:
    """Return what the GPUs of a run's samples did."""
    start, end = span_of(run, recording)
    return Utilization(
        id=run.id,
        device=run.environment.device,
        provenance=run.provenance,
        span_s=end - start,
        gpus=[gpu_use(recording, gpu, start, end) for gpu in gpus_of(recording)],
        energy=energy_by_unit(run, recording, start, end),
        problems=recording.problems,
    )


def shown_span(run: Run | None, recording: Recording) -> ShownSpan:
    """Return the span of a run, or of the samples that have come so far."""
    start, end = sampled_span(recording) if run is None else span_of(run, recording)
    return ShownSpan(origin_s=start if run is None else _origin_s(run) or start, start_s=start, end_s=end)


def overlaid_request(run: Run, which: str) -> KeptRequest | None:
    """Return the answered request of a load that is laid over its samples, one of ``REQUESTS``; None where there is none."""
    answered = [(q, q.first_content_s, q.end_s) for q in _answered(run)]
    latencies = [
        ((first if which == "ttft" else end) - q.due_s, q)
        for q, first, end in answered
        if first is not None and end is not None
    ]
    if not latencies or which == "none":
        return None
    latencies.sort(key=lambda pair: pair[0])
    return latencies[len(latencies) // 2 if which == "middle" else -1][1]


def verdict(use: GpuUse) -> Verdict:
    """Return how much of its time a GPU used, and the largest loss."""
    loss = use.largest
    dram = ""
    if use.dram_fraction is not None and loss.cause != NO_PRODUCTS:
        dram = gettext(" Memory bandwidth in use {share}.").format(share=shown_percent(use.dram_fraction))
    largest = gettext("the largest loss is {loss} ({share})").format(
        loss=loss.cause, share=shown_percent(loss.fraction)
    )
    if loss.fraction < SMALL:
        largest = gettext("no loss is above {share}").format(share=shown_percent(SMALL))
    return Verdict(
        headline=gettext("For {share} of the time at the highest clock, {achieved}; {largest}.").format(
            share=shown_percent(use.achieved_fraction), achieved=use.achieved, largest=largest
        ),
        evidence=f"{loss.evidence[0].upper()}{loss.evidence[1:]}.{f' {loss.remedy}' if loss.fraction >= SMALL else ''}{dram}",
        objection=gettext("Not sampled: {signals}.").format(signals=gettext("; ").join(use.not_seen))
        if use.not_seen
        else None,
        scope=gettext("Losses are subtracted in the order shown; where two overlap, the first one counts."),
    )


def loss_rows(use: GpuUse) -> list[tuple[str, ...]]:
    """Return the cells of ``LOSS_HEAD`` for each loss, and for what remains."""
    rows = [(x.cause, shown_percent(x.fraction, 1), x.evidence, x.remedy) for x in use.losses]
    return [*rows, (use.achieved, shown_percent(use.achieved_fraction, 1), gettext("what remains"), "")]


def energy_rows(energy: EnergyUse) -> list[tuple[str, str]]:
    """Return name and joules of each energy."""
    return [(text, three_digits(getattr(energy, name))) for name, text in ENERGIES.items()]


def signal_rows(recording: Recording, start_s: float, end_s: float) -> list[tuple[str, ...]]:
    """Return the cells of ``SIGNAL_HEAD`` for each signal, and the reason for each that is missing."""
    rows: list[tuple[str, ...]] = []
    for name, signal in ((n, s) for n, s in recording.signals.items() if n in recording):
        is_counter = signal.kind == "counter"
        value = (recording.increase if is_counter else recording.mean)(name, start_s, end_s)
        shown = f"{'+' if is_counter and value is not None else ''}{three_digits(value)}"
        rows.append((name, shown_label(signal), f"{shown} {signal.unit}", str(recording.values[name].size)))
    return [*rows, *((name, problem_text(why)) for name, why in recording.problems.items())]


def problem_text(why: str) -> str:
    """Return why a source or a signal is missing, which is stored in English, in the reader's language."""
    return in_readers_words(why, PROBLEMS)


def run_name(run: Run) -> str:
    """Return what was recorded, in words."""
    if run.kind != "load":
        return gettext("recording of {duration}").format(duration=shown_duration(run.asked(RecordingSpec).duration_s))
    result = run.row(LoadResult)
    rate = result.rates.offered_per_s if result and result.rates else None
    if not rate:
        return gettext("load on {model}").format(model=run.model)
    return gettext("load on {model}, {rate} requests/s").format(model=run.model, rate=f"{rate:.1f}")
