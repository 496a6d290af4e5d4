"""Devices that work as one on a model, how it is split over them, and the links between them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from workbench.catalog.model_spec import ModelSpec
from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext
from workbench.estimate.calibration import Calibration, Floats
from workbench.estimate.load_constants import LoadConstants
from workbench.estimate.roofline import Ceilings

NVLINK_LATENCY_S = 10.5e-6  # an NCCL all-reduce of few bytes on two H200 (data/measured/links_2-h200.json)
NVLINK_FRACTION = 0.65  # of one direction that large all-reduces reach there
PCIE_LATENCY_S = 20e-6  # uncalibrated: twice NVLink's
NETWORK = (25e-6, 50e9)
"""Latency and bytes a second between nodes: 400 Gbit/s InfiniBand per GPU, uncalibrated."""
SKEW = 0.3  # exponent of the experts' popularity (p ~ rank ** -skew); 0 is even. Uncalibrated


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What joins the devices of a group."""

    latency_s: float = NVLINK_LATENCY_S
    bytes_per_s: float = 450e9  # one direction of NVLink 4 (data/hardware.csv)
    fraction: float = NVLINK_FRACTION
    measured: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    """Bytes and seconds of all-reduces by the number of devices, see ``Calibration.all_reduces``; the nearest number counts."""

    def all_reduce_s(self, n_bytes: Floats, *, n_devices: int) -> Floats:
        """Return the time of an all-reduce: as measured, else that of a ring (latency, and 2 (n - 1) / n of the bytes over the link)."""
        if n_devices == 1:
            return np.zeros_like(n_bytes)
        if not self.measured:
            sent = 2 * (n_devices - 1) / n_devices * n_bytes
            total: Floats = self.latency_s + sent / (self.fraction * self.bytes_per_s)
            return total
        sizes, seconds = self.measured[min(self.measured, key=lambda n: abs(np.log(int(n) / n_devices)))]
        beyond = np.maximum(n_bytes / sizes[-1], 1.0)
        inside = np.interp(np.log(np.maximum(n_bytes, 1.0)), np.log(sizes), np.log(seconds))
        return beyond * np.exp(inside)

    def all_to_all_s(self, n_bytes: Floats, *, n_devices: int) -> Floats:
        """Return the time in which every device sends its bytes in equal parts to all others: half of what an all-reduce sends."""
        return self.all_reduce_s(n_bytes / 2, n_devices=n_devices)

    def hand_over_s(self, n_bytes: Floats) -> Floats:
        """Return the time in which one device sends to the next: an all-reduce of two, in one direction."""
        return self.all_reduce_s(n_bytes, n_devices=2) - self.all_reduce_s(np.zeros_like(n_bytes), n_devices=2) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How a model is cut, in vLLM's terms."""

    tensor: int = 1
    """Every layer over so many devices."""
    pipeline: int = 1
    """Layers in so many stages, each on a tensor-parallel group."""
    data: int = 1
    """Groups that each attend to their own sequences and share the experts of all; 1 for a dense model."""
    is_expert_parallel: bool = False
    """Whether whole experts go to devices, instead of a slice of each."""

    def __post_init__(self) -> None:
        require_positive(self, "tensor", "pipeline", "data")
        if self.data > 1 and not self.is_expert_parallel:
            raise InvalidSpec(
                gettext("Groups that share nothing are replicas."),
                remedy=gettext("Ask for several replicas, or split the experts."),
            )

    @property
    def n_devices(self) -> int:
        """Number of devices of one replica."""
        return self.tensor * self.pipeline * self.data

    def is_among(self, measured: Collection[int]) -> bool:
        """Return whether whole steps were measured with such a split: on one device, or with tensor parallelism over ``measured`` ones."""
        return self.n_devices == 1 or (self.tensor == self.n_devices in measured and not self.is_expert_parallel)

    @property
    def label(self) -> str:
        """What readers see, such as TP 4 · PP 2."""
        parts = [("TP", self.tensor), ("PP", self.pipeline), ("DP", self.data)]
        shown = [f"{name} {n}" for name, n in parts if n > 1] + (["EP"] if self.is_expert_parallel else [])
        return " · ".join(shown) or gettext("1 device")

    def reason_against(self, model: ModelSpec) -> str | None:
        """Return why a model cannot be cut so; None where it can."""
        if model.n_heads % self.tensor:
            return gettext("{heads} heads cannot be divided over {devices} devices").format(
                heads=model.n_heads, devices=self.tensor
            )
        kv = model.n_kv_heads
        if kv % self.tensor and self.tensor % kv and not model.has_latent_cache:
            return gettext("{heads} KV heads cannot be divided over {devices} devices, nor copied evenly").format(
                heads=kv, devices=self.tensor
            )
        if self.pipeline > model.n_layers:
            return gettext("{layers} layers are fewer than {stages} stages").format(
                layers=model.n_layers, stages=self.pipeline
            )
        if self.is_expert_parallel and model.experts is None:
            return gettext("a dense model has no experts to spread")
        if self.is_expert_parallel and model.experts and model.experts.n_experts % (self.tensor * self.data):
            return gettext("{experts} experts cannot be divided over {devices} devices").format(
                experts=model.experts.n_experts, devices=self.tensor * self.data
            )
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One replica's devices: constants, published peaks, split and links."""

    known: Calibration
    ceilings: Ceilings
    split: Split = Split()
    link: Link = Link()
    stage_link: Link | None = None
    """Between pipeline stages, where that is another; stages on other nodes."""
    skew: float = SKEW
    """Skew of the experts' popularity."""
    kernels: Mapping[str, str] = field(default_factory=dict)
    """Format that each precision is computed in; one that is missing is computed as it is."""
    also: tuple[Calibration, ...] = ()
    """Constants of further devices that are as near; the shortest time of all counts."""
    lent: frozenset[str] = frozenset()
    """Formats whose curve was not measured on the device of the constants."""
    slower: tuple["Machine", ...] = ()
    """Measured devices with less bandwidth and lower peaks: none of them is predicted to be faster than this one."""
    load: LoadConstants | None = None
    """What loads on the reader's server said; None where none were measured."""
    faster: tuple["Machine", ...] = ()
    """Measured devices with more of both: none of them is predicted to be slower."""

    @property
    def measured_tensor(self) -> tuple[int, ...]:
        """Numbers of devices over which tensor parallelism was measured."""
        return tuple(int(n) for n in self.link.measured)

    def kernel(self, form: str) -> str:
        """Return the format that a precision is computed in."""
        return self.kernels.get(form, form)

    def bounded(self, alone: Callable[["Machine"], Floats]) -> Floats:
        """Return times of this machine, moved between those of the measured devices that are slower and faster in all parts.

        ``alone`` are the times of a machine by its one set of constants. A bound gets this one's split and links.
        """
        times = alone(self)
        for known in self.also:
            times = np.minimum(times, alone(replace(self, known=known)))
        for other, nearer in [(m, np.maximum) for m in self.faster] + [(m, np.minimum) for m in self.slower]:
            same = replace(other, split=self.split, link=self.link, stage_link=self.stage_link, skew=self.skew)
            times = nearer(times, same.bounded(alone))
        return times
