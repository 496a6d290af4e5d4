"""Settings of a server under one load: all are simulated, the promising ones measured, the best one confirmed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from workbench.catalog.prices import median_price
from workbench.core.devices import Device
from workbench.core.progress import Progress
from workbench.core.statistics import Floats, Interval
from workbench.engines.environments import require
from workbench.engines.vllm import require_flags
from workbench.measuring.cluster import measured_on_node
from workbench.measuring.envelope import Record
from workbench.questions.tuning.measure.parts import MeasuredLoad, key_of
from workbench.questions.tuning.measure.scoring import Aim, aim_of, counted, mean_score, window_scores
from workbench.questions.tuning.measure.search import WORTH, Search, Z
from workbench.questions.tuning.measure.servers import Launched, Running, Servers
from workbench.questions.tuning.measure.space import Space, constant_flags, space
from workbench.questions.tuning.measure.step_times import Shape, shape_of
from workbench.questions.tuning.measure.tuner import Tuner
from workbench.questions.tuning.rows import RequestTimes, SettingResult, TuneChoice, TuneSamples
from workbench.questions.tuning.spec import TuneSpec
from workbench.telemetry.devices import chosen_device, gpu_devices

KEPT_SIMULATED = 120
"""Settings whose simulated requests are kept, the best ones."""
KEPT_REQUESTS = 64
"""Simulated requests that are kept of each, evenly spaced."""


def measure(spec: TuneSpec, record: Record) -> Iterator[Progress]:
    """Yield the progress of a tuning run on this machine, or on a node of a cluster; a second call in the folder goes on with what is missing."""
    if spec.cluster is not None:
        yield from measured_on_node(spec, record)
        return
    device = chosen_device(spec.device)
    if spec.url is None:
        require_flags(require("vllm", device=device.kind), spec.flags)
    n_devices = max(1, len(gpu_devices()[0])) if device.kind == "cuda" else 1
    tried = space(spec, device, n_devices=n_devices)
    servers: Servers = Launched(spec, record.folder, device=device.kind)
    if spec.url:
        servers = Running(spec, default=tried.default)
    yield from tune(spec, record, servers, tried, device=device)


def tune(spec: TuneSpec, record: Record, servers: Servers, tried: Space, *, device: Device) -> Iterator[Progress]:
    """Yield the progress of a tuning run on given servers, which are stopped at its end."""
    shape = shape_for(spec, device, tried)
    shape.made(shape.start, tried.default)  # refuses a model that does not fit before anything is launched
    tuner = Tuner(spec, record, servers, tried, aim=priced(spec, device), shape=shape)
    try:
        yield from tuner.run()
    finally:
        servers.stop()
    if version := next((launch.version for launch in tuner.launches.values() if launch.version), None):
        record.packages["vllm"] = version.removeprefix("vLLM ")
    add_rows(tuner, record)


def priced(spec: TuneSpec, device: Device) -> Aim:
    """Return the aim with the price of one device: the reader's, the listed one, or 1 USD where none is known."""
    price = median_price(device.catalog_id) if device.catalog_id else None
    listed = price.usd_per_gpu_hour if price else 1.0
    return replace(aim_of(spec), usd_per_hour=spec.usd_per_hour or listed)


def shape_for(spec: TuneSpec, device: Device, tried: Space) -> Shape:
    """Return the form of step times for all settings of a space."""
    most = max(max(s.max_num_batched_tokens, s.max_num_seqs + 1) for s in tried.valid)
    return shape_of(spec, device, most_tokens=most)


def add_rows(tuner: Tuner, record: Record) -> None:
    """Fill the record with what a tuner has simulated and measured."""
    loads = tuner.loads()
    search = tuner.search
    assert search is not None
    mean, sd = search.predicted()
    assert tuner.simulator is not None
    does_not_fit = tuner.simulator.does_not_fit
    with_room = [i for i, s in enumerate(tuner.space.valid) if s not in does_not_fit]
    record.rows += [_result(tuner, search, i, mean, sd) for i in with_room]
    record.rows += [
        SettingResult(name=s.label, setting=s, status="refused", reason=reason, launch=" ".join(s.flags))
        for s, reason in [*tuner.space.refused, *does_not_fit.items()]
    ]
    trials = sorted((m.trial for m in loads.values()), key=lambda t: (t.at_s, t.name, t.seed))
    record.rows += trials
    record.rows += tuner.fitted_loads
    record.rows.append(_choice(tuner, search))
    best_first = np.argsort(-search.simulated[0])[:KEPT_SIMULATED]
    names = [s.label for s in tuner.space.valid]
    record.samples = TuneSamples(
        measured=_by_setting(loads.values()),
        simulated={names[i]: _thinned(tuner.simulated_times[i]) for i in best_first if i in tuner.simulated_times},
    )


def _by_setting(loads: Iterable[MeasuredLoad]) -> dict[str, dict[str, RequestTimes]]:
    found: dict[str, dict[str, RequestTimes]] = {}
    for m in sorted(loads, key=lambda m: m.trial.seed):
        found.setdefault(m.trial.name, {})[f"{m.trial.purpose} {m.trial.seed}"] = m.times
    return found


def _thinned(times: RequestTimes) -> RequestTimes:
    n = len(times.due_s)
    kept = sorted({round(i) for i in np.linspace(0, n - 1, min(n, KEPT_REQUESTS))})
    return RequestTimes(
        due_s=[times.due_s[i] for i in kept],
        ttft_s=[times.ttft_s[i] for i in kept],
        tpot_s=[times.tpot_s[i] for i in kept],
        e2e_s=[times.e2e_s[i] for i in kept],
        output_tokens=[times.output_tokens[i] for i in kept],
    )


def _result(tuner: Tuner, search: Search, index: int, mean: Floats, sd: Floats) -> SettingResult:
    setting = tuner.space.valid[index]
    launch = tuner.launches.get(key_of(setting))
    loads = list(tuner.kept.named(f"load@{key_of(setting)}@", MeasuredLoad).values())
    windows = [window_scores(m.times, tuner.aim, devices=setting.tensor_parallel_size) for m in loads]
    times = [m.times for m in loads] or ([tuner.simulated_times[index]] if index in tuner.simulated_times else [])
    goodput = [float(window_scores(t, replace(tuner.aim, objective="goodput")).mean()) for t in times]
    failure = launch.failure if launch else None
    is_failed = failure is not None and not loads
    low, high = float(mean[index] - Z * sd[index]), float(mean[index] + Z * sd[index])
    return SettingResult(
        name=setting.label,
        setting=setting,
        status="measured" if loads else "failed" if is_failed else "simulated",
        reason=failure if is_failed else None,
        is_default=index == search.default,
        launch=" ".join((*setting.flags, *constant_flags(tuner.spec))),
        simulated=search.simulated_interval(index),
        predicted=Interval(float(mean[index]), max(0.0, low), high),
        measured=mean_score(np.concatenate(windows)) if windows else None,
        n_loads=len(loads),
        startup_s=launch.startup_s / launch.n if launch and launch.startup_s else None,
        goodput_per_s=float(np.mean(goodput)) if goodput else None,
        output_tokens_per_s=float(np.mean([m.output_tokens_per_s for m in loads])) if loads else None,
        simulated_answered_per_s=float(counted(tuner.simulated_times[index], tuner.aim).sum()) / tuner.aim.duration_s
        if index in tuner.simulated_times
        else None,
        ttft_p50_s=_quantile(times, "ttft_s", 0.5),
        ttft_p90_s=_quantile(times, "ttft_s", 0.9),
        tpot_p50_s=_quantile(times, "tpot_s", 0.5),
        tpot_p90_s=_quantile(times, "tpot_s", 0.9),
    )


def _quantile(times: Sequence[RequestTimes], field: str, q: float) -> float | None:
    values = [v for t in times for v in getattr(t, field) if v is not None]
    return float(np.quantile(values, q)) if values else None


def _choice(tuner: Tuner, search: Search) -> TuneChoice:
    best, names = search.best(), [s.label for s in tuner.space.valid]
    gain = tuner.confirmed or (search.gain(best, search.default) if best != search.default else None)
    is_worth = gain is not None and gain.value > WORTH and gain.low > 0
    loads = tuner.loads()
    return TuneChoice(
        name=names[best] if is_worth else names[search.default],
        default=names[search.default],
        best_measured=names[best],
        gain_fraction=gain,
        is_confirmed=tuner.confirmed is not None,
        confirmed_score=tuner.confirmed_scores[0] if tuner.confirmed_scores else None,
        confirmed_default_score=tuner.confirmed_scores[1] if tuner.confirmed_scores else None,
        n_settings=len(names) + len(tuner.space.refused),
        n_simulated=len(tuner.simulated_times),
        n_refused=len(tuner.space.refused) + (len(tuner.simulator.does_not_fit) if tuner.simulator else 0),
        n_measured=len({m.trial.name for m in loads.values() if m.trial.purpose != "grid"}),
        n_launches=sum(launch.n for launch in tuner.launches.values() if launch.startup_s),
        simulation_s=tuner.simulation_s,
        measurement_s=tuner.spent_s,
        stopped=tuner.stopped,  # type: ignore[arg-type]
    )
