"""The best batch for a causal language model in PyTorch under a limit on time and on memory."""

from collections.abc import Callable, Iterator

from workbench.catalog.models import model_spec_from
from workbench.compress.batch_steps import WARM_UP, BatchSteps, allocated_bytes, free_bytes
from workbench.core.errors import DoesNotFit
from workbench.core.language import gettext, gettext_noop
from workbench.core.progress import Progress
from workbench.core.units import GIB, shown_duration
from workbench.estimate.best_batch import Search, Trial, grid, search
from workbench.estimate.context_limit import require_within_context
from workbench.measuring.envelope import Record
from workbench.questions.utilization.batch_size.rows import BatchSearchSamples, choice_of, row_of
from workbench.questions.utilization.batch_size.spec import BatchSearchSpec
from workbench.telemetry.devices import chosen_device

FREE_SHARE = 0.9
USUAL_TRIALS = 12


def measure(spec: BatchSearchSpec, record: Record) -> Iterator[Progress]:
    """Yield progress trial by trial; the record gets a row for each trial, and one with the best batch."""
    device = record.device = chosen_device(spec.device)
    n_steps = WARM_UP + spec.rounds if spec.work == "decode" else 0
    require_within_context(model_spec_from(spec.model), spec.context_tokens, n_steps)
    yield Progress(step=gettext_noop("loading the model"), done=0, total=USUAL_TRIALS)
    before = allocated_bytes(device.kind)
    limit_s = spec.latency_ms / 1e3 if spec.latency_ms else None
    worker = BatchSteps(spec, device=device.kind, is_prefill=spec.work == "prefill", limit_s=limit_s)
    alone = worker.now_bytes()
    limit = spec.memory_gib * GIB if spec.memory_gib else alone + FREE_SHARE * free_bytes(device.kind)
    if alone > limit:
        raise DoesNotFit(
            gettext("The model alone takes {alone} GiB of {limit}.").format(
                alone=f"{alone / GIB:.2f}", limit=f"{limit / GIB:.2f}"
            ),
            remedy=gettext("Allow more memory, or take a smaller model or precision."),
        )
    worker.trial(1, limit_bytes=limit)  # the first steps of a process are slow, and count for no batch
    done = Search()

    def try_batch(batch: int) -> Trial:
        return worker.trial(batch, limit_bytes=limit)

    trials = search(try_batch, largest=spec.largest, memory_bytes=limit, state=done)
    if spec.is_exhaustive:
        trials = _every(try_batch, done, spec.largest)
    for n, trial in enumerate(trials, start=1):
        shown = trial.reason or f"{trial.per_s:.3g} sequences/s, {shown_duration(trial.median_s)} a step"
        step, total = f"batch {trial.batch}: {shown}", max(n + 1, USUAL_TRIALS)
        yield Progress(step=step, done=n, total=total)
    worker.close()
    left = allocated_bytes(device.kind) - before if device.kind == "cuda" else None
    record.rows += [row_of(t, done) for t in done.trials]
    record.rows.append(choice_of(done, limit_bytes=limit, left_bytes=left))
    record.samples = BatchSearchSamples(seconds=[t.seconds for t in done.trials])


def _every(try_batch: Callable[[int], Trial], done: Search, largest: int) -> Iterator[Trial]:
    for batch in grid(largest):
        trial = try_batch(batch)
        done.trials.append(trial)
        yield trial
        if trial.reason == "memory":
            return
