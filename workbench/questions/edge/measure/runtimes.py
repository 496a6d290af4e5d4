"""Two float networks in every runtime that is installed, and what installs the others."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workbench.core.language import gettext_noop
from workbench.measuring.interleaved import batch_times, cores_used, interleaved_times
from workbench.questions.edge.rows import RuntimeResult, RuntimeTimes
from workbench.questions.edge.spec import EdgeSpec
from workbench.vision.encoder import TOKENS, WIDTH, TextEncoder
from workbench.vision.graphs import example, export
from workbench.vision.runtimes import RUNTIMES, Answer, Network, is_installed
from workbench.vision.sessions import Graph
from workbench.vision.variants import DigitVariants

ROUNDS = 7
ENCODER = gettext_noop("text encoder, 6 layers of 384, 128 tokens")
ENCODER_BATCHES = (1, 4)
REFERENCE = "ONNX Runtime"
Floats = npt.NDArray[np.float32]


def measure_runtimes(spec: EdgeSpec, variants: DigitVariants, inputs: Floats) -> Iterator[RuntimeResult]:
    """Yield a row for each runtime, network and batch, in interleaved rounds."""
    for runtime in RUNTIMES:
        if runtime.open is None or not is_installed(runtime):
            yield RuntimeResult(runtime=runtime.name, subject="any", state="not run", remedy=runtime.remedy)
    network = variants.float_network.graphs[0]
    yield from _subject(spec, gettext_noop("convolutional network"), variants.net, network, inputs, spec.timed_batches)
    texts = np.random.default_rng(spec.seed).standard_normal((max(ENCODER_BATCHES), TOKENS, WIDTH)).astype(np.float32)
    encoder = TextEncoder().eval()
    graph = export(encoder, example(texts), variants.folder / "encoder.onnx", outputs=("embedding",))
    yield from _subject(spec, ENCODER, encoder, graph, texts, ENCODER_BATCHES)
    graph.unlink()


def _subject(
    spec: EdgeSpec, subject: str, net: Network, graph: Path, inputs: Floats, batches: tuple[int, ...]
) -> Iterator[RuntimeResult]:
    answers: dict[str, Answer] = {}
    few = inputs[:8]
    reference = Graph(graph, threads=spec.threads).logits(few)
    for runtime in RUNTIMES:
        if runtime.open is None or not is_installed(runtime):
            continue
        problem = ""
        try:
            answer = runtime.open(net, graph, spec.threads)
            off = float(np.abs(answer(few) - reference).max())
            if off > 1e-3 * float(np.abs(reference).max()):
                problem = f"Its answers differ from {REFERENCE}'s by {off:.3g}."
        except Exception as error:  # whatever a runtime raises is the result of its row
            problem = f"{type(error).__name__}: {str(error)[:200]}"
        if problem:
            yield RuntimeResult(runtime=runtime.name, subject=subject, state="failed", remedy=problem)
        else:
            answers[runtime.name] = answer
    for batch in batches:
        timed = interleaved_times(answers, inputs, batch=batch, rounds=ROUNDS, seed=spec.seed)
        for name, answer in answers.items():
            base = None if name == REFERENCE else timed[REFERENCE]
            measured = RuntimeTimes(
                batch=batch,
                cores_used=cores_used(partial(answer, inputs[:batch])),
                times=batch_times(timed[name], reference=base),
            )
            yield RuntimeResult(runtime=name, subject=subject, state="measured", measured=measured)
