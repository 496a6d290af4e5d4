"""Commands that predict, and that fit predictions to a device."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer
from rich.console import Console
from rich.table import Table

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import MEASURED
from workbench.catalog.tables import devices, own_prices
from workbench.cli.follow import measured
from workbench.cli.precision import AsJson
from workbench.cli.readable import ReadableErrors, err
from workbench.core.calibration import CalibrationSpec
from workbench.core.checkpoints import FORMATS
from workbench.core.errors import InvalidSpec, NotAvailable
from workbench.core.traffic import drawn, read_trace
from workbench.core.units import shown_bytes, shown_duration, three_digits
from workbench.estimate.calibration import Calibration
from workbench.estimate.machine import Split
from workbench.estimate.prediction import LEVEL, Prediction, Question, Z, predicted
from workbench.estimate.search import Load, Plan, launch_command, pareto, plans, ray_sketch
from workbench.experiments.device_calibration import REFERENCE_DEVICE, SHIPPED, from_runs, machine_of, offers
from workbench.experiments.plan_sensitivity import sensitivities
from workbench.jobs.manager import JobManager, workbench_home
from workbench.simulate.costs import step_cost
from workbench.simulate.engine import EngineLimits, StepCost
from workbench.simulate.routing import Routing
from workbench.simulate.routing import replicas as behind_a_router
from workbench.simulate.summary import occupancy, summary, with_interval
from workbench.store.runs import runs_in_folder
from workbench.telemetry.devices import chosen_device

out = Console()
CALIBRATIONS = "calibrations"
KINDS = ("calibration", "gemm", "serving_speed")
PLANNED = ("h200-sxm", "h100-sxm", "a100-sxm-80", "l40s", "l4")
SHOWN = 12


def estimate(
    model: Annotated[str, typer.Argument(help="Folder, or a name in the catalogue.")],
    device: Annotated[str, typer.Argument(help="Row of the hardware catalogue, such as h200-sxm.")],
    devices_: Annotated[
        int | None,
        typer.Option(
            "--devices", help="All devices; replicas of what the splits leave. As many as one needs if left out."
        ),
    ] = None,
    tp: Annotated[int, typer.Option(help="Devices of a tensor-parallel group.")] = 1,
    pp: Annotated[int, typer.Option(help="Pipeline stages.")] = 1,
    dp: Annotated[int, typer.Option(help="Groups that share experts; with --ep.")] = 1,
    ep: Annotated[bool, typer.Option("--ep", help="Whole experts go to devices.")] = False,
    precision: Annotated[str, typer.Option(help=", ".join(FORMATS))] = "bf16",
    kv_bits: Annotated[int, typer.Option(help="8 or 16.")] = 16,
    input_tokens: Annotated[int, typer.Option(help="Of each prompt.")] = 1024,
    output_tokens: Annotated[int, typer.Option(help="Of each answer.")] = 128,
    concurrency: Annotated[int, typer.Option(help="Sequences at once, over all replicas.")] = 1,
    cached_fraction: Annotated[float, typer.Option(help="Of each prompt, held by a prefix cache.")] = 0.0,
    draft_tokens: Annotated[int, typer.Option(help="Guessed ahead (speculative decoding).")] = 0,
    acceptance: Annotated[float, typer.Option(help="Chance that a guess is right.")] = 0.7,
    arrival: Annotated[str, typer.Option(help="static or steady.")] = "static",
    as_json: AsJson = False,
) -> None:
    """Predict waiting times, throughput and memory, with intervals."""
    with ReadableErrors():
        spec, row = model_spec_from(model), devices().get(device)
        if row is None or not row.memory_bytes:
            known = ", ".join(d.id for d in devices().values() if d.bf16_flop_per_s)
            raise InvalidSpec(f"Unknown device {device!r}.", remedy=f"Use: {known}.")
        split = Split(tensor=tp, pipeline=pp, data=dp, is_expert_parallel=ep)
        against = split.reason_against(spec)
        if against:
            raise InvalidSpec(f"{spec.name}: {against}.", remedy="Give another split.")
        total = devices_ or split.n_devices
        if total % split.n_devices:
            raise InvalidSpec(
                f"{total} devices cannot be divided into replicas of {split.n_devices}.",
                remedy="Give a multiple of the devices of one replica.",
            )
        n_replicas = total // split.n_devices
        question = Question(
            precision=precision,
            kv_bits=kv_bits,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            concurrency=-(-concurrency // n_replicas),
            cached_fraction=cached_fraction,
            draft_tokens=draft_tokens,
            acceptance=acceptance,
            arrival=arrival,  # type: ignore[arg-type]
        )
        machine, is_own = machine_of(device, split=split, own=workbench_home() / CALIBRATIONS)
        found = predicted(spec, machine, question, memory_bytes=row.memory_bytes, is_own=is_own, n_replicas=n_replicas)
        if as_json:
            asked = {"model": spec.name, "device": device, "devices": total, "replicas": n_replicas}
            asked |= {"tp": tp, "pp": pp, "dp": dp, "ep": ep}
            print(json.dumps(asked | found.to_dict(), indent=1))
            return
        _print(found)


def _print(found: Prediction) -> None:
    table = Table("◌", "estimated", f"{100 * LEVEL:.0f} % interval")
    for name, label in (("ttft_s", "first token"), ("prefill_s", "prompts read"), ("tpot_s", "time per token")):
        v = getattr(found, name)
        table.add_row(label, shown_duration(v.value), f"{shown_duration(v.low)} to {shown_duration(v.high)}")
    rate = found.output_tokens_per_s
    table.add_row("output tokens/s", three_digits(rate.value), f"{three_digits(rate.low)} to {three_digits(rate.high)}")
    m = found.memory
    for label, value in (("weights", m.weight_bytes), ("cache", m.cache_bytes), ("workspace", m.workspace_bytes)):
        table.add_row(label, shown_bytes(value), "")
    table.add_row("usable memory", shown_bytes(m.usable_bytes), "fits" if m.does_fit else "does not fit")
    out.print(table)
    if not found.is_calibrated:
        out.print("Not calibrated: constants of another device or of one device alone, so the intervals are wide.")


def plan(
    model: Annotated[str, typer.Argument(help="Folder, or a name in the catalogue.")],
    rate: Annotated[float, typer.Option(help="Requests a second.")] = 1.0,
    input_tokens: Annotated[int, typer.Option(help="Of each prompt.")] = 1024,
    output_tokens: Annotated[int, typer.Option(help="Of each answer.")] = 128,
    ttft_ms: Annotated[float, typer.Option(help="Promise: first token within.")] = 1000.0,
    tpot_ms: Annotated[float, typer.Option(help="Promise: time of each further token.")] = 50.0,
    on: Annotated[str, typer.Option("--on", help="Comma-separated devices of the catalogue.")] = ",".join(PLANNED),
    prices: Annotated[str | None, typer.Option(help="CSV of your own: device_id, usd_per_gpu_hour.")] = None,
    as_json: AsJson = False,
) -> None:
    """Plans that keep the promises, cheapest first, and the reason against the others."""
    with ReadableErrors():
        spec = model_spec_from(model)
        load = Load(
            requests_per_s=rate,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            ttft_s=ttft_ms / 1e3,
            tpot_s=tpot_ms / 1e3,
        )
        candidates = offers(
            [d.strip() for d in on.split(",") if d.strip()],
            own=workbench_home() / CALIBRATIONS,
            prices=own_prices(Path(prices)) if prices else None,
        )
        found = plans(spec, load, candidates)
        best = pareto(found)
        if as_json:
            rows = [
                asdict(p)
                | {
                    "total_devices": p.total_devices,
                    "is_pareto": p in best,
                    "launch_command": ray_sketch(launch_command(model, p, load), p) if p.reason is None else None,
                    "provenance": "estimated",
                }
                for p in found
            ]
            labels = {o.device_id: o.price_label for o in candidates}
            hangs_on = [s.row() for s in sensitivities(spec, load, candidates, best[0])] if best else []
            told = {"model": spec.name, "prices": labels, "plans": rows, "sensitivity": hangs_on}
            print(json.dumps(told, indent=1))
            return
        _print_plans(found, best)


def _print_plans(found: Sequence[Plan], best: Sequence[Plan]) -> None:
    feasible = [p for p in found if p.reason is None]
    table = Table("◌", "device", "of a replica", "replicas", "precision", "TTFT", "TPOT", "USD/h", "USD/M output")
    for p in feasible[:SHOWN]:
        table.add_row(
            "◆" if p in best else "",
            p.device_name,
            f"{p.n_devices}, {p.concurrency} sequences",
            str(p.n_replicas),
            p.precision + (", FP8 cache" if p.kv_bits == 8 else ""),
            shown_duration(p.ttft_s),
            shown_duration(p.tpot_s),
            "–" if p.usd_per_hour is None else f"{p.usd_per_hour:.2f}",
            "–" if p.usd_per_million_output_tokens is None else three_digits(p.usd_per_million_output_tokens),
        )
    out.print(table)
    against = dict.fromkeys(f"{p.device_name}: {p.reason}" for p in found if p.reason)
    for line in list(against)[:SHOWN]:
        out.print(line, highlight=False)
    if not feasible:
        out.print("No plan keeps the promises.")


def simulate(
    model: Annotated[str, typer.Argument(help="Folder, or a name in the catalogue.")],
    device: Annotated[str, typer.Argument(help="Row of the hardware catalogue.")],
    trace: Annotated[str | None, typer.Option(help="CSV: TIMESTAMP, ContextTokens, GeneratedTokens.")] = None,
    speed: Annotated[float, typer.Option(help="Replays the trace so many times as fast.")] = 1.0,
    rate: Annotated[float, typer.Option(help="Without a trace: requests a second (Poisson).")] = 5.0,
    requests: Annotated[int, typer.Option(help="Without a trace: how many.")] = 10_000,
    input_tokens: Annotated[int, typer.Option(help="Without a trace: median of the prompts.")] = 1024,
    output_tokens: Annotated[int, typer.Option(help="Without a trace: median of the answers.")] = 128,
    burstiness: Annotated[float, typer.Option(help="Without a trace: coefficient of variation of the gaps.")] = 1.0,
    replicas: Annotated[int, typer.Option(help="Engines behind a router.")] = 1,
    routing: Annotated[str, typer.Option(help=", ".join(get_args(Routing)))] = "in turn",
    cached_fraction: Annotated[float, typer.Option(help="Of each prompt, in the prefix cache already.")] = 0.0,
    precision: Annotated[str, typer.Option(help=", ".join(FORMATS))] = "bf16",
    ttft_ms: Annotated[float, typer.Option(help="Promise: first token within.")] = 1000.0,
    tpot_ms: Annotated[float, typer.Option(help="Promise: time of each further token.")] = 50.0,
    as_json: AsJson = False,
) -> None:
    """Replay traffic on a simulated engine: waits, and how many requests keep both promises."""
    with ReadableErrors():
        spec, row = model_spec_from(model), devices().get(device)
        if row is None or not row.memory_bytes:
            raise InvalidSpec(f"Unknown device {device!r}.", remedy="Name a row of data/hardware.csv.")
        if not speed > 0:
            raise InvalidSpec(f"A speed of {speed}.", remedy="Give a number above zero.")
        arrivals = (
            read_trace(Path(trace).expanduser(), speed=speed)
            if trace
            else drawn(
                requests,
                rate_per_s=rate,
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                gap_cv=burstiness,
                seed=0,
            )
        )
        machine, is_own = machine_of(device, own=workbench_home() / CALIBRATIONS)
        question = Question(precision=precision)
        memory = predicted(spec, machine, question, memory_bytes=row.memory_bytes, is_own=is_own).memory
        limits = EngineLimits(cache_tokens=max(1, memory.longest_tokens), cached_fraction=cached_fraction)
        cost = step_cost(spec, precision, machine)

        def run_with(cost: StepCost) -> dict[str, Any]:
            done = behind_a_router(replicas, arrivals, cost, limits, routing=cast("Routing", routing))
            told = summary(done.answers, arrivals, ttft_s=ttft_ms / 1e3, tpot_s=tpot_ms / 1e3)
            return told | occupancy(done, limits)

        known = machine.known
        told = with_interval(
            run_with,
            cost,
            log_error_step=Z * known.log_error_unseen_step,
            log_error_prompt=Z * known.log_error_unseen_prompt,
        )
        if as_json:
            print(json.dumps(told | {"is_calibrated": is_own, "cache_tokens": limits.cache_tokens}, indent=1))
            return
        table = Table("△", "simulated", f"{100 * LEVEL:.0f} % interval of step times")
        for name, value in told.items():
            if name.endswith(("_low", "_high")):
                continue
            ends = [_shown(name, told[f"{name}_{end}"]) for end in ("low", "high") if f"{name}_{end}" in told]
            table.add_row(name, _shown(name, value), " to ".join(ends))
        out.print(table)


def _shown(name: str, value: float | str | None) -> str:
    if isinstance(value, float):
        is_time = name.endswith("_s") and "_per_" not in name
        return shown_duration(value) if is_time else three_digits(value)
    return str(value)


def calibrate(
    model: Annotated[
        str | None, typer.Argument(help="Folder of a shape to measure with; stored runs are used when left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure this GPU (products, vLLM's steps, links between GPUs; about three minutes) and fit the predictions to it.

    Without a model they are fitted to this machine's stored runs, else to those that ship.
    """
    with ReadableErrors():
        shipped = Calibration.from_json((SHIPPED / f"{REFERENCE_DEVICE}.json").read_text())
        if model is not None:
            if chosen_device("auto").kind == "cpu":
                raise NotAvailable(
                    "There is no GPU here, and predictions are fitted to GPUs only.",
                    remedy="Run this where the GPU is; without it the shipped constants are used.",
                )
            run = measured("calibration", CalibrationSpec(model=model).to_dict(), can_resume=True)
            for failure in run.failures:
                err.print(f"{failure['method']}: {failure['cause']}", highlight=False)
            runs = [run]
        else:
            store = JobManager().store
            own = [r for kind in KINDS for r in store.newest(kind) if r.environment.device_id != "cpu"]
            runs = own or [r for r in runs_in_folder(MEASURED) if r.kind in {"gemm", "serving_speed", "calibration"}]
            runs = [r for r in runs if r.environment.device_id != "cpu"]
        known = from_runs(runs, reference=shipped)
        folder = workbench_home() / CALIBRATIONS
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{known.device_id}.json").write_text(known.to_json())
        if as_json:
            print(known.to_json())
            return
        out.print(f"{known.device_id}, from runs {', '.join(known.sources)}:")
        out.print(
            f"steps of unseen precisions off by {100 * known.log_error_unseen_step:.1f} % (rms), "
            f"prompts by {100 * known.log_error_unseen_prompt:.1f} %"
        )
