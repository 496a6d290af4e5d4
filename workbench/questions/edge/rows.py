"""What a run on a small device holds: compressions, guarantees, students, runtimes, and settings under limits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Literal, get_args

import numpy as np

from workbench.core.rows import Row
from workbench.core.runs import Run
from workbench.core.units import MIB
from workbench.estimate.cascade import HeldOut, Threshold
from workbench.measuring.interleaved import BatchTimes, Speedup
from workbench.questions.edge.spec import EdgeSpec

EnergySource = Literal["counter", "estimate"]
"""Origin of an energy: the processor's counter, or processor time times an assumed power."""
Limit = Literal["latency", "memory", "power", "accuracy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Accuracy of a compression on inputs whose classes are known, relative to the float network."""

    fraction: float
    interval: tuple[float, float]
    """95 % interval of the accuracy (Wilson 1927)."""
    mcnemar_p: float
    """p-value of McNemar's paired test against the float network."""
    is_worse: bool
    """Whether accuracy is lost and the paired test is significant at 5 %."""
    lost_fraction: float
    """Accuracy of the float network minus that of the compression."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Perplexity:
    """Perplexity of a language model, relative to float32."""

    value: float
    change_fraction: float | None = None
    """Relative change of the perplexity; None for float32 itself."""
    change_interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """Similarity of the outputs to those of the reference; of several outputs, of the one that differs most."""

    cosine_mean: float
    """Mean over the inputs of the cosine between the two outputs."""
    cosine_lowest: float
    difference_fraction: float
    """Root mean square of the difference, over that of the reference."""
    same_nearest_fraction: float | None = None
    """Of embeddings: share of the inputs whose nearest other input is the same."""
    same_ten_nearest_fraction: float | None = None
    """Of embeddings: share of the ten nearest other inputs that are the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseSpeedups:
    """Speed of a compression relative to the compression that it was applied to."""

    technique: str
    """What it was applied to."""
    speedups: Mapping[int, Speedup]
    """Speed-ups by batch size, in the same rounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantResult(Row):
    """Accuracy, size, time, memory and energy of one compression."""

    part: ClassVar[str] = "variant"
    technique: str
    label: str
    """Description of the technique in words."""
    n: int
    """Inputs that were answered; tokens of a language model."""
    flips: int | None
    """Answers that differ from those of the float network (of a language model: from those of PyTorch); None where outputs are no classes."""
    n_bytes: int
    """Size of the graph on disk."""
    gzip_bytes: int | None = None
    """Size of the graph after gzip."""
    note: str = ""
    accuracy: Accuracy | None = None
    """None where the classes of the inputs are not known."""
    corrupted_accuracy_fraction: float | None = None
    """Accuracy on inputs with noise and hidden parts."""
    accuracy_before_tuning_fraction: float | None = None
    """Accuracy after pruning, before fine-tuning."""
    perplexity: Perplexity | None = None
    """Of a language model; None for other networks."""
    similarity: Similarity | None = None
    """Of outputs that are numbers, to those of the float network (of an encoder's folder: to those of PyTorch)."""
    peak_bytes: int | None = None
    """Memory that the model adds to the process."""
    cpu_s: float | None = None
    """Processor time for one input."""
    energy_j: float | None = None
    """Energy that one input takes."""
    energy_source: EnergySource | None = None
    times: Mapping[int, BatchTimes]
    """Times by batch size; the reference is float32."""
    base: BaseSpeedups | None = None
    """Speed relative to what the technique was applied to, where that is another compression."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarantee(Row):
    """Threshold of a cascade or an early exit, and what it gives on held-out data."""

    part: ClassVar[str] = "guarantee"
    technique: str
    threshold: Threshold
    held_out: HeldOut


@dataclass(frozen=True, slots=True, kw_only=True)
class Distillation(Row):
    """Accuracy of students that learn from few labels, alone and from a teacher; means over seeds."""

    part: ClassVar[str] = "distillation"
    teacher: Literal["same labels", "all labels"]
    """Labels that the teacher learnt from."""
    labels_per_class: int
    accuracy_alone_fraction: float
    accuracy_distilled_fraction: float
    gain_fraction: float
    """Accuracy with the teacher minus accuracy alone."""
    gain_interval: tuple[float, float] | None
    """95 % interval over seeds (Student's t); None with one seed."""
    n_seeds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeTimes:
    """What a runtime takes for a network at one batch size; the reference is ONNX Runtime."""

    batch: int
    cores_used: float
    """Processor time over elapsed time."""
    times: BatchTimes


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeResult(Row):
    """A float network in one runtime."""

    part: ClassVar[str] = "runtime"
    runtime: str
    subject: str
    """Network that ran; "any" for a runtime that did not."""
    state: Literal["measured", "not run", "failed"]
    remedy: str = ""
    """Reason why a runtime did not run, or the command that installs it."""
    measured: RuntimeTimes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredSetting:
    """A technique with a number of threads and a batch size: time, memory, power, and the limits that it exceeds."""

    technique: str
    threads: int
    batch: int
    times: BatchTimes
    inputs_per_s: float
    peak_bytes: int
    """Memory that the model adds to the process."""
    power_w: float
    power_source: EnergySource
    breaks: tuple[Limit, ...]
    """Limits of the spec that this setting exceeds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting(MeasuredSetting, Row):
    """A setting that was measured."""

    part: ClassVar[str] = "setting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(MeasuredSetting, Row):
    """The setting with the highest throughput within all limits."""

    part: ClassVar[str] = "choice"

    @classmethod
    def of(cls, setting: Setting) -> "Choice":
        """Return the choice of a setting."""
        return cls(**{f.name: getattr(setting, f.name) for f in fields(setting)})


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveResult(Row):
    """Latency of batch 1 while the machine is quiet or busy, with a fixed model or one that follows the machine."""

    part: ClassVar[str] = "adaptive"
    phase: Literal["quiet", "busy", "quiet again"]
    choice: Literal["fixed", "adaptive"]
    model: str
    """Technique that answered most inputs."""
    p50_s: float
    p99_s: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLengths:
    """Real lengths of inputs, in tokens."""

    n: int
    """Inputs."""
    mean: float
    p50: float
    p95: float
    max: int

    @classmethod
    def of(cls, lengths: Sequence[int]) -> "TokenLengths":
        """Return the statistics of lengths: (inputs,)."""
        p50, p95 = (float(q) for q in np.quantile(lengths, [0.5, 0.95]))
        return cls(n=len(lengths), mean=float(np.mean(lengths)), p50=p50, p95=p95, max=int(max(lengths)))


Padding = Literal["static", "dynamic", "sorted"]
PADDINGS: tuple[Padding, ...] = get_args(Padding)


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthsResult(Row):
    """Time and memory of inputs of different lengths with one padding, at one batch size."""

    part: ClassVar[str] = "lengths"
    padding: Padding
    """Static: to the longest of all inputs, in a graph of fixed shapes; dynamic: to the longest of the batch; sorted: likewise, after sorting all inputs by length."""
    batch: int
    source: str
    """Description of the inputs."""
    lengths: TokenLengths
    """Real lengths of the inputs."""
    n_tokens: int
    """Tokens that the graph processes to answer all inputs once, padding among them."""
    difference_fraction: float
    """Largest difference of an answer at a real token from that with static padding, over the largest answer."""
    input_s: float
    """Time for one input: that for all inputs, divided by their number; the median of the rounds."""
    input_interval_s: tuple[float, float] | None
    """95 % interval of the median over rounds."""
    speedup: Speedup | None
    """Relative to static padding; None for static padding itself."""
    peak_bytes: int | None
    """Memory that a process adds which answers all batches twice."""
    middle_batch_peak_bytes: int | None
    """Memory that a process adds which answers the batch of median length alone, twice."""
    energy_j: float | None
    """Energy that one input takes."""
    energy_source: EnergySource | None


ROWS = (VariantResult, Guarantee, Distillation, RuntimeResult, Setting, Choice, AdaptiveResult, LengthsResult)


def batches_of(run: Run | None) -> list[int]:
    """Return the batch sizes that a run timed."""
    variant = run.row(VariantResult) if run else None
    return list(variant.times) if variant else [1]


def first_shown(runs: Iterable[Run]) -> Run | None:
    """Return the newest of runs, newest first, in which a setting was chosen; without one, the newest."""
    own = [r for r in runs if r.kind == EdgeSpec.kind]
    return next((r for r in own if r.row(Choice)), next(iter(own), None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of a setting, in the units of the spec; None is no limit."""

    latency_ms: float | None
    memory_mib: float | None
    power_w: float | None

    @classmethod
    def of(cls, spec: EdgeSpec) -> "Limits":
        """Return the limits of a spec."""
        return cls(latency_ms=spec.latency_ms, memory_mib=spec.memory_mib, power_w=spec.power_w)

    def broken(self, *, p99_s: float, peak_bytes: float, power_w: float) -> tuple[Limit, ...]:
        """Return the limits that a setting exceeds, from the latency of a batch, the memory added to the process, and the power."""
        values: tuple[tuple[Limit, float, float | None], ...] = (
            ("latency", 1e3 * p99_s, self.latency_ms),
            ("memory", peak_bytes / MIB, self.memory_mib),
            ("power", power_w, self.power_w),
        )
        return tuple(name for name, value, limit in values if limit is not None and value > limit)
