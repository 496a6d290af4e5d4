"""What can be asked of a tuner: a server, a load with its SLO, what to maximise, and the flags that may change."""

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

from workbench.catalog.paths import OFFERED_MODELS
from workbench.core.checks import require_each, require_known, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import DeviceChoice, RandomWeights, Seed, advanced, knob, needed
from workbench.core.language import gettext
from workbench.core.specs import Spec
from workbench.load.address import cleaned
from workbench.load.spec import LoadSpec

Arrivals = Literal["poisson", "constant", "gamma", "closed", "trace"]
Objective = Literal["goodput", "cost", "latency"]
OBJECTIVES = {"goodput": "goodput", "cost": "cost per good token", "latency": "latency at this load"}
ON_OFF = {"on": "on", "off": "off"}
CACHE_BYTES, USABLE = "--kv-cache-memory-bytes", "--gpu-memory-utilization"
SIZE, SHARE = re.compile(r"(\d+(?:\.\d+)?)([kmgtKMGT]?)"), re.compile(r"0?\.\d+|1(?:\.0*)?")
FLAG = re.compile(r"--[a-z][a-z0-9.-]*(=.+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneSpec(Spec):
    """Settings of a vLLM server under one load: all are simulated, and the promising ones measured."""

    kind: ClassVar[str] = "tuning"
    command: ClassVar[str] = "tune"

    model: str = needed(
        "Model",
        "Folder of a transformers model, or a hub id.",
        suggestions=OFFERED_MODELS,
        is_argument=True,
    )
    maximise: Objective = knob(
        "goodput",
        "Aim",
        "What the best setting has most or least of: requests within the SLO per second, USD per good token, or end-to-end latency.",
        choices=OBJECTIVES,
        is_advanced=True,
    )
    slo_ttft_s: float = knob(
        1.0,
        "SLO: TTFT",
        "Largest time to first token (TTFT) of a request that meets the SLO, from when it was due.",
        unit="ms",
        factor=1e3,
        low=10,
        high=20_000,
        step=10,
        option="ttft-ms",
    )
    slo_tpot_s: float = knob(
        0.05,
        "SLO: TPOT",
        "Largest time per output token (TPOT) of a request that meets the SLO.",
        unit="ms",
        factor=1e3,
        low=1,
        high=250,
        step=0.5,
        option="tpot-ms",
    )
    arrivals: Arrivals = advanced("poisson", "Arrival process", "How the arrivals of requests are spaced.")
    rate_per_s: float = knob(
        10.0, "Request rate", "Mean request rate; closed loops and traces ignore it.", unit="requests/s", option="rate"
    )
    concurrency: int | None = advanced(
        None, "Users", "Users of a closed loop, of whom each sends again when it has its answer."
    )
    input_tokens: int = knob(128, "Prompt tokens", "Mean number of tokens of a prompt.", low=1, high=1_000_000)
    output_tokens: int = knob(64, "Output tokens", "Mean number of tokens of an answer.", low=2, high=1_000_000)
    budget_min: float = knob(
        10.0,
        "Budget",
        "Minutes of measurement, after which the best setting so far is confirmed.",
        unit="min",
        low=0.5,
        high=10_000,
        option="budget",
    )
    input_cv: float = advanced(
        0.0,
        "Spread of the prompt lengths",
        "Coefficient of variation of the log-normal prompt lengths; 0 makes them equal.",
    )
    output_cv: float = advanced(
        0.0,
        "Spread of the answer lengths",
        "Coefficient of variation of the log-normal answer lengths; 0 makes them equal.",
    )
    gamma_cv: float = advanced(
        2.0, "Burstiness", "Coefficient of variation of the gaps of gamma arrivals; 1 is Poisson."
    )
    shared_prefix_tokens: int = advanced(
        0,
        "Shared prefix",
        "First tokens that all prompts share, as they share a system prompt.",
        unit="tokens",
        option="shared-tokens",
    )
    turns: int = advanced(
        1,
        "Turns of a session",
        "Turns of each conversation, which go on from all before them; the next is sent when the last answer has ended.",
        low=1,
        high=1000,
    )
    trace: str | None = advanced(
        None,
        "Arrival trace",
        "Trace file of Azure, BurstGPT, Mooncake, AIPerf, guidellm, vLLM or of the workbench that is replayed.",
        is_path=True,
    )
    trace_speed: float = advanced(1.0, "Trace speed-up", "Factor by which a trace is replayed faster.")
    duration_s: float = advanced(
        10.0,
        "Duration of a load",
        "Seconds of each load that is measured.",
        unit="s",
        low=1,
        high=3600,
        option="duration",
    )
    batched_tokens: tuple[int, ...] = advanced(
        (),
        "Tokens of a step",
        "Values of --max-num-batched-tokens to try; a ladder around the default of the device if left out.",
    )
    sequences: tuple[int, ...] = advanced(
        (),
        "Sequences at once",
        "Values of --max-num-seqs to try; a ladder around the default of the device if left out.",
    )
    prefix_caching: tuple[str, ...] = advanced(
        ("on", "off"), "Prefix cache", "Whether the prefix cache is tried on, off or both.", choices=ON_OFF
    )
    chunked_prefill: tuple[str, ...] = advanced(
        ("on",), "Chunked prefill", "Whether chunked prefill is tried on, off or both.", choices=ON_OFF
    )
    async_scheduling: tuple[str, ...] = advanced(
        ("on",), "Async scheduling", "Whether asynchronous scheduling is tried on, off or both.", choices=ON_OFF
    )
    long_prefill: tuple[int, ...] = advanced(
        (0,), "Long prompt threshold", "Values of --long-prefill-token-threshold to try; 0 is none."
    )
    kv_cache: tuple[str, ...] = advanced(
        ("auto",),
        "KV cache precision",
        "Values of --kv-cache-dtype to try.",
        choices={"auto": "as the model", "fp8": "FP8"},
    )
    tensor: tuple[int, ...] = advanced(
        (1,), "Tensor parallel sizes", "Values of --tensor-parallel-size to try.", option="tp"
    )
    checkpoints: tuple[str, ...] = advanced(
        (), "Other weights", "Folders or hub ids of the same model in other precisions, which are tried too."
    )
    flags: tuple[str, ...] = advanced(
        (),
        "Further flags",
        "Flags of vLLM with values to try, such as '--max-cudagraph-capture-size=64|256'; they are measured without a simulation.",
        option="flag",
        is_repeated=True,
    )
    url: str | None = advanced(
        None,
        "Running server",
        "URL of a server that runs already: it is measured as it is, and other settings only where --restart says how.",
    )
    restart: str | None = advanced(
        None,
        "Restart command",
        "Shell command that restarts the server at the URL with the flags that replace {flags} in it.",
    )
    usd_per_hour: float | None = advanced(
        None, "Price", "Price of one device for an hour; the listed one if left out.", unit="USD/h", low=1e-4, high=1e5
    )
    device: DeviceChoice = "auto"
    random_weights: RandomWeights = False
    max_model_len: int | None = advanced(
        None, "Longest request", "Value of --max-model-len of every launch; the model's own if left out.", low=1
    )
    cluster: str | None = advanced(
        None, "Ray cluster", "Address of a Ray cluster on one node of which all is measured; here without one."
    )
    n_cpus: float = advanced(
        1.0, "Cores per task", "Cores that each task on the cluster asks for.", high=1024, option="cpus"
    )
    n_gpus: float = advanced(
        0.0, "GPUs per task", "GPUs that each task on the cluster asks for.", high=64, option="gpus"
    )
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_positive(
            self, "slo_ttft_s", "slo_tpot_s", "duration_s", "budget_min", "rate_per_s", "input_tokens", "output_tokens"
        )
        for name in ("batched_tokens", "sequences"):
            if getattr(self, name):
                require_each(self, name)
        require_each(self, "tensor")
        require_each(self, "long_prefill", least=0)
        for name in ("prefix_caching", "chunked_prefill", "async_scheduling"):
            require_known(gettext("values of {name}").format(name=name), getattr(self, name), tuple(ON_OFF))
        require_known(gettext("values of {name}").format(name="kv_cache"), self.kv_cache, ("auto", "fp8"))
        if wrong := [flag for flag in self.flags if not FLAG.fullmatch(flag)]:
            raise InvalidSpec(
                gettext("{flag} is no flag.").format(flag=repr(wrong[0])),
                remedy=gettext("Give --name, --name=value or --name=value|value."),
            )
        if given := self.launched_with(CACHE_BYTES):
            memory_bytes(given)
        usable = self.launched_with(USABLE)
        if usable is not None and not SHARE.fullmatch(usable):
            raise InvalidSpec(
                gettext("{flag}={value} is no share of the memory.").format(flag=USABLE, value=usable),
                remedy=gettext("Give a number between 0 and 1."),
            )
        if self.restart is not None and (self.url is None or "{flags}" not in self.restart):
            raise InvalidSpec(
                gettext("The restart command {restart} has no {{flags}}, or no URL stands beside it.").format(
                    restart=repr(self.restart)
                ),
                remedy=gettext("Give --url, and write {flags} where the server's flags belong."),
            )
        if self.turns > 1 and (self.concurrency is not None or self.arrivals in {"closed", "trace"}):
            raise InvalidSpec(
                gettext("Sessions of {turns} turns start at a rate, not with users or a trace.").format(
                    turns=self.turns
                ),
                remedy=gettext("Choose poisson, constant or gamma arrivals, and leave the users out."),
            )
        if self.url is not None:
            object.__setattr__(self, "url", cleaned(self.url))
        self.load("http://127.0.0.1:1", "model", seed=0)  # refuses what no load can be

    def launched_with(self, flag: str) -> str | None:
        """Return the value of a flag that all settings are launched with; None where the flags do not say one."""
        pairs = [f.partition("=") for f in self.flags]
        values = [value for name, _, value in pairs if name == flag and "|" not in value]
        return values[-1] if values else None

    def load(self, url: str, served_model: str, *, seed: int, tokenizer: str | None = None) -> LoadSpec:
        """Return the load of one trial: the same seed has the same arrivals and lengths, and prompts that no cache has seen."""
        return LoadSpec(
            url=url,
            model=served_model,
            arrivals=self.arrivals,
            rate_per_s=self.rate_per_s,
            gamma_cv=self.gamma_cv,
            concurrency=self.concurrency,
            duration_s=self.duration_s,
            trace=self.trace,
            trace_speed=self.trace_speed,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            input_cv=self.input_cv,
            output_cv=self.output_cv,
            shared_prefix_tokens=self.shared_prefix_tokens,
            turns=self.turns,
            endpoint="chat" if self.turns > 1 else "completions",
            tokenizer=tokenizer,
            token_ids=tokenizer is not None and self.turns == 1,
            timeout_s=max(30.0, 3 * self.duration_s),
            slo_ttft_s=self.slo_ttft_s,
            slo_tpot_s=self.slo_tpot_s,
            calibrate=False,
            seed=seed,
        )


def memory_bytes(given: str) -> int:
    """Return a size as vLLM reads it: decimal units in small letters, binary ones in capitals (vllm/utils/argparse_utils.py, 0.26).

    Raises:
        InvalidSpec: It is no such size.
    """
    found = SIZE.fullmatch(given)
    if found is None:
        raise InvalidSpec(
            gettext("{given} is no size of memory.").format(given=repr(given)),
            remedy=gettext("Give bytes, or a number with k, m, g or K, M, G."),
        )
    number, unit = found.groups()
    base = 1000 if unit.islower() else 1024
    return int(float(number) * base ** " KMGT".index(unit.upper() or " "))
