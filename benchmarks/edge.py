"""The table of small devices: a network trained and compressed, and which compressions are faster on this machine.

    python benchmarks/edge.py

Less than three minutes on two cores. Prediction, from an earlier study (onnxruntime 1.31, 2-core EPYC, one thread): static INT8 at a
quarter of the size, 1.4 times as fast at batch 1 and 3 times at 256; dynamic INT8 of convolutions 4 times slower; half of the filters
2 to 4 times as fast; zeros no faster; INT8 on the student slower than the student.
"""

import time

from rich.console import Console
from rich.table import Table

from workbench.core.rows import flat
from workbench.measuring.envelope import run
from workbench.questions.edge.findings import accuracy_words, gate_words, ratio_words
from workbench.questions.edge.rows import Choice, Distillation, Guarantee, VariantResult, batches_of
from workbench.questions.edge.spec import EdgeSpec

out = Console(width=140)


def main() -> None:
    began = time.perf_counter()
    result = run(EdgeSpec())
    for batch in batches_of(result):
        shown = Table(
            "technique",
            "accuracy, %",
            "flips",
            "kB",
            "gzip kB",
            "p50 us",
            "speed-up",
            "verdict",
            title=f"batch size {batch}",
        )
        for v in result.rows(VariantResult):
            times = v.times[batch]
            shown.add_row(
                v.technique,
                accuracy_words(v),
                str(v.flips),
                f"{v.n_bytes / 1e3:.0f}",
                f"{(v.gzip_bytes or 0) / 1e3:.0f}",
                f"{1e6 * times.p50_s:.1f}",
                ratio_words(times.speedup),
                gate_words(v, batch),
            )
        out.print(shown)
    for row in (*result.rows(Guarantee), *result.rows(Distillation), *result.rows(Choice)):
        out.print(flat(row))
    out.print(f"{result.environment.cpu}, {result.environment.n_cpus} cores, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
