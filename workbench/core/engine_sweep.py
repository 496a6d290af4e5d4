"""Which engine serves a model best on this machine: what to compare and under which promise."""

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from workbench.core.checks import require_fraction, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.specs import Spec

NAMES = {"vllm": "vLLM", "lmdeploy": "LMDeploy", "torch": "PyTorch (transformers)", "onnx": "ONNX Runtime"}
STARTABLE = tuple(NAMES)


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
        """A candidate from its text; raises ``InvalidSpec`` for an engine that cannot be started."""
        if text.startswith(("http://", "https://")):
            return cls(text=text, engine="http", url=text)
        try:
            engine, *extra = shlex.split(text)
        except ValueError:
            engine, extra = text, []
        if engine not in STARTABLE:
            raise InvalidSpec(
                f"{engine!r} is no engine that can be started here.",
                remedy=f"Choose from: {', '.join(STARTABLE)}; or name the URL of a server that runs.",
            )
        return cls(text=text, engine=engine, extra=tuple(extra))

    @property
    def label(self) -> str:
        """What readers see."""
        if self.url:
            return self.url.split("://")[1].rstrip("/").removesuffix("/v1")
        return " ".join((NAMES[self.engine], *self.extra))

    @property
    def file_name(self) -> str:
        """A name for files, different for each text."""
        if self.text == self.engine:
            return self.engine
        return f"{self.engine}-{hashlib.sha256(self.text.encode()).hexdigest()[:8]}"


def engine_label(text: str) -> str:
    """What readers see of a candidate's text."""
    return Candidate.read(text).label


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSweepSpec(Spec):
    """Engines under the same load at growing rates. The same spec on the same machine is the same measurement."""

    experiment: ClassVar[str] = "engine_sweep"

    model: str
    engines: tuple[str, ...] = ("vllm", "torch", "onnx")
    """Names of engines, each with settings after it if wanted (``vllm --max-num-seqs 8``), or URLs of servers."""
    input_tokens: int = 128
    output_tokens: int = 64
    duration_s: float = 10.0
    """Of each trial."""
    start_rate_per_s: float = 1.0
    """First rate; it doubles until the promise is broken (halves until it is kept), then the gap is halved
    ``n_bisections`` times."""
    rates_per_s: tuple[float, ...] = ()
    """These rates and no search, if any are given."""
    max_trials: int = 8
    """Of each engine, the bisections not counted."""
    n_bisections: int = 2
    slo_ttft_s: float = 0.5
    slo_tpot_s: float = 0.05
    attainment_fraction: float = 0.9
    """Share of the requests that must meet both, for a rate to count as sustained."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    served_model: str | None = None
    """Name under which servers given by URL serve the model; None: the first that they list."""
    random_weights: bool = False
    """Only the shape counts: the model folder needs a ``config.json`` alone, and answers mean nothing."""
    cluster: str | None = None
    """Address of a Ray cluster that runs one task for each engine; None: one after the other on this machine."""
    n_cpus: float = 1.0
    """Cores that a task on a cluster asks for."""
    n_gpus: float = 0.0
    """GPUs that a task on a cluster asks for."""
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(
            self,
            "input_tokens",
            "output_tokens",
            "duration_s",
            "start_rate_per_s",
            "max_trials",
            "slo_ttft_s",
            "slo_tpot_s",
        )
        require_fraction(self, "attainment_fraction")
        if not self.engines:
            raise InvalidSpec("No engine was chosen.", remedy=f"Choose from: {', '.join(STARTABLE)}.")
        for text in self.engines:
            Candidate.read(text)
        if len(set(self.engines)) < len(self.engines):
            raise InvalidSpec("An engine is named twice.", remedy="Give each its own settings.")
        if any(rate <= 0 for rate in self.rates_per_s):
            raise InvalidSpec("A rate is not above zero.", remedy="Give requests per second.")
        if self.device not in {"auto", "cpu", "cuda"}:
            raise InvalidSpec(f"Device {self.device!r}.", remedy="Choose auto, cpu or cuda.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One rate on one engine."""

    rate_per_s: float
    attainment_fraction: float
    attainment_interval: tuple[float, float]
    good_per_s: float
    output_tokens_per_s: float
    ttft_p50_s: float | None
    ttft_p99_s: float | None
    """From when a request was due, as everywhere here."""
    tpot_p50_s: float | None
    e2e_p50_s: float | None
    n_requests: int
    n_failed: int
    client: str
    """Verdict on the load generator."""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Trial":
        """A trial read back."""
        return cls(**{**data, "attainment_interval": tuple(data["attainment_interval"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineResult:
    """One engine of a sweep."""

    engine: str
    status: Literal["measured", "not available", "failed"]
    reason: str | None = None
    version: str | None = None
    startup_s: float | None = None
    memory_bytes: float | None = None
    """Of the server's processes, after the trials (CPU: resident and shared in proportion; CUDA: of the GPU)."""
    launch: str | None = None
    trials: tuple[Trial, ...] = ()

    def best(self, attainment: float) -> Trial | None:
        """The trial with the highest rate that kept the promise, none of a lower rate having broken it."""
        kept = None
        for trial in sorted(self.trials, key=lambda t: t.rate_per_s):
            if trial.attainment_fraction < attainment:
                break
            kept = trial
        return kept

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "EngineResult":
        """A result read back."""
        return cls(**{**data, "trials": tuple(Trial.from_dict(t) for t in data["trials"])})
