"""The faults that a suite injects into a server, and the loads that it measures."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from workbench.catalog.paths import OFFERED_MODELS, REFERENCE_MODEL_PLACE
from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import DeviceChoice, knob
from workbench.core.language import gettext
from workbench.core.specs import Spec

FaultEngine = Literal["torch", "vllm"]
LAST_TUNING_SEED = 99


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultsSpec(Spec):
    """A suite of faults with known causes, and of healthy loads, on a real engine of this machine; it scores every method to find causes."""

    kind: ClassVar[str] = "faults"
    command: ClassVar[str] = "faults"

    model: str = knob(
        REFERENCE_MODEL_PLACE,
        "Model",
        "Folder of the model that the server loads.",
        suggestions=OFFERED_MODELS,
        is_argument=True,
    )
    engine: FaultEngine = knob("torch", "Engine", "Engine that serves the model: the workbench's torch engine or vLLM.")
    device: DeviceChoice = "auto"
    faults: tuple[str, ...] = knob(
        (),
        "Faults",
        "Faults to inject; control and restarted are healthy loads. If left out, all that this machine and engine allow.",
        option="only",
    )
    doses: tuple[str, ...] = knob(
        ("low", "high"),
        "Doses",
        "Strength of each fault: low, high or both.",
        choices={"low": "low", "high": "high"},
        is_advanced=True,
    )
    seeds: tuple[int, ...] = knob(
        (101,),
        "Seeds",
        "Random seeds. Each seed draws a load profile and measures its own healthy loads; "
        f"seeds 1 to {LAST_TUNING_SEED} were used to tune the diagnosis.",
    )
    control_seeds: tuple[int, ...] = knob(
        (),
        "Seeds of additional healthy loads",
        "Random seeds that get healthy loads only; more healthy loads narrow the interval of the false alarm rate.",
        is_advanced=True,
    )
    duration_s: float = knob(
        12.0, "Load duration", "Duration of each load, in seconds.", unit="s", low=4, high=600, option="seconds"
    )
    rate_per_s: float = knob(
        4.5,
        "Healthy request rate",
        "Median request rate of the healthy loads; about half of the server's peak request rate.",
        unit="requests/s",
        low=0.01,
        high=10_000,
        option="rate",
        is_advanced=True,
    )
    input_tokens: int = knob(
        384, "Prompt tokens", "Median length of the prompts, in tokens.", low=1, high=100_000, is_advanced=True
    )
    output_tokens: int = knob(
        24, "Output tokens", "Median length of the answers, in tokens.", low=1, high=100_000, is_advanced=True
    )
    max_num_seqs: int = knob(
        8,
        "Batch limit (max_num_seqs)",
        "Largest number of sequences that the healthy server processes at the same time.",
        low=1,
        high=512,
        is_advanced=True,
    )
    kv_tokens: int = knob(
        16_384,
        "KV cache",
        "Capacity of the healthy server's KV cache, in tokens.",
        unit="tokens",
        low=1,
        high=10**8,
        is_advanced=True,
    )

    burden: float = knob(
        0.0,
        "Other work on the machine",
        "Programs that compute throughout the suite, in healthy loads too, for each core of the machine; 0 for none.",
        low=0,
        high=16,
        is_advanced=True,
    )

    @property
    def seed(self) -> int:
        """First seed, which the run is stored with."""
        return self.seeds[0]

    def __post_init__(self) -> None:
        require_positive(self, "duration_s", "rate_per_s", "input_tokens", "output_tokens", "max_num_seqs", "kv_tokens")
        if self.engine not in get_args(FaultEngine):
            raise InvalidSpec(
                gettext("engine is {engine}.").format(engine=repr(self.engine)),
                remedy=gettext("Choose from: {names}.").format(names=", ".join(get_args(FaultEngine))),
            )
        if not self.seeds or not self.doses or set(self.doses) - {"low", "high"}:
            raise InvalidSpec(
                gettext("There are no seeds or no known doses."), remedy=gettext("Give seeds, and low, high or both.")
            )
        if self.duration_s < 4:
            raise InvalidSpec(
                gettext("duration_s is {seconds}.").format(seconds=f"{self.duration_s:g}"),
                remedy=gettext("Give 4 or more: less holds too few requests."),
            )
