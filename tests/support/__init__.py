"""Stand-ins and switches for tests of other parts: a strict callback dispatcher and ready-made runs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from workbench.compress.methods import METHODS
from workbench.compress.rows import Accuracy, DecodeTime, QuantizationSamples, VariantResult
from workbench.compress.spec import QuantizationSpec
from workbench.core.runs import Environment, Run
from workbench.core.statistics import Interval
from workbench.load.rows import TimedRequest
from workbench.questions.engines.rows import EngineResult, SweepSamples, Trial
from workbench.questions.engines.spec import EngineSweepSpec


def invented_run(
    *,
    run_id: str = "invented",
    methods: tuple[str, ...] = ("fp32", "int8-weight", "int4-g32"),
    device: str = "test device",
    finished_at: str = "2026-01-02T03:04:05+00:00",
    model: str = "stdlib-9m",
    factor: float = 1.0,
) -> Run:
    """A complete run with round, invented numbers (never shown to a reader): method i is i times as fast and wrong."""
    results = []
    for i, name in enumerate(methods):
        kl = Interval(0.001 * i, 0.0009 * i, 0.0011 * i)
        step = 0.004 * factor / (i + 1)
        results.append(
            VariantResult(
                method=name,
                status="measured",
                execution="eager" if METHODS[name].runtime == "torch" else "onnxruntime",
                accuracy=Accuracy(
                    n_tokens=1000,
                    perplexity=8.0 + i,
                    perplexity_change_fraction=kl,
                    mean_kl_nat_per_token=kl,
                    p99_kl_nat_per_token=kl,
                    top1_agreement_fraction=Interval(1 - 0.01 * i, 0.99 - 0.01 * i, 1.0),
                ),
                weight_bytes=40_000_000 // (i + 1),
                peak_memory_bytes=10**8,
                quantize_s=0.1,
                prefill_tokens_per_s=5000.0,
                decode=tuple(
                    DecodeTime(
                        batch=b,
                        p50_s=step * b**0.5,
                        p50_low_s=0.9 * step * b**0.5,
                        p50_high_s=1.1 * step * b**0.5,
                        p99_s=2 * step * b**0.5,
                        n=100,
                    )
                    for b in (1, 8)
                ),
            )
        )
    environment = Environment(
        device=device,
        device_id="cpu",
        cpu=device,
        n_cpus=2,
        memory_bytes=2**34,
        driver=None,
        python="3.11",
        packages={"torch": "2.13.0"},
        git_revision=None,
    )
    spec = QuantizationSpec(model=model, methods=methods)
    return Run(
        id=run_id,
        kind="quantization",
        spec=spec.to_dict(),
        environment=environment,
        started_at=finished_at,
        finished_at=finished_at,
        seed=0,
        results=results,
        samples=QuantizationSamples(),
        failures=[],
    )


@contextmanager
def strict_callbacks(replace: Callable[[Any, str, Any], None]) -> Iterator[None]:
    """Make ipywidgets raise what a callback raises; it prints and goes on otherwise.

    Args:
        replace: ``monkeypatch.setattr`` or the like.
    """
    from ipywidgets.widgets.widget import CallbackDispatcher

    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        value = None
        for callback in self.callbacks:
            value = callback(*arguments, **options)
        return value

    replace(CallbackDispatcher, "__call__", call)
    yield


def invented_sweep(
    *,
    run_id: str = "invented-sweep",
    limits: Mapping[str, float] | None = None,
    device: str = "test device",
    model: str = "stdlib-9m",
) -> Run:
    """An engine sweep with made-up requests: below its limit an engine answers in 50 ms, above it in 2 s."""
    broken_at = limits or {"torch": 5.0, "onnx": 10.0}
    results: list[EngineResult] = []
    samples: dict[str, dict[str, list[TimedRequest]]] = {}
    for engine, limit in broken_at.items():
        trials = []
        samples[engine] = {}
        for rate in (1.0, 2.0, 4.0, 8.0, 16.0):
            wait_s = 0.05 if rate < limit else 2.0
            requests = [
                TimedRequest(
                    due_s=i / rate,
                    sent_s=i / rate,
                    first_content_s=i / rate + wait_s,
                    end_s=i / rate + wait_s + 0.63,
                    output_tokens=64,
                )
                for i in range(40)
            ]
            samples[engine][f"{rate:.6g}"] = requests
            good = 1.0 if rate < limit else 0.0
            trials.append(
                Trial(
                    rate_per_s=rate,
                    attainment_fraction=good,
                    attainment_interval=(0.9 * good, good + 0.1 * (1 - good)),
                    good_per_s=rate * good,
                    output_tokens_per_s=64 * rate,
                    ttft_p50_s=wait_s,
                    ttft_p99_s=wait_s,
                    tpot_p50_s=0.01,
                    e2e_p50_s=wait_s + 0.63,
                    n_requests=40,
                    n_failed=0,
                    client="good",
                )
            )
        results.append(
            EngineResult(
                engine=engine,
                status="measured",
                version="1.0",
                startup_s=2.0,
                memory_bytes=5e8,
                launch=f"python -m {engine}",
                trials=tuple(trials),
            )
        )
    return replace(
        invented_run(run_id=run_id, device=device),
        kind="engine_sweep",
        spec=EngineSweepSpec(model=model, engines=tuple(broken_at)).to_dict(),
        results=results,
        samples=SweepSamples(requests=samples),
    )
