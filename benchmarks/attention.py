"""Attention on this GPU over length, and what the project promises of it.

    python benchmarks/attention.py [--part promises|plain|flex|ring ...] [--out FOLDER]

Measures up to four runs with the heads of the 8B shape (the promises' cells, plain kernels over all lengths,
FlexAttention, one sequence over several GPUs), writes them to the folder, and prints each promise beside what was found.
"""

import argparse
from pathlib import Path

from workbench.attention.rows import Cell
from workbench.catalog.attention_techniques import TECHNIQUES
from workbench.core.runs import Run
from workbench.measuring.envelope import run
from workbench.questions.long_context.attention.spec import AttentionSpec
from workbench.questions.long_context.ring_attention.spec import RingSpec

MODEL = "data/models/llama-3.1-8b-shape"
PLAIN = (
    "flash",
    "cudnn",
    "efficient",
    "math",
    "query-chunked",
    "key-split",
    "paged-gather",
    "varlen",
    "fa3",
    "flashinfer",
    "window",
    "sink-window",
    "block-sparse",
)
FLEX = ("window-flex", "sink-window-flex", "block-sparse-flex", "vertical-slash-flex")
LENGTHS = (1024, 4096, 16384, 32768, 65536, 131072, 262144)
PARTS = ("promises", "plain", "flex", "ring")


def cells(run: Run, phase: str, length: int) -> dict[str, Cell]:
    """Measured cells by technique."""
    return {r.technique: r for r in run.rows(Cell) if r.is_at(phase, length)}


def fastest(run: Run, phase: str, length: int, pattern: str) -> Cell:
    """The fastest technique of a pattern."""
    return min(
        (r for t, r in cells(run, phase, length).items() if TECHNIQUES[t].pattern == pattern),
        key=lambda r: r.p50_s.value,
    )


def promises(run: Run) -> list[tuple[str, float, float]]:
    """What is promised, what was found, and the bound (at least)."""
    prompt, long = fastest(run, "prefill", 65536, "full"), fastest(run, "prefill", 131072, "full")
    window, reading = fastest(run, "prefill", 131072, "window"), fastest(run, "decode", 131072, "full")
    return [
        (f"{prompt.label}: share of the matrix rate, prefill at 65536", prompt.ceiling_fraction, 0.75),
        (
            f"{window.label} 4096 at 131072: times as fast as {long.label}",
            long.p50_s.value / window.p50_s.value,
            8.0,
        ),
        (f"{window.label}: inputs and output over peak memory", window.io_bytes / window.peak_bytes, 1 / 1.2),
        (f"{reading.label}: share of the copy rate, decoding at 131072", reading.ceiling_fraction, 0.9),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build"))
    parser.add_argument("--part", choices=PARTS, action="append")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    specs = {
        "promises": AttentionSpec(
            model=MODEL,
            techniques=("cudnn", "flash", "window", "window-flex"),
            lengths=(65536, 131072),
            rounds=7,
        ),
        "plain": AttentionSpec(model=MODEL, techniques=PLAIN, lengths=LENGTHS, rounds=7),
        "flex": AttentionSpec(
            model=MODEL, techniques=(*FLEX, "window"), lengths=(32768, 131072), phases=("prefill",), rounds=7
        ),
    }
    for part in arguments.part or PARTS:
        if part == "ring":
            import torch

            worlds = tuple(w for w in (1, 2, 4, 8) if w <= torch.cuda.device_count())
            result = run(RingSpec(model=MODEL, worlds=worlds))
            for r in result.results:
                print(r, flush=True)
        else:
            result = run(specs[part])
        (arguments.out / f"attention_{part}.json").write_text(result.to_json())
        if part == "promises":
            for what, found, bound in promises(result):
                print(
                    f"{'holds' if found >= bound else 'FAILS'}  {what}: {found:.3g} (at least {bound:.3g})", flush=True
                )


if __name__ == "__main__":
    main()
