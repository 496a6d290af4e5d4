"""One sequence over several devices: how much faster, at which length, and how exact."""

from collections.abc import Iterator

import numpy as np

from workbench.attention.ring_process import RingRequest, RingResult, measure_ring
from workbench.catalog.models import model_spec_from
from workbench.core.errors import WorkbenchError
from workbench.core.progress import Progress
from workbench.core.rows import Failure
from workbench.core.statistics import median_over_rounds
from workbench.measuring.envelope import Record
from workbench.questions.long_context.ring_attention.rows import RingSamples, RingSeconds, RingTime
from workbench.questions.long_context.ring_attention.spec import RingSpec
from workbench.telemetry.devices import chosen_device


def measure(spec: RingSpec, record: Record) -> Iterator[Progress]:
    """Yield the progress and fill the record; measured cells are kept, so that a second call goes on from there."""
    model, device = model_spec_from(spec.model), chosen_device(spec.device)
    record.device = device
    rounds: list[RingSeconds] = []
    one_device_s: dict[int, float] = {}
    cells = [(n, w) for n in spec.lengths for w in spec.worlds]
    for i, (tokens, world) in enumerate(cells):
        step = f"{tokens} tokens on {world}"
        yield Progress(step=step, done=i, total=len(cells))
        request = RingRequest(
            world=world,
            tokens=tokens,
            n_heads=model.n_heads,
            n_kv_heads=model.n_kv_heads,
            head_dim=model.head_dim,
            device=device.kind,
            rounds=spec.rounds,
            seed=spec.seed,
        )
        try:
            result = record.kept.once(f"{tokens} {world}", RingResult, measure_ring, request)
        except WorkbenchError as error:
            record.failures.append(Failure.of(error, step))
            continue
        p50 = median_over_rounds(np.asarray(result.seconds))
        row = RingTime(
            n_devices=world,
            length_tokens=tokens,
            p50_s=p50,
            n=len(result.seconds),
            max_error=result.max_error,
            peak_bytes=result.peak_bytes,
            speedup=one_device_s[tokens] / p50.value if tokens in one_device_s else None,
        )
        record.rows.append(row)
        if world == 1:
            one_device_s[tokens] = p50.value
        rounds.append(RingSeconds(n_devices=world, length_tokens=tokens, seconds=result.seconds))
    record.samples = RingSamples(rounds=tuple(rounds))
