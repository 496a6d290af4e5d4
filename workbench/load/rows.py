"""What a load leaves behind: one record for each request, its latencies as distributions, and whether the client can be trusted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import accumulate, pairwise
from typing import Literal

from workbench.core.rows import Row, Samples
from workbench.load.request_record import CANCELLED, RequestRecord, TokenSource
from workbench.telemetry.samples import SampledSignals

WarningKind = Literal[
    "short-answers",
    "not-streamed",
    "buffered",
    "token-count-mismatch",
    "resent",
    "prefix-cache",
    "reused-prompts",
    "trace-cut",
    "clock",
    "client-bound",
]


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
    figures: Mapping[str, float] = field(default_factory=dict)
    """Share of each figure that may be the client's: TTFT p99, ITL p99."""


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
    """95 % intervals of mean, p50, p90 and p99 that respect autocorrelation; None: too few independent samples, as near saturation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """One latency, counted from two moments."""

    from_due: Distribution
    """From when the schedule wanted the request sent: time spent waiting at the client counts."""
    from_sent: Distribution
    """From when its bytes were handed to the socket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """The latencies of requests. TPOT and ITL do not depend on the start and are the same from both moments."""

    ttft_s: Origins
    """Time to first token."""
    e2e_s: Origins
    """End-to-end latency. From due: guidellm's request_scheduled_latency; from sent: its request_latency, AIPerf's request latency, E2EL of vllm bench."""
    tpot_s: Origins
    """Mean time per output token of a request after its first. guidellm and AIPerf: inter-token latency; vllm bench: TPOT."""
    itl_s: Origins
    """Gaps between chunks of all requests. AIPerf: inter chunk latency; vllm bench: ITL."""
    queued_at_client_s: Distribution
    """Waiting at the client's concurrency limit."""
    connect_s: Distribution
    """Opening a connection, where one was opened."""
    tail_s: Distribution | None = None
    """From the last token to the end of the response, which no latency contains; None: not recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Requests by what became of them."""

    due: int
    sent: int
    ok: int
    """Answered as a whole."""
    failed: int
    errors: Mapping[str, int]
    """Requests by the cause of their failure, the ten most frequent."""
    cancelled: int = 0
    """Given up when the load ended or was stopped; they count neither as failed nor in the SLO attainment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Requests and tokens per second, from the first due time to the last end."""

    offered_per_s: float | None
    """Request rate of the schedule; None with a single request."""
    sent_per_s: float | None
    """Request rate that left the client."""
    completed_per_s: float
    output_tokens_per_s: float
    input_tokens_per_s: float
    span_s: float
    """From the first due time to the last end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Tokens that were asked for and counted, of answered requests."""

    output: int
    output_asked: int
    mean_output_per_request: float | None
    mean_input_per_request: float | None
    """As the server counts them; None where it does not tell."""
    input_source: Literal["usage", "asked for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodput:
    """Requests that met the SLO; failed ones miss it."""

    slo_ttft_s: float | None
    slo_tpot_s: float | None
    good: int
    attainment_fraction: float
    """SLO attainment: share of the requests that met it."""
    attainment_interval: tuple[float, float]
    """95 % interval of the attainment: Wilson's for the independent requests, since neighbours in a queue are alike."""
    good_per_s: float
    """Goodput: requests per second that met the SLO."""
    n_independent: float | None = None
    """Independent requests that tell as much of the attainment; None: an older run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyGoodput(Goodput):
    """The same for the steady part."""

    completed_per_s: float
    """Answers that ended inside the steady part, over its length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyPart(Latencies):
    """The part of a load after the warm-up."""

    start_s: float
    """End of the warm-up, in seconds since the start of the load."""
    end_s: float
    """Last arrival."""
    n_cut: int
    """Requests of the warm-up."""
    output_tokens_per_s: float | None
    goodput: SteadyGoodput | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixHits:
    """What the server's prefix cache answered, from its own counters or the usage of its answers."""

    hit_fraction: float | None
    """Share of the prompt tokens that came from the cache; None: not known."""
    warning: str | None
    counters_found: bool
    source: Literal["counters", "usage"] | None = None
    """Who says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadWarning:
    """Something that keeps figures from meaning what they seem to."""

    kind: WarningKind
    text: str
    n: int
    """Requests that it is about; 1 where it is about the load as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidAnswers:
    """Answers that were to be calls of tools, or to keep to a format."""

    valid: int
    answered: int
    valid_fraction: float | None
    """None where nothing was answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult(Latencies, Row):
    """The answers of a load."""

    counts: Counts
    rates: Rates | None
    """None where nothing was due."""
    goodput: Goodput | None
    token_source: Mapping[str, int]
    """Answered requests by who counted their tokens."""
    tokens: Tokens
    steady_state: SteadyPart
    client_health: ClientHealth | None
    """Whether the load generator was the bottleneck; None for an imported run, which does not tell."""
    prefix_cache: PrefixHits
    warnings: tuple[LoadWarning, ...] = ()
    """What keeps figures from meaning what they seem to; a comparison does not rank such a load."""
    tpot_rule: Mapping[str, int] = field(default_factory=dict)
    """Answered requests by how the tokens after their first chunk were found."""
    valid_answers: ValidAnswers | None = None
    """Of requests with tools or a response format."""
    dropped_fields: tuple[str, ...] = ()
    """Fields that the server refuses and that were left out."""
    notes: tuple[str, ...] = ()
    """How else the requests differ from what was asked for."""
    stopped_after_s: float | None = None
    """When the load was stopped, in seconds since its start; None: it ran to its end."""
    nonce: int | None = None
    """Prompt nonce: with the seed it gives the same prompts again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedRequest:
    """One request with what decides whether it met an SLO: seconds since the start of the load, to the microsecond."""

    due_s: float
    sent_s: float | None = None
    first_content_s: float | None = None
    """First token."""
    end_s: float | None = None
    output_tokens: int = 0
    error: str | None = None

    def meets(self, *, ttft_s: float | None, tpot_s: float | None) -> bool:
        """Return whether a request met the SLO, counted from when it was due; a latency that is None is not limited."""
        first, n = self.first_content_s, self.output_tokens
        if self.error:
            return False
        if first is None:
            return ttft_s is None and tpot_s is None and self.end_s is not None
        if ttft_s is not None and first - self.due_s > ttft_s:
            return False
        return tpot_s is None or n < 2 or self.end_s is None or (self.end_s - first) / (n - 1) <= tpot_s

    @property
    def is_cancelled(self) -> bool:
        """Whether it was given up because the load ended or was stopped."""
        return self.error == CANCELLED


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRequest(TimedRequest):
    """One request as a load keeps it."""

    connect_s: float = 0.0
    first_event_s: float | None = None
    last_content_s: float | None = None
    """Last token, where no gaps are kept."""
    gaps_us: tuple[int, ...] = ()
    """Gaps between chunks, in microseconds."""
    chunk_tokens: tuple[int, ...] | None = None
    """Tokens of each chunk, where they are known and not all 1."""
    input_tokens: int = 0
    token_source: TokenSource = "chunks"
    tail_s: float = 0.0
    """From the last token to the end of the response."""

    @classmethod
    def of(cls, r: RequestRecord) -> "KeptRequest":
        """Return what is kept of a request."""
        sent, first_event, first, end = (
            None if seconds is None else round(seconds, 6)
            for seconds in (r.sent_s, r.first_event_s, r.first_content_s, r.end_s)
        )
        return cls(
            due_s=round(r.due_s, 6),
            sent_s=sent,
            connect_s=round(r.connect_s, 6),
            first_event_s=first_event,
            first_content_s=first,
            end_s=end,
            gaps_us=tuple(round((b - a) * 1e6) for a, b in pairwise(r.chunk_s)),
            chunk_tokens=r.chunk_tokens if r.chunk_tokens and set(r.chunk_tokens) != {1} else None,
            input_tokens=r.usage_input_tokens or r.input_tokens,
            output_tokens=r.output_tokens,
            token_source=r.token_source,
            tail_s=round(r.tail_s, 6),
            error=r.error,
        )

    def timed(self) -> TimedRequest:
        """Return the request without what an SLO does not depend on."""
        return TimedRequest(**{f.name: getattr(self, f.name) for f in fields(TimedRequest)})

    @property
    def chunk_s(self) -> list[float]:
        """Arrival of each chunk, where the gaps are kept."""
        first = self.first_content_s
        return [] if first is None else [first + us / 1e6 for us in accumulate(self.gaps_us, initial=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model that a server offers."""

    id: str | None = None
    root: str | None = None
    max_model_len: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCard:
    """What a server says of itself."""

    models: tuple[ServedModel, ...] | None = None
    version: Mapping[str, str | None] | None = None
    limits: Mapping[str, str] = field(default_factory=dict)
    """Labels of ``cache_config_info`` that size the cache and the batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How fast a server is when it is asked alone, and what it answers; what it lacks or fails at is None."""

    health_s: float | None = None
    """Round trip of ``/health``."""
    tokenize_s: float | None = None
    """Time of ``/tokenize`` for a prompt of 192 words."""
    ttft_s: float | None = None
    tpot_s: float | None = None
    long_ttft_s: float | None = None
    """TTFT of the prompt of 192 words."""
    answers: tuple[str | None, ...] = ()
    """Greedy answers; the same model in the same precision gives the same ones."""
    failed_fraction: float = 0.0
    problems: Mapping[str, str] = field(default_factory=dict)
    """Why something is None, by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSamples(Samples):
    """Raw samples of a load."""

    requests: Sequence[KeptRequest] = ()
    started_monotonic_s: float | None = None
    """Start on the machine's monotonic clock, that of the telemetry."""
    server: ServerCard | None = None
    probe: Probe | None = None
    telemetry: SampledSignals | None = None


ROWS = (LoadResult,)
SAMPLES = LoadSamples
