"""What days of samples say: a sentence on the last of them, lanes to draw, and a row for each signal."""

from collections.abc import Iterable, Mapping

import numpy as np

from workbench.core.language import gettext, gettext_noop
from workbench.core.units import shown_duration, three_digits
from workbench.core.verdict import Verdict
from workbench.telemetry.history import History, Span
from workbench.telemetry.labels import shown_label
from workbench.telemetry.samples import Signal

PARTS = 600  # of a signal that are drawn at most
SIGNAL_HEAD = (gettext("Signal"), gettext("meaning"), gettext("minimum"), gettext("mean"), gettext("maximum"))
LANES: Mapping[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    gettext_noop("GPUs"): (
        ("%", ("utilisation_percent",)),
        ("% tensor", ("tensor_active_percent",)),
        ("W", ("power_w",)),
        ("MHz", ("sm_clock_mhz",)),
    ),
    gettext_noop("host"): (
        ("%", ("host.cpu_percent", "host.busiest_core_percent")),
        ("B", ("host.memory_used_bytes",)),
        ("s/s", ("host.cpu_stalled_s.per_s", "host.memory_stalled_s.per_s", "host.io_stalled_s.per_s")),
        ("B/s", ("host.received_bytes.per_s", "host.sent_bytes.per_s")),
    ),
    gettext_noop("server"): (
        (gettext("requests"), ("engine.num_requests_running", "engine.num_requests_waiting")),
        (gettext("share"), ("engine.kv_cache_usage_perc",)),
        (gettext("tokens/s"), ("engine.generation_tokens_total.per_s", "engine.prompt_tokens_total.per_s")),
    ),
}
"""Unit and signals of each lane by the group that is shown; signals of GPUs without the GPU's name."""
SAYINGS = {
    "host.busiest_core_percent": gettext("the busiest core {mean:.0f} % on average, {high:.0f} % at most"),
    "gpu0.utilisation_percent": gettext("GPU 0 ran a kernel {mean:.0f} % of the time"),
    "engine.num_requests_waiting": gettext("up to {high:.0f} requests waiting"),
}


def spans_of(history: History, start_s: float, end_s: float) -> dict[str, Span]:
    """Return the signals of a history that have samples between two times (since 1970), thinned to what a plot can show."""
    spans = {s.name: history.read(s.name, start_s, end_s, most_parts=PARTS) for s in history.signals}
    return {name: span for name, span in spans.items() if span.at_s.size}


def lanes(signals: Iterable[Signal], spans: Mapping[str, Span], shown: str) -> list[tuple[str, dict[str, Span]]]:
    """Return unit and spans by label of the lanes that there are samples for; ``shown`` is a key of ``LANES``."""
    filled = []
    for unit, names in LANES[shown]:
        lane = {}
        for signal in signals:
            device, _, quantity = signal.name.partition(".")
            is_of_gpu = device.startswith("gpu") and quantity in names
            if signal.name in spans and (is_of_gpu or signal.name in names):
                lane[device if is_of_gpu else shown_label(signal)] = spans[signal.name]
        if lane:
            filled.append((unit, lane))
    return filled


def verdict(spans: Mapping[str, Span], *, shown_s: float) -> Verdict:
    """Return what happened in the last seconds that are shown."""
    present = ((spans[name], text) for name, text in SAYINGS.items() if name in spans)
    sayings = [text.format(mean=span.mean.mean(), high=span.high.max()) for span, text in present]
    times = max((span.at_s for span in spans.values()), key=len, default=np.empty(0))
    grain_s = float(np.diff(times).min()) if times.size > 1 else 1.0
    return Verdict(
        headline=gettext("In the last {period}: {sayings}.").format(
            period=shown_duration(shown_s),
            sayings=gettext("; ").join(sayings) or gettext("samples without these signals"),
        ),
        evidence=gettext("{n} intervals of {grain} are drawn.").format(n=times.size, grain=shown_duration(grain_s)),
        scope=gettext("Seconds without a recording are neither drawn nor counted."),
        answer="yes" if sayings else "open",
    )


def signal_rows(signals: Iterable[Signal], spans: Mapping[str, Span]) -> list[tuple[str, ...]]:
    """Return the cells of ``SIGNAL_HEAD`` for each signal with samples."""
    rows: list[tuple[str, ...]] = []
    for signal in (s for s in signals if s.name in spans):
        span = spans[signal.name]
        shown = (three_digits(float(v)) for v in (span.low.min(), span.mean.mean(), span.high.max()))
        rows.append((signal.name, shown_label(signal), *(f"{number} {signal.unit}" for number in shown)))
    return rows
