"""What each precision costs: accuracy against the float32 reference, memory, and speed in turns."""

import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import HELD_OUT_TEXT, located
from workbench.compress.process import VariantFailed, VariantProcess
from workbench.core.devices import Device
from workbench.core.errors import DoesNotFit, InvalidSpec
from workbench.core.progress import SCRATCH, Progress
from workbench.core.quantization import (
    METHODS,
    REFERENCE_METHOD,
    DecodeTime,
    QuantizationSpec,
    VariantResult,
    perplexity,
    unavailable_reason,
)
from workbench.core.runs import Run, last_run, utc_now
from workbench.core.statistics import Interval, block_bootstrap, quantile_interval
from workbench.core.units import shown_bytes
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import n_usable_cpus, read_environment

KIND = "quantization"
SHARED_MEMORY_SHARE = 0.6  # of the free memory may be held by variants that wait for their turn
OPEN_WORK, ROUND_WORK = 8.0, 6.0  # loading and one timing round, in units of one accuracy window
Ids = npt.NDArray[np.int64]


def run(spec: QuantizationSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec, measured in this process's children; nothing is stored."""
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        return last_run(measure(spec, Path(folder)), on_progress)


def measure(spec: QuantizationSpec, folder: Path) -> Iterator[Progress | Run]:
    """Progress and, last, the run. ``folder`` holds finished parts, so that a second call goes on from there."""
    return _Measurement(spec, folder).events()


def read_text(path: str | None) -> str:
    """The text of the accuracy check; raises ``InvalidSpec`` when it cannot be read."""
    source = Path(path).expanduser() if path else HELD_OUT_TEXT
    try:
        return source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSpec(f"The text {source} cannot be read: {error}.", remedy="Name a UTF-8 text file.") from error


def cut_windows(ids: Ids, spec: QuantizationSpec) -> Ids:
    """Windows spread evenly over a text: (windows, tokens + 1); raises ``InvalidSpec`` when it is too short."""
    length = spec.window_tokens + 1
    if ids.size < spec.n_windows * length:
        fits = ids.size // length
        raise InvalidSpec(
            f"The text has {ids.size} tokens; {spec.n_windows} windows of {spec.window_tokens} need {spec.n_windows * length}.",
            remedy=f"Use at most {fits} windows or a longer text." if fits else "Use a longer text or shorter windows.",
        )
    starts = np.linspace(0, ids.size - length, spec.n_windows).astype(np.int64)
    return np.stack([ids[s : s + length] for s in starts])


class _Measurement:
    """The state of one measurement while it runs."""

    def __init__(self, spec: QuantizationSpec, folder: Path) -> None:
        self.spec, self.parts_folder, self.scratch = spec, folder / "parts", folder / SCRATCH
        self.device: Device = chosen_device(spec.device)
        self.model = model_spec_from(spec.model)
        self.found = replace(spec, model=located(spec.model))
        self.threads = max(1, n_usable_cpus())
        self.windows: Ids | None = None
        self.open_variants: dict[str, VariantProcess] = {}
        self.waiting: dict[str, VariantProcess] = {}
        self.held_bytes = 0
        self.parts: dict[str, dict[str, Any]] = {}
        self.failures: list[Mapping[str, str]] = []
        self.samples: dict[str, Any] = {"per_window": {}, "decode_s": {}, "prefill_s": {}}
        self.done = 0.0
        self.runnable = [m for m in spec.methods if unavailable_reason(m, self.device) is None]
        windows = 0 if spec.random_weights else spec.n_windows
        n = len(self.runnable)
        self.total = n * (OPEN_WORK + windows + ROUND_WORK * (spec.rounds + 1)) + (
            OPEN_WORK + windows if windows else 0
        )

    def events(self) -> Iterator[Progress | Run]:
        started_at = utc_now()
        self.parts_folder.mkdir(parents=True, exist_ok=True)
        self.scratch.mkdir(exist_ok=True)
        try:
            yield self._progress("starting", 0)
            if not self.spec.random_weights:
                yield from self._reference()
            for method, following in zip(self.runnable, [*self.runnable[1:], None], strict=True):
                yield from self._accuracy(method, following)
            yield from self._speed_in_turns(list(self.open_variants))
            results = [self._result(method) for method in self.spec.methods]
        finally:
            for variant in [*self.open_variants.values(), *self.waiting.values()]:
                variant.close()
            shutil.rmtree(self.scratch, ignore_errors=True)
        yield Run(
            kind=KIND,
            spec=self.spec.to_dict(),
            environment=read_environment(self.device),
            started_at=started_at,
            finished_at=utc_now(),
            seed=self.spec.seed,
            results=[r.to_dict() for r in results],
            samples=self.samples,
            failures=self.failures,
        )

    def _progress(self, step: str, work: float, result: Mapping[str, Any] | None = None) -> Progress:
        self.done += work
        return Progress(step=step, done=min(self.done, self.total), total=self.total, result=result or {})

    def _start(self, method: str) -> VariantProcess:
        return VariantProcess(self.found, method, device=self.device.kind, folder=self.scratch, threads=self.threads)

    def _reference(self) -> Iterator[Progress]:
        """Read the text and keep the float32 model's logits on disk, one window at a time."""
        text = read_text(self.spec.text)
        reference = self._start(REFERENCE_METHOD)
        try:
            self.windows = cut_windows(reference.call("windows", text=text), self.spec)
            needed = self.windows.size * self.model.vocab_size * 4
            free = shutil.disk_usage(self.scratch).free
            if needed > 0.9 * free:
                raise DoesNotFit(
                    f"The reference logits need {shown_bytes(needed)} of disk; {shown_bytes(free)} are free.",
                    remedy="Use fewer or shorter windows, or free disk space.",
                )
            reference.call("open", windows=self.windows)
            yield self._progress("reference loaded", OPEN_WORK)
            for i, window in enumerate(self.windows):
                reference.call("write_reference", index=i, n_windows=len(self.windows), window=window)
                yield self._progress(f"reference · window {i + 1} of {len(self.windows)}", 1)
        finally:
            reference.close()

    def _accuracy(self, method: str, following: str | None) -> Iterator[Progress]:
        """Load a variant, compare it with the reference, and keep it for its turn on the clock."""
        label = METHODS[method].label
        kept = self.parts_folder / f"{method}.json"
        variant = self.waiting.pop(method, None) or self._start(method)
        self.open_variants[method] = variant
        if following:
            self.waiting[following] = self._start(following)  # it loads its libraries meanwhile
        try:
            part = {"opened": variant.call("open", windows=self.windows)}
            yield self._progress(f"{label} · loaded", OPEN_WORK)
            if kept.exists() and self.windows is not None:
                part["quality"] = json.loads(kept.read_text())["quality"]
                yield self._progress(f"{label} · accuracy kept from before", len(self.windows))
            elif self.windows is not None:
                per_window = []
                for i, window in enumerate(self.windows):
                    per_window.append(variant.call("evaluate", index=i, window=window))
                    yield self._progress(f"{label} · window {i + 1} of {len(self.windows)}", 1)
                part["quality"] = {k: np.stack([w[k] for w in per_window]).tolist() for k in per_window[0]}
            variant.call("prefill_s")
            variant.call("decode_s", batch=max(self.spec.batches))
            part["peak_memory_bytes"] = variant.call("peak_memory_bytes")
            part["interleaved"] = True
            self.parts[method] = part
            _write_atomically(kept, json.dumps(part))
            self.held_bytes += part["peak_memory_bytes"]
            if self.held_bytes > SHARED_MEMORY_SHARE * self.device.free_bytes:
                part["interleaved"] = False
                yield from self._speed_in_turns([method])
                self._close(method)
                self.held_bytes -= part["peak_memory_bytes"]
        except VariantFailed as failure:
            self._fail(method, failure)
            yield self._progress(f"{label} · failed: {failure.cause}", 0)

    def _close(self, method: str) -> None:
        self.open_variants.pop(method).close()

    def _fail(self, method: str, failure: VariantFailed) -> None:
        details = str(failure.__cause__ or "")
        self.failures.append({"method": method, "cause": failure.cause, "remedy": failure.remedy, "details": details})
        self.parts.pop(method, None)
        self._close(method)

    def _speed_in_turns(self, methods: list[str]) -> Iterator[Progress]:
        """One warm-up round, then rounds in which all variants take their turn in a random order."""
        rng = random.Random(self.spec.seed)
        for number in range(self.spec.rounds + 1):
            for method in rng.sample(methods, len(methods)):
                if method not in self.open_variants:
                    continue
                try:
                    prefill = self.open_variants[method].call("prefill_s")
                    decode = {b: self.open_variants[method].call("decode_s", batch=b) for b in self.spec.batches}
                except VariantFailed as failure:
                    self._fail(method, failure)
                    continue
                if number:
                    self.samples["prefill_s"].setdefault(method, []).append(prefill)
                    times = self.samples["decode_s"].setdefault(method, {str(b): [] for b in self.spec.batches})
                    for batch, seconds in decode.items():
                        times[str(batch)] += seconds
                name = f"speed round {number} of {self.spec.rounds}" if number else "speed warm-up"
                yield self._progress(f"{name} · {METHODS[method].label}", ROUND_WORK)

    def _result(self, method: str) -> VariantResult:
        reason = unavailable_reason(method, self.device)
        if reason:
            return VariantResult(method=method, status="not available", reason=reason)
        if method not in self.parts:
            cause = next(f["cause"] for f in self.failures if f["method"] == method)
            return VariantResult(method=method, status="failed", reason=cause)
        part = self.parts[method]
        accuracy: dict[str, Any] = {}
        if "quality" in part:
            accuracy = self._accuracy_figures(method, part["quality"])
        prefill = float(np.median(self.samples["prefill_s"][method]))
        return VariantResult(
            method=method,
            status="measured",
            execution=part["opened"]["execution"],
            weight_bytes=part["opened"]["weight_bytes"],
            quantize_s=part["opened"]["quantize_s"],
            peak_memory_bytes=part["peak_memory_bytes"],
            interleaved=part["interleaved"],
            prefill_tokens_per_s=self.spec.prefill_tokens / prefill,
            decode=tuple(decode_time(int(b), times) for b, times in self.samples["decode_s"][method].items()),
            **accuracy,
        )

    def _accuracy_figures(self, method: str, quality: Mapping[str, Any]) -> dict[str, Any]:
        kl, nll, agrees = (np.asarray(quality[k], dtype=np.float64) for k in ("kl_nat", "nll_nat", "agrees"))
        reference = self.parts.get(REFERENCE_METHOD, {}).get("quality")
        base = np.asarray(reference["nll_nat"]) if reference else None
        self.samples["per_window"][method] = {
            "mean_kl_nat_per_token": kl.mean(1).tolist(),
            "mean_nll_nat_per_token": nll.mean(1).tolist(),
            "top1_agreement_fraction": agrees.mean(1).tolist(),
        }
        return accuracy_figures(kl, nll, agrees, reference_nll=base, seed=self.spec.seed)


def accuracy_figures(
    kl: npt.NDArray[np.float64],
    nll: npt.NDArray[np.float64],
    agrees: npt.NDArray[np.float64],
    *,
    reference_nll: npt.NDArray[np.float64] | None,
    seed: int,
) -> dict[str, Any]:
    """The accuracy fields of ``VariantResult`` from per-token values: (windows, tokens) each.

    Intervals are paired: both models are read at the same drawn windows.
    """
    n = kl.shape[0]
    per_window, agreement = kl.mean(1), agrees.mean(1)
    change: Interval | None = None
    if reference_nll is not None:
        difference = (nll - reference_nll).mean(1)
        change = block_bootstrap(n, lambda i: float(np.expm1(difference[i].mean())), seed=seed)
    return {
        "n_tokens": int(kl.size),
        "perplexity": perplexity(float(nll.mean())),
        "perplexity_change_fraction": change,
        "mean_kl_nat_per_token": block_bootstrap(n, lambda i: float(per_window[i].mean()), seed=seed),
        "p99_kl_nat_per_token": block_bootstrap(n, lambda i: float(np.quantile(kl[i], 0.99)), seed=seed, resamples=300),
        "top1_agreement_fraction": block_bootstrap(n, lambda i: float(agreement[i].mean()), seed=seed),
    }


def decode_time(batch: int, seconds: list[float]) -> DecodeTime:
    """Percentiles of step times with an interval for the median."""
    times = np.asarray(seconds)
    median = quantile_interval(times, 0.5)
    return DecodeTime(
        batch=batch,
        p50_s=median.value,
        p50_low_s=median.low,
        p50_high_s=median.high,
        p99_s=float(np.quantile(times, 0.99)),
        n=times.size,
    )


def _write_atomically(path: Path, text: str) -> None:
    unfinished = path.with_suffix(".part")
    unfinished.write_text(text)
    os.replace(unfinished, path)
