"""What can be asked of the memory of adapters: a model on a device, and how many of which rank."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from workbench.core.checks import require_each, require_known, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import advanced, knob
from workbench.core.language import gettext
from workbench.core.specs import Spec
from workbench.estimate.knobs import CatalogueDevice, KvBits, Precision, model_knob
from workbench.estimate.precision import STORED, require_precision
from workbench.questions.tuning.adapters.spec import RANKS


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterMemorySpec(Spec):
    """Adapters of a model on a device of the catalogue: their memory by rank, and the price of a tenant."""

    command: ClassVar[str] = "adapter-memory"
    computed_by: ClassVar[str] = "adapter_memory"

    model: Annotated[str, model_knob("meta-llama/Meta-Llama-3.1-8B")]
    device: CatalogueDevice
    tenants: int = knob(8, "Tenants", "Tenants with an adapter of their own on the device.", low=1, high=100_000)
    slots: int = knob(8, "Slots", "Adapters that a step may use: vLLM's --max-loras.", low=1, high=1024)
    ranks: tuple[int, ...] = knob((8, 16, 64, 256), "Ranks", "Ranks of the adapters.", low=1, high=512)
    usd_per_hour: float | None = advanced(
        None, "Price", "Price of one device for an hour; the listed one if left out.", unit="USD/h", low=1e-4, high=1e5
    )
    precision: Precision = STORED
    kv_bits: KvBits = 16

    def __post_init__(self) -> None:
        require_each(self, "ranks")
        require_known(gettext("ranks"), [str(r) for r in self.ranks], [str(r) for r in RANKS])
        require_positive(self, "tenants", "slots")
        require_precision(self.precision)
        if self.kv_bits not in {8, 16}:
            raise InvalidSpec(
                gettext("The cache has 8 or 16 bits, not {bits}.").format(bits=self.kv_bits),
                remedy=gettext("Give 8 or 16."),
            )
