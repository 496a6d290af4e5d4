"""What can be asked of adapters: a model, how many adapters of which rank are in use, and how unevenly."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from workbench.catalog.models import require_folder
from workbench.core.checks import require_each, require_known, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import DeviceChoice, RandomWeights, Seed, advanced, knob
from workbench.core.language import gettext
from workbench.core.specs import Spec
from workbench.estimate.knobs import offered_model
from workbench.load.address import cleaned

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values of vLLM's --max-lora-rank (0.32.0)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptersSpec(Spec):
    """Adapters on a vLLM server, measured against its base model. The same spec on the same machine is the same measurement."""

    kind: ClassVar[str] = "adapters"
    command: ClassVar[str] = "adapters"

    model: str = offered_model("Model", "Folder of the base model.")
    counts: tuple[int, ...] = knob(
        (1, 4, 8), "Adapters in use", "Numbers of adapters that the requests are spread over.", low=1, high=1024
    )
    ranks: tuple[int, ...] = knob(
        (8, 64), "Ranks", "Ranks of the random adapters; each is measured on a server of its own.", low=1, high=512
    )
    slots: tuple[int, ...] = knob(
        (4,),
        "Slots",
        "Adapters that a step may use: vLLM's --max-loras, each on a server of its own.",
        low=1,
        high=1024,
    )
    skews: tuple[float, ...] = knob(
        (0.0, 1.0),
        "Skews of their use",
        "Zipf exponents of the use of adapters: 0 is even, at 1 the second has half of the first's requests.",
        low=0,
        high=5,
    )
    adapters: tuple[str, ...] = knob(
        (),
        "Own adapters",
        "Folders of your own adapters in PEFT's format; random ones of the model's shape if left out.",
        is_path=True,
    )
    url: str | None = knob(
        None,
        "Running server",
        "URL of a server that runs already, whose own adapters are asked; its slots are those that you name.",
    )
    usd_per_hour: float | None = knob(
        None, "Price", "Price of one device for an hour; the listed one if left out.", unit="USD/h", low=1e-4, high=1e5
    )
    rate_per_s: float = advanced(
        6.0, "Request rate", "Mean request rate of the load for TTFT and TPOT.", unit="requests/s", option="rate"
    )
    n_requests: int = advanced(
        24,
        "Requests",
        "Requests of each load: once at the rate, once all at the same time for throughput.",
        low=4,
        option="requests",
    )
    input_tokens: int = advanced(64, "Prompt tokens", "Tokens of each prompt.", low=1)
    output_tokens: int = advanced(32, "Output tokens", "Tokens of each answer.", low=2)
    rounds: int = advanced(
        5, "Rounds", "Times that everything is asked, one after the other, in an order drawn anew.", low=3, high=1000
    )
    device: DeviceChoice = "auto"
    random_weights: RandomWeights = False
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_each(self, "counts", "ranks", "slots")
        require_each(self, "skews", least=0)
        require_known(gettext("ranks"), [str(r) for r in self.ranks], [str(r) for r in RANKS])
        require_positive(self, "rate_per_s", "n_requests", "input_tokens", "output_tokens", "rounds")
        if self.rounds < 3:
            raise InvalidSpec(
                gettext("{n} rounds show no spread.").format(n=self.rounds), remedy=gettext("Give 3 or more.")
            )
        if self.output_tokens < 2:
            raise InvalidSpec(
                gettext("Answers of one token have no TPOT."), remedy=gettext("Give 2 or more output tokens.")
            )
        if self.adapters and max(self.counts) > len(self.adapters):
            raise InvalidSpec(
                gettext("{most} adapters are to be in use, and {n} are named.").format(
                    most=max(self.counts), n=len(self.adapters)
                ),
                remedy=gettext("Name more folders, or give smaller numbers with --counts."),
            )
        if self.url is not None:
            object.__setattr__(self, "url", cleaned(self.url))


def check_adapters(spec: AdaptersSpec) -> None:
    """Raise for a model that is none, and ``InvalidSpec`` for a folder that holds no adapter which vLLM takes."""
    if spec.url is None:
        require_folder(spec.model)
    for folder in spec.adapters:
        rank_of(folder)


def rank_of(folder: str) -> int:
    """Return the rank of an adapter; raises ``InvalidSpec`` for a folder without one, and for a kind that vLLM refuses."""
    place, remedy = Path(folder).expanduser(), gettext("Name a folder that PEFT's save_pretrained has written.")
    try:
        config = json.loads((place / "adapter_config.json").read_text(encoding="utf-8"))
        rank = int(config["r"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidSpec(
            gettext("{folder} holds no adapter: its adapter_config.json cannot be read.").format(folder=folder),
            remedy=remedy,
        ) from error
    if not any((place / name).is_file() for name in ("adapter_model.safetensors", "adapter_model.bin")):
        raise InvalidSpec(gettext("{folder} has no adapter_model.safetensors.").format(folder=folder), remedy=remedy)
    kind = str(config.get("peft_type", "LORA"))
    if kind != "LORA" or config.get("use_dora"):
        raise InvalidSpec(
            gettext("{folder} is an adapter of the kind {kind}, which vLLM does not take.").format(
                folder=folder, kind="DoRA" if config.get("use_dora") else kind
            ),
            remedy=gettext("Give LoRA adapters."),
        )
    if not 1 <= rank <= RANKS[-1]:
        raise InvalidSpec(
            gettext("{folder} has rank {rank}.").format(folder=folder, rank=rank),
            remedy=gettext("vLLM takes ranks up to {most}.").format(most=RANKS[-1]),
        )
    return rank
