"""What can be asked of KV offload: a trace, a model on a device, and the link to the host's memory."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import knob
from workbench.core.language import gettext
from workbench.core.specs import Spec
from workbench.estimate.knobs import CatalogueDevice, KvBits, Precision, model_knob
from workbench.estimate.precision import STORED, require_precision

SAMPLE = "data/traffic/mooncake_conversation_sample.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class OffloadSpec(Spec):
    """A trace whose prompts share blocks, and where these blocks may be kept."""

    command: ClassVar[str] = "offload"
    computed_by: ClassVar[str] = "offload_answer"

    model: Annotated[str, model_knob("meta-llama/Meta-Llama-3.1-8B")]
    device: CatalogueDevice
    trace: str = knob(SAMPLE, "Trace", "Trace file with hash ids, as Mooncake's.", suggestions=(SAMPLE,), is_path=True)
    host_memory_gib: float = knob(
        200.0, "Host memory", "Memory of the host that one device may use for its cache.", unit="GiB", low=1, high=1e6
    )
    host_bytes_per_s: float | None = knob(
        None,
        "Host bandwidth",
        "Bandwidth between host memory and device; measured on this machine's GPU if left out.",
        unit="GB/s",
        factor=1e-9,
        low=0.001,
        high=1e5,
        option="host-bandwidth",
    )
    n_devices: int = knob(
        8,
        "Devices",
        "Devices that serve the load, for which saved devices are counted.",
        low=1,
        high=100_000,
        option="devices",
    )
    cache_gib: float | None = knob(
        None,
        "Cache on the device",
        "Memory of the device for its cache; what the weights leave if left out.",
        unit="GiB",
        is_advanced=True,
    )
    precision: Precision = STORED
    kv_bits: KvBits = 16

    def __post_init__(self) -> None:
        require_positive(self, "host_memory_gib", "n_devices")
        require_precision(self.precision)
        for name in ("host_bytes_per_s", "cache_gib"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InvalidSpec(
                    gettext("{place} is {value}.").format(place=name, value=value),
                    remedy=gettext("Give a number above zero, or none."),
                )
        if self.kv_bits not in {8, 16}:
            raise InvalidSpec(
                gettext("The cache has 8 or 16 bits, not {bits}.").format(bits=self.kv_bits),
                remedy=gettext("Give 8 or 16."),
            )
