"""Rows of tables: the newest runs, two runs beside each other, and what is estimated of a device."""

from collections.abc import Sequence
from pathlib import Path

from workbench.catalog.model_spec import ModelSpec
from workbench.catalog.tables import DeviceSpec
from workbench.compress.methods import METHODS
from workbench.compress.rows import VariantResult
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.units import shown_bytes, shown_duration, shown_usd, three_digits
from workbench.estimate.cost import usd_per_million_output_tokens
from workbench.estimate.weights import decode_floor_s, weight_bytes

HISTORY_HEAD = (gettext("Run"), gettext("methods measured"), "torch", gettext("workbench revision"))
COMPARISON_HEAD = (
    gettext("Method"),
    gettext("decode step, shown run"),
    gettext("decode step, compared run"),
    gettext("speed-up"),
    gettext("95 % intervals"),
    gettext("KL, shown run"),
    gettext("KL, compared run"),
)
ESTIMATE_HEAD = (
    gettext("Method ◌"),
    gettext("weights ◌"),
    gettext("on this device"),
    gettext("shortest decode step at batch 1 ◌"),
    gettext("lowest USD / M tokens ◌"),
)
MOST_IN_HISTORY = 12


def history_rows(runs: Sequence[Run], shown_id: str) -> list[tuple[str, ...]]:
    """Return the cells of ``HISTORY_HEAD`` for the newest runs; the shown one is marked."""
    return [
        (
            f"{'▸ ' if run.id == shown_id else ''}{Path(run.model or '').name} · {run.environment.device} · "
            f"{run.finished_at[:16].replace('T', ' ')} · {run.id}",
            str(sum(r.status == "measured" for r in run.rows(VariantResult))),
            run.environment.packages.get("torch", "–"),
            run.environment.git_revision or "–",
        )
        for run in runs[:MOST_IN_HISTORY]
    ]


def comparison_rows(run: Run, other: Run, batch: int) -> list[tuple[str, ...]]:
    """Return the cells of ``COMPARISON_HEAD`` for each method that both runs have measured at a batch size."""
    before, rows = {r.method: r for r in other.rows(VariantResult)}, []
    for new in run.rows(VariantResult):
        old = before.get(new.method)
        time, old_time = new.decode_at(batch), old.decode_at(batch) if old else None
        if not time or not old_time or not old:
            continue
        overlap = time.p50_low_s <= old_time.p50_high_s and old_time.p50_low_s <= time.p50_high_s
        kls = (three_digits(r.accuracy.mean_kl_nat_per_token.value) if r.accuracy else "–" for r in (new, old))
        rows.append(
            (
                METHODS[new.method].label,
                shown_duration(time.p50_s),
                shown_duration(old_time.p50_s),
                f"{old_time.p50_s / time.p50_s:.2f}×",
                gettext("overlap") if overlap else gettext("do not overlap"),
                *kls,
            )
        )
    return rows


def estimated_rows(
    model: ModelSpec, device: DeviceSpec, methods: Sequence[str], *, usd_per_hour: float, utilization_fraction: float
) -> list[tuple[str, ...]]:
    """Return the cells of ``ESTIMATE_HEAD`` for each method on a device of the catalogue."""
    rows: list[tuple[str, ...]] = []
    for name in methods:
        stored = weight_bytes(model, weight_bits=METHODS[name].weight_bits, other_bits=32 if name == "fp32" else 16)
        floor_s = decode_floor_s(stored, bandwidth_bytes_per_s=device.bandwidth_bytes_per_s)
        usd = usd_per_million_output_tokens(
            usd_per_hour, decode_s=floor_s, batch=1, utilization_fraction=utilization_fraction
        )
        fits = gettext("fits") if device.memory_bytes and stored < device.memory_bytes else gettext("does not fit")
        rows.append((METHODS[name].label, shown_bytes(stored), fits, shown_duration(floor_s), shown_usd(usd)))
    return rows
