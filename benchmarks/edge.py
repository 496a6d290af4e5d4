"""The table of small devices: a network trained and compressed, and what really became faster here.

    python benchmarks/edge.py

Less than three minutes on two cores. Prediction, from an earlier study (onnxruntime 1.31, 2-core EPYC, one thread): static INT8 at a
quarter of the size, 1.4 times as fast at batch 1 and 3 times at 256; dynamic INT8 of convolutions 4 times slower; half of the filters
2 to 4 times as fast; zeros no faster; INT8 on the student slower than the student.
"""

import time

from rich.console import Console
from rich.table import Table

from workbench.core.edge import EdgeSpec
from workbench.experiments.edge import run

out = Console(width=140)


def main() -> None:
    began = time.perf_counter()
    found = run(EdgeSpec())
    for batch in ("1", "256"):
        shown = Table(
            "technique",
            "accuracy, %",
            "flips",
            "kB",
            "gzip kB",
            "p50 us",
            "times as fast",
            "verdict",
            title=f"batch {batch}",
        )
        for r in found.results:
            if r["part"] != "variant":
                continue
            t = r["times"][batch]
            interval = (
                f"{t['ratio']:.2f} ({t['ratio_interval'][0]:.2f} to {t['ratio_interval'][1]:.2f})"
                if "ratio" in t
                else "1"
            )
            against = f"; beside {t['base']} {t['base_verdict']} ({t['base_ratio']:.2f})" if "base" in t else ""
            shown.add_row(
                r["technique"],
                f"{100 * r['accuracy']:.2f}",
                str(r["flips"]),
                f"{r['n_bytes'] / 1e3:.0f}",
                f"{r['gzip_bytes'] / 1e3:.0f}",
                f"{1e6 * t['p50_s']:.1f}",
                interval,
                t.get("verdict", "") + against,
            )
        out.print(shown)
    for r in found.results:
        if r["part"] in {"guarantee", "distillation", "choice"}:
            out.print({k: v for k, v in r.items() if k not in {"provenance", "breaks"}})
    out.print(f"{found.environment.cpu}, {found.environment.n_cpus} cores, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
