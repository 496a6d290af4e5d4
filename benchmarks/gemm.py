"""Times of the products inside a model by format and batch, as a table: the newest stored run of this machine, or a file's.

    .venv/bin/python benchmarks/gemm.py [data/measured/gemm_llama-3.1-8b-shape_h200.json]

Without a file the products of the 8B shape are measured now (needs vLLM). One line per role and batch: microseconds by
format (medians), the fastest marked, and the shares of the published bandwidth and BF16 peak that it reaches.
"""

import sys
from pathlib import Path

from workbench.calibrate.gemm.spec import GemmSpec
from workbench.catalog.formats import FORMATS
from workbench.catalog.tables import devices
from workbench.estimate.rows import ProductTime
from workbench.measuring.envelope import run as measured
from workbench.store.runs import read_run_file


def main() -> None:
    """Print the table."""
    if len(sys.argv) > 1:
        run = read_run_file(Path(sys.argv[1]))
    else:
        spec = GemmSpec(model="data/models/llama-3.1-8b-shape")
        run = measured(spec, on_progress=lambda p: sys.stderr.write(f"{p.step}\n"))
    device = devices()[run.environment.device_id]
    assert device.bf16_flop_per_s is not None
    rows = run.rows(ProductTime)
    formats = list(dict.fromkeys(r.format for r in rows))
    print(
        f"{Path(run.spec['model']).name} on {run.environment.device}, vLLM {run.environment.packages.get('vllm', '?')}, {run.day}"
    )
    print(
        f"published: {device.bandwidth_bytes_per_s / 1e12:.2f} TB/s, BF16 {device.bf16_flop_per_s / 1e12:.0f} TFLOP/s"
    )
    print(
        "role        tokens "
        + "".join(f"{f:>12}" for f in formats)
        + "   fastest: bytes/s, FLOP/s of the published BF16 peaks"
    )
    by_cell = {(r.role, r.batch, r.format): r for r in rows}
    for role, batch in dict.fromkeys((r.role, r.batch) for r in rows):
        cells = {f: by_cell[role, batch, f] for f in formats if (role, batch, f) in by_cell}
        best = min(cells, key=lambda f: cells[f].p50_s.value)
        row = cells[best]
        stored = row.rows * row.columns * FORMATS[best].stored_bits(in_features=row.columns) / 8
        bandwidth = stored / row.p50_s.value / device.bandwidth_bytes_per_s
        rate = 2 * row.rows * row.columns * batch / row.p50_s.value / device.bf16_flop_per_s
        shown = "".join(
            f"{cells[f].p50_s.value * 1e6:>11.1f}{'*' if f == best else ' '}" if f in cells else f"{'–':>12}"
            for f in formats
        )
        print(f"{role:<10} {batch:>7} {shown}   {100 * bandwidth:>4.0f} % {100 * rate:>4.0f} %")


if __name__ == "__main__":
    main()
