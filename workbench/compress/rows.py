"""What a quantization run holds: one row for each method, and how far a model is from its reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from workbench.core.language import gettext, ngettext
from workbench.core.rows import Row, Samples
from workbench.core.statistics import Interval
from workbench.core.units import NOT_KNOWN, shown_percent

LayerKind = Literal["linear", "conv1d", "experts", "router", "embedding", "head", "embedding and head", "other"]
KINDS: Mapping[LayerKind, str] = {
    "linear": gettext("linear"),
    "conv1d": "conv1d",
    "experts": gettext("experts"),
    "router": gettext("router"),
    "embedding": gettext("embedding"),
    "head": gettext("head"),
    "embedding and head": gettext("embedding and head"),
    "other": gettext("other"),
}
"""What readers see of a kind of layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KindCoverage:
    """Weights of one kind of layer, and those of them that a method has replaced by a narrower format."""

    kind: LayerKind
    """linear: fused projections included. conv1d: GPT-2's. experts: routed ones. embedding and head: one tensor that serves as both.
    other: norms, biases, convolutions, states and whatever else is no product with a stored matrix."""
    n_weights: int
    n_quantized: int
    n_read_per_token: float
    """Weights that are read for one token: one row of an embedding, the chosen ones of all experts."""
    n_quantized_read_per_token: float


Coverage = tuple[KindCoverage, ...]


def quantized_fraction(coverage: Coverage) -> float:
    """Return the share of a model's weights that were replaced."""
    return sum(c.n_quantized for c in coverage) / max(1, sum(c.n_weights for c in coverage))


def quantized_read_fraction(coverage: Coverage) -> float:
    """Return the share of the bytes read per token, counted in one precision, that belongs to replaced weights."""
    return sum(c.n_quantized_read_per_token for c in coverage) / max(1.0, sum(c.n_read_per_token for c in coverage))


def coverage_text(coverage: Coverage) -> str:
    """Return what was quantized in words: all weights, the bytes read per token, and each kind of layer."""
    if not coverage:
        return NOT_KNOWN
    kinds = gettext(", ").join(
        f"{KINDS[c.kind]} {shown_percent(c.n_quantized / c.n_weights)}" for c in coverage if c.n_weights
    )
    return gettext("{weights} of the weights, {bytes} of the bytes read per token ({kinds})").format(
        weights=shown_percent(quantized_fraction(coverage), 1),
        bytes=shown_percent(quantized_read_fraction(coverage), 1),
        kinds=kinds,
    )


def before_each(n_special: int) -> str:
    """Return the special tokens before each window of text in words; empty where the tokenizer sets none."""
    if not n_special:
        return ""
    form = ngettext(
        ", each after {n} special token such as BOS", ", each after {n} special tokens such as BOS", n_special
    )
    return form.format(n=n_special)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """How far a model's next-token distributions are from its reference's, each value with its 95 % interval."""

    n_tokens: int
    """Tokens of text that were scored."""
    n_windows: int | None = None
    """Windows of text, which the intervals are over; with few of them they are wide."""
    perplexity: float
    perplexity_change_fraction: Interval | None
    """Perplexity over that of the reference, less 1; None where the reference was not scored on the same text."""
    mean_kl_nat_per_token: Interval
    """Mean KL divergence from the reference, KL(reference || model)."""
    p99_kl_nat_per_token: Interval
    """KL divergence that one token in a hundred exceeds."""
    top1_agreement_fraction: Interval
    """Share of positions at which the most likely next token is the reference's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeTime:
    """Time of one decoding step at one batch size; the step makes one token for each sequence."""

    batch: int
    p50_s: float
    p50_low_s: float
    """Low end of the 95 % interval of the median."""
    p50_high_s: float
    """High end of the 95 % interval of the median."""
    p99_s: float
    n: int
    """Steps that were timed."""
    n_rounds: int | None = None
    """Rounds that they were timed in, over which the interval is; None: an older run, whose interval took all steps as independent."""
    drift_fraction: float | None = None
    """Change from the first to the last third of the rounds; None below 6 rounds."""
    other_load_fraction: float | None = None
    """Share of the machine's processor time that other processes took meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantResult(Row):
    """What one method costs. ``None`` means that it was not measured; ``reason`` then says why."""

    method: str
    status: Literal["measured", "not available", "failed"]
    reason: str | None = None
    execution: str | None = None
    """How it ran: "eager", "compiled" (torch.compile with CUDA graphs) or "onnxruntime"."""
    accuracy: Accuracy | None = None
    """Distance from the model in FP32; None where the weights are random."""
    weight_bytes: int | None = None
    """Bytes of all tensors as the method's format stores them, embeddings and scales included."""
    held_weight_bytes: int | None = None
    """Bytes of all tensors as this process held them; more where a kernel keeps 4-bit weights unpacked."""
    coverage: Coverage = ()
    """Weights by kind of layer, and those of them that the method replaced."""
    peak_memory_bytes: int | None = None
    """CUDA: most memory allocated while running. CPU: most resident memory over that before loading."""
    quantize_s: float | None = None
    """Time that quantizing the loaded model took."""
    prefill_tokens_per_s: float | None = None
    decode: tuple[DecodeTime, ...] = ()
    """Time of a decoding step, for each batch size."""
    interleaved: bool = True
    """Whether the speed was measured interleaved with that of the other variants."""

    def decode_at(self, batch: int) -> DecodeTime | None:
        """Return the decoding time at one batch size, if it was measured."""
        return next((d for d in self.decode if d.batch == batch), None)


def quantized_cell(result: VariantResult) -> str:
    """Return the share of the weights that a method replaced, for a table; a dash where it was not counted."""
    return shown_percent(quantized_fraction(result.coverage), 1) if result.coverage else NOT_KNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowMeans:
    """Means over the tokens of each window of text, in the order of the text."""

    mean_kl_nat_per_token: Sequence[float]
    mean_nll_nat_per_token: Sequence[float]
    """Negative log-likelihood of the text."""
    top1_agreement_fraction: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationSamples(Samples):
    """Raw samples of a quantization run, by method."""

    per_window: Mapping[str, WindowMeans] = field(default_factory=dict)
    decode_s: Mapping[str, Mapping[int, Sequence[float]]] = field(default_factory=dict)
    """Time of each decoding step, by method and batch size."""
    prefill_s: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Time of each timed prefill."""
    prefix_ids: Sequence[int] = field(default_factory=list)
    """Special tokens, such as BOS, that stand before each window of text because the model's tokenizer sets them before a text."""

    def in_order(self) -> Mapping[str, Sequence[float]]:
        """Return KL divergence and negative log-likelihood of each window of text."""
        series: dict[str, Sequence[float]] = {}
        for method, means in self.per_window.items():
            series[f"{method}: KL, nat/token"] = means.mean_kl_nat_per_token
            series[f"{method}: NLL, nat/token"] = means.mean_nll_nat_per_token
        return series


ROWS = (VariantResult,)
SAMPLES = QuantizationSamples
