"""A load on a serving engine: what to send, what happened to each request, and the answers' JSON form."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.specs import checked_fields, spec_code

Arrivals = Literal["constant", "poisson", "gamma", "closed", "ramp", "trace"]
Endpoint = Literal["completions", "chat"]
TokenSource = Literal["usage per chunk", "usage", "tokenizer", "chunks"]


def image_buckets(text: str) -> list[tuple[tuple[int, int], float]]:
    """Sizes (height and width) with their shares; raises ``InvalidSpec`` for what is not one."""
    found = []
    for part in text.split(","):
        size, _, share = part.partition(":")
        high, _, wide = size.strip().partition("x")
        try:
            weight = float(share or 1)
            found.append(((int(high), int(wide)), weight))
        except ValueError:
            weight = -1.0
        if weight <= 0 or not found or min(found[-1][0]) < 1:
            raise InvalidSpec(
                f"{part!r} is not a size of pictures.",
                remedy='Give height x width and a share, such as "448x448:3,896x1344:1".',
            )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSpec:
    """Requests to send to an OpenAI-compatible server. The same spec and seed send the same requests."""

    url: str
    """Base URL, with or without ``/v1``."""
    model: str
    arrivals: Arrivals = "poisson"
    rate_per_s: float = 10.0
    """Mean arrivals; the first rate of a ramp; ignored by ``closed`` and ``trace``."""
    end_rate_per_s: float | None = None
    """Last rate of a ramp."""
    gamma_cv: float = 2.0
    """Coefficient of variation of the gaps of ``gamma`` arrivals; 1 is Poisson."""
    concurrency: int | None = None
    """Most requests in flight, others wait at the client; the number of users of a closed loop."""
    duration_s: float = 30.0
    trace: str | None = None
    """Azure CSV (TIMESTAMP, ContextTokens, GeneratedTokens) or JSON lines (timestamp_s, input_tokens, output_tokens)."""
    trace_speed: float = 1.0
    """Replays a trace so many times as fast."""
    endpoint: Endpoint = "completions"
    input_tokens: int = 128
    output_tokens: int = 64
    input_cv: float = 0.0
    """Coefficient of variation of the prompt lengths (log-normal); 0 is fixed."""
    output_cv: float = 0.0
    turns: int = 1
    """Turns of each conversation (chat only); the next is sent when the last answer has ended."""
    timeout_s: float = 120.0
    tokenizer: str | None = None
    """Folder or file of the model's tokenizer: exact prompt lengths, and tokens counted where the server does not."""
    token_ids: bool = False
    """Send token ids instead of text (completions, with a tokenizer): exact lengths, and no tokenizing at the server."""
    unique_prefix: bool = True
    """Start each prompt with words of its own, so that a prefix cache cannot answer it."""
    n_images: int = 0
    """Generated pictures in each request, before its text (chat only)."""
    image_sizes: str = "448x448"
    """Height x width, with shares where there are several: "448x448:3,896x1344:1"."""
    image_hit_fraction: float = 0.0
    """Share of the pictures that were sent before, as a cache of pictures would find them."""
    shared_prefix_tokens: int = 0
    """First words that all prompts have in common, as a system prompt is; words of their own follow."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable with the API key, if one is needed; the key itself is never stored."""
    slo_ttft_s: float | None = None
    slo_tpot_s: float | None = None
    calibrate: bool = True
    """Repeat the load against the built-in mock server afterwards, to learn what the client itself adds."""
    telemetry_hz: float = 0.0
    """Samples a second of this machine, its GPUs and the server's counters during the load; 0 takes none. They tell of the
    server only where it runs on this machine."""
    server_pid: int | None = None
    """The server's process on this machine; None: the one that listens on the URL's port."""
    probe: bool = False
    """Ask a few fixed things before the load: how fast the server is alone, and whether it still answers the same."""
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(
            self, "rate_per_s", "gamma_cv", "duration_s", "input_tokens", "output_tokens", "turns", "timeout_s"
        )
        require_positive(self, "trace_speed")
        if not 0 <= self.shared_prefix_tokens < self.input_tokens:
            raise InvalidSpec(
                f"shared_prefix_tokens is {self.shared_prefix_tokens} of {self.input_tokens}.",
                remedy="Give 0 or more, and fewer than input_tokens.",
            )
        if self.telemetry_hz and not 0.1 <= self.telemetry_hz <= 50:
            raise InvalidSpec(f"telemetry_hz is {self.telemetry_hz}.", remedy="Give 0.1 to 50, or 0 for none.")
        for name, allowed in (("arrivals", get_args(Arrivals)), ("endpoint", get_args(Endpoint))):
            if getattr(self, name) not in allowed:
                raise InvalidSpec(f"{name} is {getattr(self, name)!r}.", remedy=f"Choose from: {', '.join(allowed)}.")
        if not self.url.startswith(("http://", "https://")):
            raise InvalidSpec(f"{self.url!r} is not a URL.", remedy="Give one like http://localhost:8000.")
        needed = {"closed": "concurrency", "ramp": "end_rate_per_s", "trace": "trace"}.get(self.arrivals)
        if needed and getattr(self, needed) is None:
            raise InvalidSpec(f"Arrivals {self.arrivals!r} need {needed}.", remedy=f"Set {needed}.")
        if self.concurrency is not None and self.concurrency < 1:
            raise InvalidSpec(f"concurrency is {self.concurrency}.", remedy="Give a number above zero, or none.")
        if self.token_ids and (self.endpoint != "completions" or self.tokenizer is None):
            raise InvalidSpec(
                "Token ids need the completions endpoint and a tokenizer.",
                remedy="Name the model's folder as tokenizer.",
            )
        self._check_images()
        if self.turns > 1 and self.endpoint != "chat":
            raise InvalidSpec("Several turns need the chat endpoint.", remedy='Set endpoint="chat".')

    def _check_images(self) -> None:
        image_buckets(self.image_sizes)
        if self.n_images < 0 or not 0 <= self.image_hit_fraction <= 1:
            raise InvalidSpec(
                f"n_images is {self.n_images} and image_hit_fraction {self.image_hit_fraction}.",
                remedy="Give a number of pictures, and a share between 0 and 1.",
            )
        if self.n_images and self.endpoint != "chat":
            raise InvalidSpec("Pictures need the chat endpoint.", remedy='Set endpoint="chat".')

    @property
    def base_url(self) -> str:
        """URL up to and without ``/v1``."""
        return self.url.rstrip("/").removesuffix("/v1")

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "LoadSpec":
        """A spec read back; unknown fields raise ``InvalidSpec``."""
        return cls(**checked_fields(cls, data))

    def as_code(self) -> str:
        """Python that makes this spec and runs it."""
        return spec_code(self, experiment="load")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One request. All times are seconds since the start of the load, on the monotonic clock."""

    index: int
    due_s: float
    """When the schedule wanted it sent."""
    input_tokens: int
    """Asked for; ``usage_input_tokens`` is what the server counted."""
    max_output_tokens: int
    sent_s: float | None = None
    """When its bytes were handed to the socket."""
    connect_s: float = 0.0
    """Time spent on opening a connection before it was sent; 0 for a kept one."""
    first_event_s: float | None = None
    """First event of any kind, a role chunk too."""
    chunk_s: tuple[float, ...] = ()
    """Arrival of each event with text, reasoning or a tool call that is not empty."""
    chunk_tokens: tuple[int, ...] | None = None
    """Tokens in each of these, where the server or a tokenizer tells."""
    end_s: float | None = None
    """End of the answer, or of the attempt when it failed."""
    output_tokens: int = 0
    token_source: TokenSource = "chunks"
    usage_input_tokens: int | None = None
    error: str | None = None

    @property
    def first_content_s(self) -> float | None:
        """Arrival of the first token."""
        return self.chunk_s[0] if self.chunk_s else None

    @property
    def ok(self) -> bool:
        """Whether a whole answer came."""
        return self.error is None and bool(self.chunk_s)

    @property
    def tpot_s(self) -> float | None:
        """Time per output token after the first chunk: last minus first over the tokens that came in between.

        Where only the number of all tokens is known, chunks are taken to be alike.
        """
        n_chunks = len(self.chunk_s)
        if not self.ok or n_chunks < 2:
            return None
        if self.chunk_tokens is not None:
            after_first = sum(self.chunk_tokens[1:])
        else:
            after_first = round(self.output_tokens * (n_chunks - 1) / n_chunks)
        return (self.chunk_s[-1] - self.chunk_s[0]) / after_first if after_first > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientHealth:
    """Whether the load generator itself can be trusted in a run."""

    verdict: Literal["good", "doubtful", "client-bound"]
    reason: str
    loop_lag_p99_s: float
    send_lateness_p99_s: float
    """Sent after due, without the time spent waiting at the concurrency cap and connecting."""
    cpu_fraction: float
    """Processor time of the load process over the wall time."""
    calibration_ttft_p99_error_s: float | None = None
    """What the client added to TTFT p99 at the same rate against the mock server; None: not calibrated."""
    calibration_itl_p99_error_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """A latency: seconds, with the requests that have no value counted as longer than their end (censored)."""

    mean: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    n: int
    n_censored: int
    interval: Mapping[str, tuple[float, float] | None] = field(default_factory=dict)
    """95 % intervals of mean, p50, p90 and p99 that respect autocorrelation; None: too few samples."""
