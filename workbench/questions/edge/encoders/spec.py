"""What can be asked about embedding models and image classifiers: the model, the device and the batch."""

from dataclasses import dataclass
from typing import ClassVar

from workbench.core.knobs import knob, needed
from workbench.core.specs import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderEstimateSpec(Spec):
    """A batch of an encoder on a device of the catalogue."""

    command: ClassVar[str] = "encode"

    model: str = needed(
        "Model",
        "Name of an encoder in data/models.csv, such as BAAI/bge-base-en-v1.5, or the folder, config.json or hub id of one.",
        is_argument=True,
    )
    device: str = knob("h200-sxm", "Device", "Name of a device in data/hardware.csv.", is_argument=True)
    batch: int = knob(
        64, "Batch size", "Number of inputs that are processed together in one step.", low=1, high=1_000_000
    )
    tokens: int = knob(
        256, "Tokens per text", "Number of tokens of each text; images have a fixed number.", low=1, high=1_000_000
    )
    bits: int = knob(16, "Bits per value", "Number of bits of weights and activations, 16 or 8.", low=8, high=16)
    usd_per_hour: float | None = knob(
        None,
        "Device price",
        "Price of the device, in USD per hour, from which the cost of the inputs is estimated.",
        unit="USD/h",
    )
