"""Engines under the same load at growing rates, until each breaks the promise."""

import json
import os
import shlex
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import platformdirs
import psutil

from workbench.catalog.paths import located
from workbench.core.engine_sweep import EngineResult, EngineSweepSpec, Trial
from workbench.core.errors import WorkbenchError
from workbench.core.load import LoadSpec
from workbench.core.progress import Progress
from workbench.core.runs import Run, utc_now
from workbench.engines.http import HttpEngine
from workbench.engines.server import ServerCard, ServerRoom, free_port
from workbench.experiments import load
from workbench.experiments.serving import Launch, launch_for
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import read_environment

KIND = "engine_sweep"
START_WORK = 3.0  # starting a server, in trials
STARTUP_LIMIT_S = 900.0


def run(spec: EngineSweepSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec, measured from here; nothing is stored."""
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        for item in measure(spec, Path(folder)):
            if isinstance(item, Run):
                return item
            if on_progress:
                on_progress(item)
    raise AssertionError("a measurement ends with a run")


def measure(spec: EngineSweepSpec, folder: Path) -> Iterator[Progress | Run]:
    """Progress and, last, the run; an engine that is missing or fails does not end the others."""
    return _Sweep(spec, folder).events()


def next_rate(spec: EngineSweepSpec, trials: Mapping[float, bool]) -> float | None:
    """The rate to try next, or None when the search is over.

    Args:
        spec: Gives the first rate and the limits.
        trials: Rates tried so far, and whether each was sustained.
    """
    if not trials:
        return spec.start_rate_per_s
    broken = [r for r, ok in trials.items() if not ok]
    if not broken:
        return None if len(trials) >= spec.max_trials else 2 * max(trials)
    least_broken = min(broken)
    kept = [r for r, ok in trials.items() if ok and r < least_broken]
    n_up = sum(1 for r in trials if _is_rung(r, spec.start_rate_per_s))
    if len(trials) - n_up >= spec.n_bisections or not kept:
        return None
    return float((max(kept) * least_broken) ** 0.5)


def _is_rung(rate: float, start: float) -> bool:
    steps = 0
    while start < rate * (1 - 1e-9):
        start, steps = start * 2, steps + 1
    return abs(start / rate - 1) < 1e-9


class _Sweep:
    """The state of one sweep while it runs."""

    def __init__(self, spec: EngineSweepSpec, folder: Path) -> None:
        self.spec, self.parts = spec, folder / "parts"
        self.room = ServerRoom(folder)
        self.device = chosen_device(spec.device)
        self.total = len(spec.engines) * (START_WORK + spec.max_trials / 2 + spec.n_bisections)
        self.done = 0.0
        self.failures: list[Mapping[str, str]] = []
        self.samples: dict[str, Any] = {}

    def events(self) -> Iterator[Progress | Run]:
        started_at = utc_now()
        self.parts.mkdir(parents=True, exist_ok=True)
        self.room.clean()
        results = []
        for number, engine in enumerate(self.spec.engines):
            self.done = self.total * number / len(self.spec.engines)
            try:
                result = yield from self._engine(engine)
            except WorkbenchError as error:
                status: Any = "not available" if type(error).__name__ == "NotAvailable" else "failed"
                result = EngineResult(engine=engine, status=status, reason=str(error), trials=self._kept(engine))
                self.failures.append({"engine": engine, "cause": error.cause, "remedy": error.remedy})
            results.append(result)
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

    def _progress(self, step: str, work: float = 0.0) -> Progress:
        self.done = min(self.done + work, self.total)
        return Progress(step=step, done=self.done, total=self.total)

    def _engine(self, engine: str) -> Generator[Progress, None, EngineResult]:
        """Start the engine if a trial is left, and search its limit."""
        card: ServerCard | None = None
        launch: Launch | None = None
        said: dict[str, Any] = self._said(engine)
        try:
            while (rate := next_rate(self.spec, self._outcomes(engine))) is not None:
                if card is None:
                    yield self._progress(f"{engine} · starting")
                    card, launch, startup = self._start(engine)
                    said = {"startup_s": startup, "version": self._version(card, launch)}
                    said["launch"] = shlex.join(_portable(launch.command))
                    yield self._progress(f"{engine} · answers after {startup:.0f} s", START_WORK)
                    yield from self._warm_up(engine, card)
                yield from self._trial(engine, card, rate)
                self._write(engine, "server", said | {"memory_bytes": self._memory(card)})
        finally:
            if card is not None:
                self.room.stop(card)
        self._collect(engine)
        return EngineResult(engine=engine, status="measured", trials=self._kept(engine), **self._said(engine))

    def _start(self, engine: str) -> tuple[ServerCard, Launch, float]:
        port = free_port()
        launch = launch_for(
            engine,
            self.spec.model,
            name="model",
            port=port,
            device=self.device.kind,
            cache=Path(platformdirs.user_cache_dir("inference-workbench")) / "onnx",
            tell=lambda _: None,
        )
        started = time.monotonic()
        card = self.room.start(
            launch.command,
            engine=engine,
            model="model",
            port=port,
            environment=launch.variables,
            timeout_s=STARTUP_LIMIT_S,
            tell=lambda _: None,
            ends_with_us=True,
        )
        return card, launch, time.monotonic() - started

    @staticmethod
    def _version(card: ServerCard, launch: Launch) -> str | None:
        return launch.version or HttpEngine(card.url, card.model).describe().get("version")

    def _load_spec(self, card: ServerCard, rate: float, duration_s: float) -> LoadSpec:
        s = self.spec
        folder = Path(located(s.model))
        return LoadSpec(
            url=card.url,
            model=card.model,
            rate_per_s=rate,
            duration_s=duration_s,
            input_tokens=s.input_tokens,
            output_tokens=s.output_tokens,
            tokenizer=str(folder) if (folder / "tokenizer.json").exists() else None,
            timeout_s=max(30.0, 3 * s.duration_s),
            slo_ttft_s=s.slo_ttft_s,
            slo_tpot_s=s.slo_tpot_s,
            calibrate=False,
            seed=s.seed,
        )

    def _warm_up(self, engine: str, card: ServerCard) -> Iterator[Progress]:
        """Two seconds at the first rate: the first requests of a server are slower than all others."""
        warm = replace(self._load_spec(card, max(2.0, self.spec.start_rate_per_s), 2.0), seed=self.spec.seed + 1)
        load.run(warm)
        yield self._progress(f"{engine} · warm")

    def _trial(self, engine: str, card: ServerCard, rate: float) -> Iterator[Progress]:
        expected = max(2, round(rate * self.spec.duration_s))
        duration = self.spec.duration_s if expected >= 20 else min(20 / rate, 3 * self.spec.duration_s)
        started = self.done
        for item in load.measure(self._load_spec(card, rate, duration), self.parts):
            if isinstance(item, Run):
                self.done = started
                if not item.results:
                    raise WorkbenchError(item.failures[0]["cause"], remedy=item.failures[0]["remedy"])
                trial = trial_of(rate, item.results[0])
                self._write(engine, f"{rate:.6g}", {"trial": asdict(trial), "samples": dict(item.samples)})
                kept = trial.attainment_fraction >= self.spec.attainment_fraction
                yield self._progress(f"{engine} · {rate:.3g} requests/s {'kept' if kept else 'broke'} the promise", 1)
            else:
                self.done = started + item.done / item.total
                step = f"{engine} · {rate:.3g} requests/s · {item.step}"
                yield replace(self._progress(step), result={"engine": engine, "rate_per_s": rate, **item.result})

    def _path(self, engine: str, name: str) -> Path:
        return self.parts / f"{engine}@{name}.json"

    def _write(self, engine: str, name: str, value: Mapping[str, Any]) -> None:
        path = self._path(engine, name)
        unfinished = path.with_suffix(".part")
        unfinished.write_text(json.dumps(value))
        os.replace(unfinished, path)

    def _files(self, engine: str) -> list[dict[str, Any]]:
        paths = [p for p in self.parts.glob(f"{engine}@*.json") if p != self._path(engine, "server")]
        return sorted((json.loads(p.read_text()) for p in paths), key=lambda d: float(d["trial"]["rate_per_s"]))

    def _kept(self, engine: str) -> tuple[Trial, ...]:
        return tuple(Trial.from_dict(d["trial"]) for d in self._files(engine))

    def _collect(self, engine: str) -> None:
        """Raw due and first-token times of each trial, so that figures can be drawn and checked later."""
        keep = ("due_s", "sent_s", "first_content_s", "end_s", "output_tokens", "error")
        self.samples[engine] = {
            f"{d['trial']['rate_per_s']:.6g}": [{k: row[k] for k in keep} for row in d["samples"]["requests"]]
            for d in self._files(engine)
        }

    def _outcomes(self, engine: str) -> dict[float, bool]:
        return {t.rate_per_s: t.attainment_fraction >= self.spec.attainment_fraction for t in self._kept(engine)}

    def _said(self, engine: str) -> dict[str, Any]:
        path = self._path(engine, "server")
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def _memory(self, card: ServerCard) -> float:
        if self.device.kind == "cuda":
            return float(self.device.free_bytes - chosen_device(self.spec.device).free_bytes)
        family = [psutil.Process(card.pid), *psutil.Process(card.pid).children(recursive=True)]
        return float(sum(p.memory_full_info().pss for p in family))


def trial_of(rate: float, answers: Mapping[str, Any]) -> Trial:
    """The figures of one load that a comparison needs."""
    goodput, steady = answers["goodput"], answers["steady_state"]
    return Trial(
        rate_per_s=rate,
        attainment_fraction=goodput["attainment_fraction"],
        attainment_interval=goodput["attainment_interval"],
        good_per_s=steady["goodput"]["good_per_s"],
        output_tokens_per_s=steady["output_tokens_per_s"] or 0.0,
        ttft_p50_s=answers["ttft_s"]["from_due"]["p50"],
        ttft_p99_s=answers["ttft_s"]["from_due"]["p99"],
        tpot_p50_s=answers["tpot_s"]["from_due"]["p50"],
        e2e_p50_s=answers["e2e_s"]["from_due"]["p50"],
        n_requests=answers["counts"]["due"],
        n_failed=answers["counts"]["failed"],
        client=answers["client_health"]["verdict"],
    )


def _portable(command: tuple[str, ...]) -> list[str]:
    """The command without the paths of this machine's interpreter."""
    return ["python", *[Path(part).name if part.startswith("/") else part for part in command[1:]]]
