"""What an estimate says: latency and throughput with intervals, and memory by part."""

from dataclasses import dataclass, replace

from workbench.catalog.models import language_model_from
from workbench.catalog.paths import workbench_home
from workbench.catalog.tables import devices
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.units import shown_bytes, shown_duration, three_digits
from workbench.estimate.device_calibration import CALIBRATIONS, machine_of, offers
from workbench.estimate.machine import Split
from workbench.estimate.precision import chosen_precision
from workbench.estimate.prediction import LEVEL, Prediction, predicted
from workbench.estimate.search import require_kernel
from workbench.questions.parallelism.estimate.spec import EstimateSpec
from workbench.simulate.under_load import predicted_under_load

ESTIMATE_HEAD = ("◌", "estimated", f"{100 * LEVEL:.0f} % interval")


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One way to serve a model and what is predicted of it, as ``estimate --json`` prints it."""

    model: str
    device: str
    replicas: int
    devices: int
    """Number of devices of all replicas."""
    split: Split
    """Devices of one replica by the way that they share the work."""
    precision: str
    """Number format of the linear layers."""
    constants_of: str
    """Device whose measurements the predicted times stand on."""
    prediction: Prediction
    needed_bytes: float
    does_fit: bool
    """Whether the memory of one replica suffices."""
    memory_source: str | None
    """Where the driver's report of the device's memory was seen; None where it is the data sheet's."""
    interval_level: float = LEVEL
    """Nominal coverage of the intervals."""
    provenance: Provenance = Provenance.ESTIMATED


def estimate_service(spec: EstimateSpec) -> Estimate:
    """Return the prediction with what was asked; raises ``InvalidSpec`` where the model cannot be cut so."""
    model, prediction = language_model_from(spec.model), predict_service(spec)
    return Estimate(
        model=model.name,
        precision=chosen_precision(model, spec.precision),
        constants_of=machine_of(spec.device, own=workbench_home() / CALIBRATIONS)[0].known.device_id,
        device=spec.device,
        replicas=spec.n_replicas,
        devices=spec.n_replicas * spec.split.n_devices,
        split=spec.split,
        prediction=prediction,
        needed_bytes=prediction.memory.needed_bytes,
        does_fit=prediction.memory.does_fit,
        memory_source=devices()[spec.device].reported_memory_source,
    )


def predict_service(spec: EstimateSpec) -> Prediction:
    """Return the prediction; raises ``InvalidSpec`` where the model cannot be cut so, or the precision has no kernel."""
    model, split = language_model_from(spec.model), spec.split
    reason = split.reason_against(model)
    if reason:
        raise InvalidSpec(
            gettext("{place}: {text}.").format(place=model.name, text=reason), remedy=gettext("Give another split.")
        )
    (offer,) = offers([spec.device], own=workbench_home() / CALIBRATIONS)
    require_kernel(offer, chosen_precision(model, spec.precision))
    predict = predicted if spec.arrival == "static" else predicted_under_load
    return predict(
        model,
        replace(offer.machine, split=split),
        spec.question,
        memory_bytes=offer.memory_bytes,
        is_own=offer.is_calibrated,
        n_replicas=spec.n_replicas,
    )


def estimate_basis(answer: Estimate) -> str:
    """Return what keeps an estimate from being calibrated, in words."""
    if answer.constants_of != answer.device:
        return f"constants of another device, the nearest kind that was measured ({answer.constants_of})"
    return "constants of this device that were not checked for experts, several devices or this precision"


def estimate_rows(prediction: Prediction) -> list[tuple[str, str, str]]:
    """Return the cells of ``ESTIMATE_HEAD``."""
    times = (("TTFT", prediction.ttft_s), ("prefill", prediction.prefill_s), ("TPOT", prediction.tpot_s))
    rows = [(n, shown_duration(v.value), f"{shown_duration(v.low)} to {shown_duration(v.high)}") for n, v in times]
    rate, memory = prediction.output_tokens_per_s, prediction.memory
    ends = f"{three_digits(rate.low)} to {three_digits(rate.high)}"
    return [
        *rows,
        ("output tokens/s", three_digits(rate.value), ends),
        ("weights", shown_bytes(memory.weight_bytes), ""),
        ("KV cache", shown_bytes(memory.cache_bytes), ""),
        *([("states", shown_bytes(memory.state_bytes), "")] if memory.state_bytes else []),
        ("workspace", shown_bytes(memory.workspace_bytes), ""),
        ("reserve", shown_bytes(memory.reserve_bytes), ""),
        ("usable memory", shown_bytes(memory.usable_bytes), "fits" if memory.does_fit else "does not fit"),
        ("KV cache room in tokens", f"{memory.room_tokens:,}", ""),
    ]
