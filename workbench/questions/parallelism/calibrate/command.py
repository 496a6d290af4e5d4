"""The command that measures a device and fits the predictions to it."""

from workbench.calibrate.device.spec import CalibrationSpec
from workbench.catalog.paths import MEASURED, workbench_home
from workbench.core.errors import NotAvailable
from workbench.core.runs import Run
from workbench.estimate.calibration import Calibration
from workbench.estimate.device_calibration import CALIBRATIONS, REFERENCE_DEVICE, SHIPPED, from_runs
from workbench.interface.command import AsJson
from workbench.interface.follow import measured
from workbench.interface.knobs import asks_for
from workbench.interface.readable import err, out
from workbench.jobs.manager import JobManager
from workbench.store.runs import runs_in_folder
from workbench.telemetry.devices import chosen_device

KINDS = ("calibration", "gemm", "serving_speed")


@asks_for(CalibrationSpec, may_be_left_out=True)
def calibrate(spec: CalibrationSpec | None, *, as_json: AsJson = False) -> None:
    """Measure this GPU (products, vLLM's steps, links between GPUs; about three minutes) and fit the predictions to it.

    Without a model they are fitted to this machine's stored runs, else to those that ship.
    """
    reference = Calibration.from_json((SHIPPED / f"{REFERENCE_DEVICE}.json").read_text())
    known = from_runs(_stored_runs() if spec is None else [_measured(spec)], reference=reference)
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
