"""What a run of images holds: cells of a size and number, streams with a hit rate, and the break-even of each cache."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from workbench.core.rows import Row, Samples
from workbench.core.runs import Run
from workbench.estimate.image_time import TtftParts


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell(Row):
    """TTFT of requests with one number of images of one size, by part, measured and predicted."""

    part: ClassVar[str] = "cell"
    height_px: int
    width_px: int
    n_images: int
    prompt_tokens: int
    """Tokens of the prompt, image tokens among them."""
    is_held_out: bool
    """Whether the prediction was fitted to other sizes only."""
    ttft_p50_s: float
    ttft_p50_interval_s: tuple[float, float]
    """95 % interval of the median."""
    parts: TtftParts
    """Medians of the measured parts."""
    predicted: TtftParts
    """Predicted from the cells of other sizes and numbers."""
    computed: TtftParts | None
    """Estimated from a calibration of the device alone; None where there is none."""
    error_fraction: float
    """Predicted over measured TTFT, minus 1."""
    n: int
    """Number of requests that were measured."""

    @property
    def label(self) -> str:
        """Number and size of the images."""
        return f"{self.n_images} × {self.height_px}×{self.width_px}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream(Row):
    """Mean TTFT with one cache at one hit rate."""

    part: ClassVar[str] = "stream"
    cache: str
    hit_rate: float
    """Share of the requests whose image was sent before."""
    ttft_mean_s: float
    ttft_mean_interval_s: tuple[float, float]
    """95 % bootstrap interval of the mean."""
    predicted_ttft_mean_s: float
    """Predicted from the parts without a cache and the time of a hash."""
    n: int
    """Number of requests that were measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven(Row):
    """Hit rate from which on a cache pays; a rate that is None is never reached."""

    part: ClassVar[str] = "break-even"
    cache: str
    without_s: float
    """Mean TTFT without a cache."""
    missed_s: float
    """Mean TTFT where all images are new to the cache."""
    hit_s: float
    """Mean TTFT where the cache holds all images."""
    hit_rate: float | None
    """Measured on streams of hits and misses."""
    hit_rate_interval: tuple[float, float]
    """95 % bootstrap interval of the measured rate."""
    predicted_hit_rate: float | None
    """Predicted from requests that all miss or all hit."""
    by_parts_hit_rate: float | None
    """Estimated from the parts without a cache, if a miss cost no more than the time of a hash."""


ROWS = (Cell, Stream, BreakEven)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTimes:
    """One request alone, until its first token."""

    ttft_s: float
    accept_s: float
    """Processor, tokenizer and hash, on the host."""
    encoder_s: float
    projector_s: float
    prompt_tokens: int
    is_hit: bool | None = None
    """Whether its image was sent before; None where no cache is measured."""

    def to_microseconds(self) -> Self:
        """Return the same with times rounded to the microsecond."""
        times = (round(s, 6) for s in (self.ttft_s, self.accept_s, self.encoder_s, self.projector_s))
        ttft_s, accept_s, encoder_s, projector_s = times
        return replace(self, ttft_s=ttft_s, accept_s=accept_s, encoder_s=encoder_s, projector_s=projector_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSamples:
    """Requests with text and no image."""

    n_tokens: int
    requests: Sequence[RequestTimes]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSamples:
    """Requests with one number of images of one size."""

    height_px: int
    width_px: int
    n_images: int
    requests: Sequence[RequestTimes]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSamples:
    """Requests with an image of the spec's ``hit_size`` at one hit rate."""

    hit_rate: float
    requests: Sequence[RequestTimes]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStart:
    """The report of an engine that is ready."""

    ready_s: float
    """Time that the engine took to start."""
    encoder_params: int
    n_projectors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSamples:
    """Requests of one engine, with times to the microsecond."""

    start: EngineStart
    texts: Sequence[TextSamples] = ()
    images: Sequence[ImageSamples] = ()
    streams: Sequence[StreamSamples] = ()
    hash_s: Sequence[float] = ()
    """Times to recognise an image by its hash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesSamples(Samples):
    """Raw samples of a run of images."""

    engines: Mapping[str, EngineSamples] = field(default_factory=dict)
    """Samples of each engine, by its cache."""


SAMPLES = ImagesSamples


def cells(run: Run) -> list[Cell]:
    """Return the measured cells, the fastest first."""
    return sorted(run.rows(Cell), key=lambda c: c.ttft_p50_s)
