"""What can be asked of engines: which to compare, under which load, and which SLO they must meet."""

import hashlib
import shlex
from dataclasses import dataclass
from typing import ClassVar

from workbench.catalog.paths import OFFERED_MODELS
from workbench.core.checks import require_fraction, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import DeviceChoice, RandomWeights, Seed, knob, needed
from workbench.core.language import gettext
from workbench.core.names import did_you_mean
from workbench.core.specs import Spec
from workbench.engines.serving import NAMES, STARTABLE
from workbench.load.address import cleaned


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One thing to compare: an engine that is started here, perhaps with settings, or a server that runs already."""

    text: str
    """As it was asked for: ``vllm``, ``vllm --max-num-seqs 8`` or ``http://host:8000``."""
    engine: str
    """A name in ``STARTABLE``, or "http"."""
    extra: tuple[str, ...] = ()
    url: str | None = None

    @classmethod
    def read(cls, text: str) -> "Candidate":
        """Return the candidate of a text; raises ``InvalidSpec`` for an engine that cannot be started."""
        if text.startswith(("http://", "https://")):
            return cls(text=cleaned(text), engine="http", url=cleaned(text))
        try:
            engine, *extra = shlex.split(text)
        except ValueError:
            engine, extra = text, []
        if engine not in STARTABLE:
            raise InvalidSpec(
                gettext("{engine} is no engine that can be started here.").format(engine=repr(engine)),
                remedy=gettext("{suggestion} Choose from: {names}; or name the URL of a server that runs.")
                .format(suggestion=did_you_mean(engine, STARTABLE), names=", ".join(STARTABLE))
                .lstrip(),
            )
        return cls(text=text, engine=engine, extra=tuple(extra))

    @property
    def label(self) -> str:
        """Name of the candidate as readers see it."""
        if self.url:
            return self.url.split("://")[1].rstrip("/").removesuffix("/v1")
        return " ".join((NAMES[self.engine], *self.extra))

    @property
    def file_name(self) -> str:
        """Return a name for files, different for each text."""
        if self.text == self.engine:
            return self.engine
        return f"{self.engine}-{hashlib.sha256(self.text.encode()).hexdigest()[:8]}"


def engine_label(text: str) -> str:
    """Return what readers see of a candidate's text."""
    return Candidate.read(text).label


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSweepSpec(Spec):
    """Engines under the same load at growing rates. The same spec on the same machine is the same measurement."""

    kind: ClassVar[str] = "engine_sweep"
    command: ClassVar[str] = "engines compare"

    model: str = needed(
        "Model",
        "Folder of a transformers model, or for vLLM and LMDeploy a hub id.",
        suggestions=OFFERED_MODELS,
        is_argument=True,
    )
    engines: tuple[str, ...] = knob(
        ("vllm", "torch", "onnx"),
        "Engines",
        "Engines to start one after the other, each with settings after its name if wanted, or URLs of servers that run.",
        choices=NAMES,
        suggestions=("http://host:8000", "vllm --max-num-seqs 8"),
    )
    input_tokens: int = knob(128, "Prompt tokens", "Number of tokens in each prompt.", low=1, high=100_000)
    output_tokens: int = knob(64, "Output tokens", "Number of tokens in each answer.", low=2, high=100_000)
    duration_s: float = knob(
        10.0,
        "Duration of a trial",
        "Seconds for which each rate is sent.",
        unit="s",
        low=1,
        high=3600,
        option="duration",
        is_advanced=True,
    )
    start_rate_per_s: float = knob(
        1.0,
        "First request rate",
        "Rate of the first trial; it doubles until the SLO is missed, or halves until it is met, and the gap is then narrowed.",
        unit="requests/s",
        low=0.01,
        high=1e5,
        option="start-rate",
        is_advanced=True,
    )
    rates_per_s: tuple[float, ...] = knob(
        (),
        "Request rates",
        "Request rates to measure, instead of a search for the highest one that meets the SLO.",
        unit="requests/s",
        option="rates",
        is_advanced=True,
    )
    max_trials: int = knob(
        8,
        "Most trials",
        "Most trials of each engine, those that narrow the gap not counted.",
        low=1,
        high=30,
        is_advanced=True,
    )
    n_bisections: int = knob(
        2,
        "Bisections",
        "Times that the gap between a rate that meets the SLO and one that misses it is halved.",
        low=0,
        high=10,
        option="bisections",
        is_advanced=True,
    )
    slo_ttft_s: float = knob(
        0.5,
        "SLO: TTFT",
        "Largest time to first token (TTFT) of a request that meets the SLO, from when it was due.",
        unit="s",
        low=0.001,
        high=600,
        option="slo-ttft",
    )
    slo_tpot_s: float = knob(
        0.05,
        "SLO: TPOT",
        "Largest time per output token (TPOT) of a request that meets the SLO.",
        unit="s",
        low=0.0001,
        high=60,
        option="slo-tpot",
    )
    attainment_fraction: float = knob(
        0.9,
        "SLO attainment",
        "Share of the requests that must meet the SLO for a rate to count as sustained, from 0 to 1.",
        low=0.5,
        high=1,
        step=0.01,
        option="attainment",
    )
    device: DeviceChoice = "auto"
    served_model: str | None = knob(
        None,
        "Model name at the URLs",
        "Name under which servers given by URL serve the model; the only one that they list if left out.",
        is_advanced=True,
    )
    random_weights: RandomWeights = False
    cluster: str | None = knob(
        None,
        "Ray cluster",
        "Address of a Ray cluster that runs one task for each engine; without one they run one after the other here.",
        is_advanced=True,
    )
    n_cpus: float = knob(
        1.0,
        "Cores per task",
        "Cores that each task on the cluster asks for.",
        high=1024,
        option="cpus",
        is_advanced=True,
    )
    n_gpus: float = knob(
        0.0, "GPUs per task", "GPUs that each task on the cluster asks for.", high=64, option="gpus", is_advanced=True
    )
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_positive(self, "input_tokens", "output_tokens", "duration_s", "start_rate_per_s", "max_trials")
        require_positive(self, "slo_ttft_s", "slo_tpot_s")
        require_fraction(self, "attainment_fraction")
        if not self.engines:
            raise InvalidSpec(
                gettext("No engine was chosen."),
                remedy=gettext("Choose from: {names}.").format(names=", ".join(STARTABLE)),
            )
        object.__setattr__(self, "engines", tuple(Candidate.read(text).text for text in self.engines))
        if len(set(self.engines)) < len(self.engines):
            raise InvalidSpec(gettext("An engine is named twice."), remedy=gettext("Give each its own settings."))
        if any(rate <= 0 for rate in self.rates_per_s):
            raise InvalidSpec(gettext("A rate is not above zero."), remedy=gettext("Give requests per second."))
        if self.device not in {"auto", "cpu", "cuda"}:
            raise InvalidSpec(
                gettext("Device {device}.").format(device=repr(self.device)),
                remedy=gettext("Choose auto, cpu or cuda."),
            )
