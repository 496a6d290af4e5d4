"""What each precision costs: accuracy against the float32 reference, memory, and interleaved speed."""

import math
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import HELD_OUT_TEXT, located
from workbench.compress.methods import METHODS, REFERENCE_METHOD, unavailable_reason
from workbench.compress.process import VariantFailed, VariantNotAvailable, VariantProcess
from workbench.compress.rows import Accuracy, DecodeTime, QuantizationSamples, VariantResult, WindowMeans
from workbench.compress.spec import QuantizationSpec
from workbench.compress.variant import Opened, TokenValues, VariantOperations
from workbench.core.errors import DoesNotFit
from workbench.core.progress import Progress
from workbench.core.rows import Failure
from workbench.core.statistics import Floats, Interval, block_bootstrap, drift_fraction, median_over_rounds
from workbench.core.units import shown_bytes
from workbench.measuring.envelope import Record
from workbench.measuring.machine import OtherLoad
from workbench.measuring.text import Ids, read_text, windows_of
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import n_usable_cpus

SHARED_MEMORY_SHARE = 0.6  # of the free memory may be held by variants that are timed interleaved
OPEN_WORK, ROUND_WORK = 8.0, 6.0  # loading and one timing round, in units of one accuracy window


def measure(spec: QuantizationSpec, record: Record) -> Iterator[Progress]:
    """Yield progress and fill the record with a row for each method; finished parts are kept for a second call."""
    return _Measurement(spec, record).events()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Accuracy and memory of a method, kept for a resumed measurement."""

    opened: Opened
    values: TokenValues | None
    peak_memory_bytes: int
    interleaved: bool = True


class _Measurement:
    """The state of one measurement while it runs."""

    def __init__(self, spec: QuantizationSpec, record: Record) -> None:
        self.spec, self.record = spec, record
        self.device = chosen_device(spec.device)
        record.device = self.device
        self.model = model_spec_from(spec.model)
        self.located = replace(spec, model=located(spec.model))
        self.threads = spec.threads or max(1, n_usable_cpus())
        self.windows: Ids | None = None
        self.open_variants: dict[str, VariantProcess] = {}
        self.waiting: dict[str, VariantProcess] = {}
        self.held_bytes = 0
        self.parts: dict[str, _Part] = {}
        self.window_means: dict[str, WindowMeans] = {}
        self.decode_s: dict[str, dict[int, list[float]]] = {}
        self.prefill_s: dict[str, list[float]] = {}
        self.other_load: dict[str, float] = {}
        self.not_available: dict[str, str] = {}
        self.prefix_ids: list[int] = []
        self.done = 0.0
        self.runnable = [m for m in spec.methods if unavailable_reason(m, self.device) is None]
        windows = 0 if spec.random_weights else spec.n_windows
        n = len(self.runnable)
        self.total = n * (OPEN_WORK + windows + ROUND_WORK * (spec.rounds + 1)) + (
            OPEN_WORK + windows if windows else 0
        )

    def events(self) -> Iterator[Progress]:
        try:
            yield self._progress("starting", 0)
            if not self.spec.random_weights:
                yield from self._reference()
            for method, following in zip(self.runnable, [*self.runnable[1:], None], strict=True):
                yield from self._compare(method, following)
            yield from self._interleaved_speed(list(self.open_variants))
            self.record.rows += [self._result(method) for method in self.spec.methods]
            self.record.samples = QuantizationSamples(
                per_window=self.window_means,
                decode_s=self.decode_s,
                prefill_s=self.prefill_s,
                prefix_ids=self.prefix_ids,
            )
        finally:
            for variant in [*self.open_variants.values(), *self.waiting.values()]:
                variant.close()
            shutil.rmtree(self.record.kept.scratch, ignore_errors=True)

    def _progress(self, step: str, work: float) -> Progress:
        self.done += work
        return Progress(step=step, done=min(self.done, self.total), total=self.total)

    def _start(self, method: str) -> VariantProcess:
        scratch = self.record.kept.scratch
        return VariantProcess(self.located, method, device=self.device.kind, folder=scratch, threads=self.threads)

    def _reference(self) -> Iterator[Progress]:
        """Read the text and keep the float32 model's logits on disk, one window at a time."""
        text = read_text(self.spec.text, default=HELD_OUT_TEXT)
        reference = self._start(REFERENCE_METHOD)
        try:
            ids, prefix = reference.call(VariantOperations.windows, text)
            length = self.spec.window_tokens + 1
            self.windows = windows_of(ids, n=self.spec.n_windows, length=length, what="accuracy", prefix=prefix)
            self.prefix_ids = prefix.tolist()
            needed = self.windows.size * self.model.vocab_size * 4
            free = shutil.disk_usage(self.record.kept.scratch).free
            if needed > 0.9 * free:
                raise DoesNotFit(
                    f"The reference logits need {shown_bytes(needed)} of disk; {shown_bytes(free)} are free.",
                    remedy="Use fewer or shorter windows, or free disk space.",
                )
            reference.call(VariantOperations.open, self.windows)
            yield self._progress("reference loaded", OPEN_WORK)
            for i, window in enumerate(self.windows):
                reference.call(VariantOperations.write_reference, i, len(self.windows), window)
                yield self._progress(f"reference · window {i + 1} of {len(self.windows)}", 1)
        finally:
            reference.close()

    def _compare(self, method: str, following: str | None) -> Iterator[Progress]:
        """Load a variant, compare it with the reference, and keep it open for the interleaved timing."""
        label = METHODS[method].label
        kept = self.record.kept.read(method, _Part)
        variant = self.waiting.pop(method, None) or self._start(method)
        self.open_variants[method] = variant
        if following:
            self.waiting[following] = self._start(following)  # it loads its libraries meanwhile
        try:
            opened, values = variant.call(VariantOperations.open, self.windows), None
            yield self._progress(f"{label} · loaded", OPEN_WORK)
            if kept and kept.values and self.windows is not None:
                values = kept.values
                yield self._progress(f"{label} · accuracy kept from before", len(self.windows))
            elif self.windows is not None:
                qualities = []
                for i, window in enumerate(self.windows):
                    qualities.append(variant.call(VariantOperations.evaluate, i, window))
                    yield self._progress(f"{label} · window {i + 1} of {len(self.windows)}", 1)
                values = TokenValues.of(qualities)
            variant.call(VariantOperations.prefill_s)
            variant.call(VariantOperations.decode_s, max(self.spec.batches))
            peak_bytes = variant.call(VariantOperations.peak_memory_bytes)
            self.parts[method] = part = _Part(opened=opened, values=values, peak_memory_bytes=peak_bytes)
            self.record.kept.write(method, part)
            self.held_bytes += peak_bytes
            if self.held_bytes > SHARED_MEMORY_SHARE * self.device.free_bytes:
                self.parts[method] = replace(part, interleaved=False)
                yield from self._interleaved_speed([method])
                self._close(method)
                self.held_bytes -= peak_bytes
        except VariantNotAvailable as failure:
            self.not_available[method] = str(failure)
            self.parts.pop(method, None)
            self._close(method)
            yield self._progress(f"{label} · not available: {failure.cause}", 0)
        except VariantFailed as failure:
            self._fail(method, failure)
            yield self._progress(f"{label} · failed: {failure.cause}", 0)

    def _close(self, method: str) -> None:
        self.open_variants.pop(method).close()

    def _fail(self, method: str, failure: VariantFailed) -> None:
        details = str(failure.__cause__ or "")
        self.record.failures.append(
            Failure(subject=method, cause=failure.cause, remedy=failure.remedy, details=details)
        )
        self.parts.pop(method, None)
        self._close(method)

    def _interleaved_speed(self, methods: list[str]) -> Iterator[Progress]:
        """Run a warm-up round, then rounds in which all variants are timed once, interleaved in random order."""
        rng = random.Random(self.spec.seed)
        others = OtherLoad()
        for number in range(self.spec.rounds + 1):
            for method in rng.sample(methods, len(methods)):
                if method not in self.open_variants:
                    continue
                try:
                    variant = self.open_variants[method]
                    prefill = variant.call(VariantOperations.prefill_s)
                    decode = {b: variant.call(VariantOperations.decode_s, b) for b in self.spec.batches}
                except VariantFailed as failure:
                    self._fail(method, failure)
                    continue
                if number:
                    self.prefill_s.setdefault(method, []).append(prefill)
                    times = self.decode_s.setdefault(method, {b: [] for b in self.spec.batches})
                    for batch, seconds in decode.items():
                        times[batch] += seconds
                name = f"speed round {number} of {self.spec.rounds}" if number else "speed warm-up"
                yield self._progress(f"{name} · {METHODS[method].label}", ROUND_WORK)
        self.other_load |= dict.fromkeys(methods, others.fraction())

    def _result(self, method: str) -> VariantResult:
        reason = unavailable_reason(method, self.device) or self.not_available.get(method)
        if reason:
            return VariantResult(method=method, status="not available", reason=reason)
        if method not in self.parts:
            cause = next(f.cause for f in self.record.failures if f.subject == method)
            return VariantResult(method=method, status="failed", reason=cause)
        part = self.parts[method]
        return VariantResult(
            method=method,
            status="measured",
            execution=part.opened.execution,
            accuracy=self._accuracy(method, part.values) if part.values else None,
            weight_bytes=part.opened.weight_bytes,
            held_weight_bytes=part.opened.held_weight_bytes,
            coverage=part.opened.coverage,
            quantize_s=part.opened.quantize_s,
            peak_memory_bytes=part.peak_memory_bytes,
            interleaved=part.interleaved,
            prefill_tokens_per_s=self.spec.prefill_tokens / float(np.median(self.prefill_s[method])),
            decode=tuple(
                decode_time(batch, times, n_rounds=self.spec.rounds, other_load_fraction=self.other_load[method])
                for batch, times in self.decode_s[method].items()
            ),
        )

    def _accuracy(self, method: str, values: TokenValues) -> Accuracy:
        kl, nll, agrees = (np.asarray(v, dtype=np.float64) for v in (values.kl_nat, values.nll_nat, values.agrees))
        reference = self.parts.get(REFERENCE_METHOD)
        base = np.asarray(reference.values.nll_nat) if reference and reference.values else None
        self.window_means[method] = WindowMeans(
            mean_kl_nat_per_token=kl.mean(1).tolist(),
            mean_nll_nat_per_token=nll.mean(1).tolist(),
            top1_agreement_fraction=agrees.mean(1).tolist(),
        )
        return accuracy_of(kl, nll, agrees, reference_nll=base, seed=self.spec.seed)


def accuracy_of(kl: Floats, nll: Floats, agrees: Floats, *, reference_nll: Floats | None, seed: int) -> Accuracy:
    """Return the accuracy of a model from its per-token values: (windows, tokens) each.

    Intervals are paired: both models are scored on the same drawn windows.
    """
    n = kl.shape[0]
    per_window, agreement, positive = kl.mean(1), agrees.mean(1), (0.0, math.inf)
    change: Interval | None = None
    if reference_nll is not None:
        difference = (nll - reference_nll).mean(1)
        change = block_bootstrap(n, lambda i: float(np.expm1(difference[i].mean())), seed=seed)
    return Accuracy(
        n_tokens=int(kl.size),
        n_windows=n,
        perplexity=math.exp(float(nll.mean())),
        perplexity_change_fraction=change,
        mean_kl_nat_per_token=block_bootstrap(n, lambda i: float(per_window[i].mean()), seed=seed, within=positive),
        p99_kl_nat_per_token=block_bootstrap(
            n, lambda i: float(np.quantile(kl[i], 0.99)), seed=seed, resamples=300, within=positive
        ),
        top1_agreement_fraction=block_bootstrap(n, lambda i: float(agreement[i].mean()), seed=seed, within=(0.0, 1.0)),
    )


def decode_time(
    batch: int, seconds: Sequence[float], *, n_rounds: int, other_load_fraction: float | None = None
) -> DecodeTime:
    """Return percentiles of step times, with an interval for the median over rounds: steps of one round are alike."""
    times = np.asarray(seconds)
    by_round = np.median(times[: times.size // n_rounds * n_rounds].reshape(n_rounds, -1), axis=1)
    p50_s, rounds = float(np.median(times)), median_over_rounds(by_round)
    return DecodeTime(
        batch=batch,
        p50_s=p50_s,
        p50_low_s=min(rounds.low, p50_s),
        p50_high_s=max(rounds.high, p50_s),
        p99_s=float(np.quantile(times, 0.99)),
        n=times.size,
        n_rounds=n_rounds,
        drift_fraction=drift_fraction(by_round.tolist()),
        other_load_fraction=other_load_fraction,
    )
