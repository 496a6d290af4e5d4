"""The state of the quantization panel: what it shows, and for which hardware."""

from dataclasses import dataclass
from typing import Literal

from workbench.core.knobs import knob, needed
from workbench.interface.choices import DEFAULT_CPU_USD_PER_HOUR
from workbench.interface.view import PanelState
from workbench.questions.quantization.findings import KL_LIMITS


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationState(PanelState):
    """Hardware, accuracy limit, price and batch size of the shown answer."""

    hardware: str = needed(
        "Hardware",
        "Machine whose runs are shown, or a catalogue device that is estimated; only this machine can be measured.",
    )
    """"this:cpu", "this:cuda", "stored:<device name>" or "catalog:<id>"."""
    limit: Literal["strict", "balanced", "loose"] = knob(
        "balanced",
        "Accuracy limit",
        "Largest mean KL divergence from FP32, in nat per token, at which a method is still recommended.",
        choices={k: f"{k}: mean KL up to {v:g} nat/token" for k, v in KL_LIMITS.items()},
    )
    usd_per_hour: float = knob(
        DEFAULT_CPU_USD_PER_HOUR,
        "Price",
        "Price of the hardware per hour, from which the price of a million output tokens is computed.",
        unit="USD per hour",
        low=1e-4,
        high=1e4,
    )
    utilization_fraction: float = knob(
        0.5,
        "Utilization of the paid time",
        "Share of the paid time in which the hardware decodes; a lower share raises the price of a token.",
        unit="%",
        factor=100,
        low=5,
        high=100,
        step=5,
    )
    batch: int = knob(1, "Decode batch size", "Number of sequences that are decoded together in the shown times.")
