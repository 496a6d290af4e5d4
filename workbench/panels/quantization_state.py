"""What the quantization panel shows: the reader's choices, and the run they are answered from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from workbench.catalog.models import is_only_a_shape
from workbench.catalog.paths import MEASURED, REFERENCE_MODEL_PLACE
from workbench.catalog.tables import claims, devices
from workbench.core.devices import Device
from workbench.core.models import ModelSpec
from workbench.core.quantization import METHODS, QuantizationSpec
from workbench.core.runs import Run
from workbench.estimate.cost import decode_s_at, usd_per_million_output_tokens
from workbench.estimate.weights import decode_floor_s, weight_bytes
from workbench.experiments.quantization_verdict import baseline_of, results_of, speedup
from workbench.export.page import WhatIfRow
from workbench.panels.choices import DEFAULT_CPU_USD_PER_HOUR
from workbench.panels.shared_view import runs_of_kind
from workbench.store.runs import RunStore


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationState:
    """Everything that the view is drawn from."""

    model: str = REFERENCE_MODEL_PLACE
    hardware: str = "this:cpu"
    """"this:cpu", "this:cuda", "stored:<device name>" or "catalog:<id>"."""
    methods: tuple[str, ...] = tuple(METHODS)
    text: str = ""
    limit: Literal["strict", "balanced", "loose"] = "balanced"
    usd_per_hour: float = DEFAULT_CPU_USD_PER_HOUR
    utilisation_fraction: float = 0.5
    batch: int = 1
    run_id: str | None = None
    compared_id: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The state as plain JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def spec(self, *, n_windows: int) -> QuantizationSpec:
        """The measurement that these choices ask for."""
        device: Literal["cpu", "cuda"] = "cuda" if self.hardware == "this:cuda" else "cpu"
        return QuantizationSpec(
            model=self.model,
            methods=self.methods,
            text=self.text or None,
            n_windows=n_windows,
            device=device,
            random_weights=is_only_a_shape(self.model),
        )


def known_runs(store: RunStore) -> list[Run]:
    """Own runs and those that ship with the workbench, newest first."""
    return runs_of_kind("quantization", store=store, shipped=MEASURED)


def runs_for(state: QuantizationState, runs: Sequence[Run], here: Device) -> list[Run]:
    """The runs that answer for the chosen model and hardware."""
    kind, _, name = state.hardware.partition(":")
    wanted = name if kind == "stored" else here.name
    return [r for r in runs if r.environment.device == wanted and Path(r.spec["model"]).name == Path(state.model).name]


def usd_by_method(run: Run, state: QuantizationState) -> dict[str, float]:
    """Price of a million output tokens for each measured method."""
    prices = {}
    for r in results_of(run):
        if r.decode:
            step = decode_s_at(state.batch, {d.batch: d.p50_s for d in r.decode})
            prices[r.method] = usd_per_million_output_tokens(
                state.usd_per_hour, decode_s=step, batch=state.batch, utilisation_fraction=state.utilisation_fraction
            )
    return prices


def what_if_rows(run: Run) -> list[WhatIfRow]:
    """Measured step times of each method, for the controls of a report."""
    return [
        WhatIfRow(label=METHODS[r.method].label, decode_s={d.batch: d.p50_s for d in r.decode})
        for r in results_of(run)
        if r.decode
    ]


def claim_points(run: Run, batch: int) -> tuple[list[tuple[str, float, float, float]], str]:
    """Speed-ups by claimed technique with intervals, and the name of the baseline."""
    results = results_of(run)
    base = baseline_of(results)
    if base is None:
        return [], "–"
    points = []
    base_time = base.decode_at(batch)
    for r in results:
        technique, time = METHODS[r.method].claim, r.decode_at(batch)
        factor = speedup(r, base, batch=batch)
        if technique and factor and time and base_time and METHODS[r.method].runtime == METHODS[base.method].runtime:
            points.append(
                (technique, factor, base_time.p50_low_s / time.p50_high_s, base_time.p50_high_s / time.p50_low_s)
            )
    return points, METHODS[base.method].label


def speed_claims() -> list[Any]:
    """The FAQ's promised speed-ups of question 2."""
    return [c for c in claims() if c.question == 2 and c.metric == "speedup"]


def estimated_rows(model: ModelSpec, device_id: str, methods: Sequence[str]) -> list[tuple[str, float, float]]:
    """Label, weight bytes and least step time of each method on a device of the catalogue (estimated)."""
    device = devices()[device_id]
    rows = []
    for name in methods:
        stored = weight_bytes(model, weight_bits=METHODS[name].weight_bits, other_bits=32 if name == "fp32" else 16)
        rows.append(
            (METHODS[name].label, stored, decode_floor_s(stored, bandwidth_bytes_per_s=device.bandwidth_bytes_per_s))
        )
    return rows


def launch_command(state: QuantizationState, method: str | None) -> str:
    """The command that serves the chosen method."""
    chosen = METHODS[method] if method else METHODS["bf16"]
    if chosen.runtime == "onnxruntime":
        again = f"workbench quantize {state.model} --methods {chosen.name} --device cpu --json"
        return f"{again}\n# the FP32 graph can be served: workbench serve {state.model} --engine onnx"
    context = "--max-model-len 8192"
    return f"vllm serve {state.model} {chosen.vllm_flag or '--dtype bfloat16'} {context}"
