"""What can be asked of a split: a load with its SLO, devices, and the link that the cache crosses."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import Seed, advanced, knob
from workbench.core.language import gettext
from workbench.core.specs import Spec
from workbench.core.traffic import SPREAD, Lengths
from workbench.estimate.knobs import (
    CatalogueDevice,
    KvBits,
    OutputTokens,
    Precision,
    PromptTokens,
    SloTpot,
    SloTtft,
    model_knob,
)
from workbench.estimate.precision import STORED, require_precision


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSpec(Spec):
    """A load on devices that each do both, and on the same number of devices that do one or the other."""

    command: ClassVar[str] = "split"
    computed_by: ClassVar[str] = "split_answer"

    model: Annotated[str, model_knob("meta-llama/Meta-Llama-3.1-8B")]
    device: CatalogueDevice
    n_devices: int = knob(4, "Devices", "Devices in all; each holds the whole model.", low=2, high=64, option="devices")
    requests_per_s: float = knob(
        8.0, "Request rate", "Mean rate of all requests.", unit="requests/s", low=0.001, option="rate"
    )
    input_tokens: PromptTokens = 4096
    output_tokens: OutputTokens = 256
    ttft_s: SloTtft = 1.0
    tpot_s: SloTpot = 0.02
    link_bytes_per_s: float | None = knob(
        None,
        "Link bandwidth",
        "Bandwidth between two devices in one direction; that of the device's listed scale-up link if left out.",
        unit="GB/s",
        factor=1e-9,
        low=0.001,
        high=1e5,
        option="link-bandwidth",
    )
    link_latency_s: float = advanced(
        1e-3, "Transfer latency", "Time that each transfer takes beside its bytes.", unit="ms", factor=1e3, low=0
    )
    n_requests: int = advanced(300, "Number of requests", "Requests of each simulation.", low=20, option="requests")
    n_seeds: int = advanced(
        5,
        "Seeds",
        "Drawn loads for the choice of a ratio, and as many fresh ones that confirm it.",
        low=3,
        high=100,
        option="seeds",
    )
    precision: Precision = STORED
    kv_bits: KvBits = 16
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_positive(
            self, "requests_per_s", "input_tokens", "output_tokens", "ttft_s", "tpot_s", "n_requests", "n_seeds"
        )
        require_precision(self.precision)
        if self.n_devices < 2:
            raise InvalidSpec(
                gettext("{n} devices cannot be split.").format(n=self.n_devices),
                remedy=gettext("Give 2 or more."),
            )
        if self.n_seeds < 3:
            raise InvalidSpec(
                gettext("{n} seeds show no spread.").format(n=self.n_seeds),
                remedy=gettext("Give 3 or more."),
            )
        if self.link_bytes_per_s is not None and not self.link_bytes_per_s > 0:
            raise InvalidSpec(
                gettext("A link of {rate} bytes a second.").format(rate=self.link_bytes_per_s),
                remedy=gettext("Give a number above zero, or none."),
            )
        if self.link_latency_s < 0:
            raise InvalidSpec(
                gettext("A latency of {seconds} s.").format(seconds=self.link_latency_s),
                remedy=gettext("Give 0 or more."),
            )
        if self.kv_bits not in {8, 16}:
            raise InvalidSpec(
                gettext("The cache has 8 or 16 bits, not {bits}.").format(bits=self.kv_bits),
                remedy=gettext("Give 8 or 16."),
            )

    @property
    def lengths(self) -> Lengths:
        """What the lengths of requests are drawn from."""
        return Lengths(
            input_tokens=self.input_tokens, output_tokens=self.output_tokens, input_sigma=SPREAD, output_sigma=SPREAD
        )
