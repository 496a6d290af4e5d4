"""The command that measures a device, or loads on a server, and fits the predictions to it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Annotated

import typer

from workbench.calibrate.device.spec import CalibrationSpec
from workbench.calibrate.loads import LoadCalibration, measured_loads
from workbench.catalog.models import language_model_from
from workbench.catalog.paths import MEASURED, located, workbench_home
from workbench.core.errors import DoesNotFit, InvalidSpec, NotAvailable
from workbench.core.rows import plain
from workbench.core.runs import Run
from workbench.core.units import shown_duration, shown_percent, three_digits
from workbench.estimate.calibration import Calibration
from workbench.estimate.device_calibration import CALIBRATIONS, REFERENCE_DEVICE, SHIPPED, from_runs, offers
from workbench.estimate.load_constants import LOADS
from workbench.estimate.machine import Split
from workbench.estimate.precision import STORED, chosen_precision, weight_bits_of
from workbench.estimate.prediction import Z
from workbench.estimate.search import require_kernel
from workbench.estimate.serving_memory import context_plan
from workbench.interface.command import AsJson, print_table
from workbench.interface.follow import measured
from workbench.interface.knobs import asks_for
from workbench.interface.readable import err, out
from workbench.jobs.manager import JobManager
from workbench.load.ask import the_model
from workbench.load.spec import LoadSpec
from workbench.simulate.costs import load_sigmas
from workbench.simulate.load_fit import LoadError, fitted_loads
from workbench.store.runs import runs_in_folder
from workbench.telemetry.devices import chosen_device

KINDS = ("calibration", "gemm", "serving_speed")
POOR_FIT = 0.25
"""Root mean square of the logarithm of measured over simulated medians from which the named device is in doubt."""
ERROR_HEAD = ("Load", "TTFT p50", "error before", "after", "TPOT p50", "error before", "after")
Loads = Annotated[
    str | None,
    typer.Option(
        help="URL of a running server: measure loads on it for two minutes, and fit predictions under load to them."
    ),
]
Served = Annotated[
    str | None,
    typer.Option(help="Name under which the server offers the model; the only one that it lists if left out."),
]
On = Annotated[
    str | None,
    typer.Option(help="Id of the server's accelerator in the hardware catalogue; this machine's if left out."),
]
Precision = Annotated[str, typer.Option(help="Number format of the served linear layers.")]
Tp = Annotated[int, typer.Option(help="Tensor-parallel size of the server.")]
Users = Annotated[str, typer.Option(help="Users of the closed loops, separated by commas.")]
Seconds = Annotated[float, typer.Option(help="Seconds of all loads together.")]


@asks_for(CalibrationSpec, may_be_left_out=True)
def calibrate(
    spec: CalibrationSpec | None,
    *,
    loads: Loads = None,
    served: Served = None,
    on: On = None,
    precision: Precision = STORED,
    tp: Tp = 1,
    users: Users = "1,8,32",
    load_seconds: Seconds = 120.0,
    as_json: AsJson = False,
) -> None:
    """Measure this GPU (products, vLLM's steps, links between GPUs; about three minutes) and fit the predictions to it.

    Without a model they are fitted to this machine's stored runs, else to those that ship. With --loads, predictions under load are
    fitted to a server of the model instead: host time, and factors of its steps.
    """
    folder = workbench_home() / CALIBRATIONS
    if loads is not None:
        if spec is None:
            raise InvalidSpec(
                "No model was named.", remedy="Name the folder of the served model, or its name in the catalogue."
            )
        asked = LoadCalibration(
            url=loads,
            model=served or the_model(LoadSpec(url=loads, model="-")),
            users=_numbers(users),
            seconds=load_seconds,
            tokenizer=_tokenizer_of(spec.model),
        )
        _calibrate_loads(asked, spec.model, on or _device_here(), precision, tp, folder, as_json=as_json)
        return
    reference = Calibration.from_json((SHIPPED / f"{REFERENCE_DEVICE}.json").read_text())
    known = from_runs(_stored_runs() if spec is None else [_measured(spec)], reference=reference)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{known.device_id}.json").write_text(known.to_json())
    (folder / LOADS / f"{known.device_id}.json").unlink(missing_ok=True)  # it was relative to other constants
    if as_json:
        print(known.to_json())
        return
    out.print(f"{known.device_id}, from runs {', '.join(known.sources)}:")
    out.print(
        f"steps of unseen precisions off by {100 * known.log_error_unseen_step:.1f} % (rms), "
        f"prompts by {100 * known.log_error_unseen_prompt:.1f} %"
    )


def _tokenizer_of(place: str) -> str | None:
    """Return the folder of a model that holds a tokenizer; None for a name in the catalogue."""
    folder = located(place)
    return folder if (Path(folder) / "tokenizer.json").is_file() else None


def _device_here() -> str:
    device = chosen_device("auto")
    if device.catalog_id is None:
        raise InvalidSpec(
            "The server's accelerator is not known: this machine has none that is in the catalogue.",
            remedy="Name it with --on, such as --on h200-sxm.",
        )
    return device.catalog_id


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(n) for n in text.split(","))
    except ValueError:
        raise InvalidSpec(f"{text!r} are no numbers of users.", remedy="Give numbers such as 1,8,32.") from None


def _calibrate_loads(
    asked: LoadCalibration, place: str, device_id: str, precision: str, tp: int, folder: Path, *, as_json: bool
) -> None:
    """Measure loads, fit the constants, keep them, and print the errors before and after."""
    model, split = language_model_from(place), Split(tensor=tp)
    if reason := split.reason_against(model):
        raise InvalidSpec(f"{model.name}: {reason}.", remedy="Give another --tp.")
    (offer,) = offers([device_id], own=folder)
    form = chosen_precision(model, precision)
    require_kernel(offer, form)
    memory = context_plan(
        model,
        memory_bytes=offer.memory_bytes,
        n_devices=tp,
        tensor_parallel=tp,
        weight_bits=weight_bits_of(model, form),
        context_tokens=1024,
    )
    if not memory.room_tokens:
        raise DoesNotFit(
            f"{model.name} in {form} does not fit {tp} × {offer.name}.",
            remedy="Name the server's own device, precision and --tp.",
        )
    runs = [measured(LoadSpec.kind, load.to_dict(), can_resume=False) for load in asked.loads]
    constants, errors = fitted_loads(
        model,
        form,
        replace(offer.machine, split=split),
        list(measured_loads(runs)),
        cache_tokens=memory.room_tokens,
        sources=[run.id for run in runs],
    )
    constants = replace(constants, device_id=device_id)
    constants.keep(folder)
    if as_json:
        print(json.dumps({"constants": plain(constants), "errors": plain(errors)}, indent=1))
        return
    print_table(ERROR_HEAD, _error_rows(errors))
    out.print(
        f"{device_id}: host time {shown_duration(constants.front_s)}, decode steps {three_digits(constants.step_ratio)} times and prompts "
        f"{three_digits(constants.prompt_ratio)} times as predicted, {three_digits(constants.sequence_ratio)} times the host time of each sequence. "
        "estimate --arrival steady, simulate and plan use it from now on."
    )
    shares = [shown_percent(exp(Z * sigma) - 1) for sigma in load_sigmas(replace(offer.machine, load=constants))]
    out.print(f"Their nominal 80 % intervals reach at least {shares[0]} around TTFT and {shares[1]} around TPOT.")
    if max(constants.ttft_log_error, constants.tpot_log_error) > POOR_FIT:
        out.print(
            "What is left of the errors is large: the loads are not those of the named model on the named device, or something else took the "
            "server's time. The intervals are as wide as that."
        )


def _error_rows(errors: Sequence[LoadError]) -> list[tuple[str, ...]]:
    def signed(fraction: float) -> str:
        return shown_percent(fraction, sign=True)

    return [
        (
            f"{e.load.users} user(s), {e.load.input_tokens} + {e.load.output_tokens} tokens",
            shown_duration(e.load.ttft_p50_s),
            signed(e.ttft_before_fraction),
            signed(e.ttft_after_fraction),
            shown_duration(e.load.tpot_p50_s),
            signed(e.tpot_before_fraction),
            signed(e.tpot_after_fraction),
        )
        for e in errors
    ]


def _measured(spec: CalibrationSpec) -> Run:
    if chosen_device("auto").kind == "cpu":
        raise NotAvailable(
            "There is no GPU here, and predictions are fitted to GPUs only.",
            remedy="Run this where the GPU is; without it the shipped constants are used.",
        )
    run = measured(spec.kind, spec.to_dict(), can_resume=True)
    for failure in run.failures:
        err.print(f"{failure}")
    return run


def _stored_runs() -> list[Run]:
    """Return the reader's own runs of GPUs, else those that ship."""
    store = JobManager().store
    own = [r for kind in KINDS for r in store.newest(kind) if r.environment.device_id != "cpu"]
    return own or [r for r in runs_in_folder(MEASURED) if r.kind in KINDS and r.environment.device_id != "cpu"]


COMMANDS = (calibrate,)
