"""Attention on this GPU over length, and what the project promises of it.

    python benchmarks/attention.py [--out FOLDER]

Measures three runs with the heads of the 8B shape (plain kernels, FlexAttention, one sequence over several GPUs where
there are some), writes them to the folder, and prints each promise beside what was found.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.core.attention import AttentionSpec
from workbench.core.long_context import RingSpec
from workbench.core.runs import Run

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


def cells(run: Run, phase: str, length: int) -> dict[str, Mapping[str, Any]]:
    """Measured cells by technique."""
    return {
        r["technique"]: r
        for r in run.results
        if r["part"] == "cell" and r["phase"] == phase and r["length_tokens"] == length and r["status"] == "measured"
    }


def promises(run: Run) -> list[tuple[str, float, float]]:
    """What is promised, what was found, and the bound (at least)."""
    full = cells(run, "prefill", 65536)
    best = max(full.values(), key=lambda r: r["ceiling_fraction"] if r["technique"] in PLAIN[:10] else 0)
    long, decode = cells(run, "prefill", 131072), cells(run, "decode", 131072)
    fastest = min((r["p50_s"] for t, r in long.items() if t in PLAIN[:10]), default=0.0)
    window = long["window"]
    reading = max(decode.values(), key=lambda r: r["ceiling_fraction"] if r["technique"] in PLAIN[:10] else 0)
    return [
        (f"{best['label']}: share of the matrix rate, prefill at 65536", best["ceiling_fraction"], 0.75),
        ("window 4096 at 131072: times as fast as the fastest full", fastest / window["p50_s"], 8.0),
        ("window 4096: inputs and output over peak memory", window["io_bytes"] / window["peak_bytes"], 1 / 1.2),
        (f"{reading['label']}: share of the copy rate, decoding at 131072", reading["ceiling_fraction"], 0.9),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build"))
    parser.add_argument("--part", choices=["plain", "flex", "ring"], action="append")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    from workbench.experiments import attention, ring_attention

    parts = arguments.part or ["plain", "flex", "ring"]
    if "plain" in parts:
        run = attention.run(AttentionSpec(model=MODEL, techniques=PLAIN, lengths=LENGTHS, rounds=7))
        (arguments.out / "attention.json").write_text(run.to_json())
        for what, found, bound in promises(run):
            print(f"{'holds' if found >= bound else 'FAILS'}  {what}: {found:.3g} (at least {bound:.3g})", flush=True)
    if "flex" in parts:
        spec = AttentionSpec(
            model=MODEL, techniques=(*FLEX, "window"), lengths=(32768, 131072), phases=("prefill",), rounds=7
        )
        (arguments.out / "attention_flex.json").write_text(attention.run(spec).to_json())
    if "ring" in parts:
        import torch

        worlds = tuple(w for w in (1, 2, 4, 8) if w <= torch.cuda.device_count())
        ring = ring_attention.run(RingSpec(model=MODEL, worlds=worlds))
        (arguments.out / "ring_attention.json").write_text(ring.to_json())
        for r in ring.results:
            print({k: v for k, v in r.items() if k != "provenance"}, flush=True)


if __name__ == "__main__":
    main()
