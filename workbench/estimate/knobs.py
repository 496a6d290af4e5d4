"""Knobs of what estimates are asked about: a model, a device, a load and its SLO."""

from typing import Annotated

from workbench.catalog.paths import OFFERED_MODELS, REFERENCE_MODEL_PLACE
from workbench.core.knobs import Knob, knob
from workbench.estimate.precision import CHOICES


def model_knob(*suggestions: str) -> Knob:
    """Return the knob of a model that need not be here, with names of the catalogue to begin with."""
    text = "Folder of a transformers model, or a name in the model catalogue."
    return Knob("Model", text, suggestions=suggestions, is_argument=True)


def offered_model(label: str, help: str) -> str:  # noqa: A002
    """Return the field of a model's folder that a command takes by position; the reference model where none is given."""
    return knob(REFERENCE_MODEL_PLACE, label, help, suggestions=OFFERED_MODELS, is_argument=True)


CatalogueDevice = Annotated[
    str,
    Knob(
        "Device",
        "Id of an accelerator in the hardware catalogue, such as h200-sxm.",
        suggestions=("h200-sxm",),
        is_argument=True,
    ),
]
RequestRate = Annotated[
    float,
    Knob(
        "Peak request rate",
        "Requests per second at the busiest time, for which replicas are counted.",
        unit="requests/s",
        low=0.001,
        high=1e6,
        option="rate",
    ),
]
PromptTokens = Annotated[
    int, Knob("Prompt tokens", "Tokens of each prompt; the median where they are drawn.", low=1, high=1_000_000)
]
OutputTokens = Annotated[
    int, Knob("Output tokens", "Tokens of each answer; the median where they are drawn.", low=1, high=1_000_000)
]
CachedFraction = Annotated[
    float,
    Knob(
        "Cached share of a prompt",
        "Share of each prompt, from its beginning, that a prefix cache holds, from 0 to below 1.",
        low=0,
        high=0.99,
    ),
]
SloTtft = Annotated[
    float,
    Knob(
        "SLO: TTFT",
        "Longest time to first token (TTFT) that meets the SLO.",
        unit="ms",
        factor=1e3,
        low=0.1,
        high=1e7,
        option="ttft-ms",
    ),
]
SloTpot = Annotated[
    float,
    Knob(
        "SLO: TPOT",
        "Longest mean time per output token after the first one that meets the SLO.",
        unit="ms",
        factor=1e3,
        low=0.01,
        high=1e6,
        option="tpot-ms",
    ),
]
SloAttainment = Annotated[
    float,
    Knob(
        "SLO attainment",
        "Share of the requests that must meet the SLO, from 0.5 to 0.999.",
        low=0.5,
        high=0.999,
        option="attainment",
        is_advanced=True,
    ),
]
Precision = Annotated[
    str,
    Knob(
        "Precision",
        "Number format of the linear layers: as the checkpoint is stored, or one that it is served in or made into.",
        choices=CHOICES,
    ),
]
OwnPrices = Annotated[
    str | None,
    Knob(
        "Own prices",
        "CSV file with the columns device_id and usd_per_gpu_hour; listed prices are used without one.",
        is_path=True,
        is_advanced=True,
    ),
]
HourlyPrice = Annotated[float, Knob("Price", "Price of the machine for an hour.", unit="USD/h", low=1e-4, high=1e5)]
Utilization = Annotated[
    float,
    Knob(
        "Utilization",
        "Share of the paid time in which the machine decodes.",
        unit="%",
        factor=100,
        low=1,
        high=100,
        step=1,
    ),
]
BatchSize = Annotated[int, Knob("Decode batch size", "Sequences that are decoded together.", low=1, high=1024, step=1)]
DraftTokens = Annotated[
    int, Knob("Draft tokens", "Tokens that speculative decoding guesses ahead in each step; 0 without it.", low=0)
]
AcceptanceRate = Annotated[
    float,
    Knob(
        "Acceptance rate",
        "Probability that a draft token is accepted, given that all before it were, from 0 to 1.",
        low=0,
        high=1,
        is_advanced=True,
    ),
]
KvBits = Annotated[int, Knob("KV cache bits", "Bits of a number in the KV cache: 8 or 16.")]
