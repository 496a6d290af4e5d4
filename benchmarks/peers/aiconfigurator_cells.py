"""What aiconfigurator predicts for the cells that were measured.

Runs in an environment of its own:

    python -m venv peer && peer/bin/pip install aiconfigurator==0.12.0
    peer/bin/python benchmarks/peers/aiconfigurator_cells.py > benchmarks/peers/aiconfigurator_0.12.0.json

Names of systems (h100_sxm) after the script leave the others out. Its modes static_gen and static_ctx, vLLM's tables, mode SILICON (measured kernels), and HYBRID where that has no row.
"""

import json
import logging
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
from aiconfigurator.cli.api import cli_estimate  # noqa: E402

BATCHES, CONTEXTS, MOST_TOKENS, OUTPUT = (1, 8, 16, 32, 64, 128, 256), (128, 1024, 8192), 300_000, 32
SHAPES = Path(__file__).parents[2] / "data/models"
MODES = {"bf16": "bfloat16", "fp8": "fp8", "w8a8": "sq", "w4a16": "int4_wo"}
ASKED = (
    ("h200_sxm", "llama-3.1-8b-shape", "meta-llama/Meta-Llama-3.1-8B", 1, tuple(MODES)),
    ("h200_sxm", "llama-3.1-8b-shape", "meta-llama/Meta-Llama-3.1-8B", 2, ("bf16", "fp8")),
    ("h200_sxm", "llama-3.1-70b-shape", "meta-llama/Meta-Llama-3.1-70B", 2, ("bf16", "fp8")),
    ("h200_sxm", "qwen3-14b-shape", str(SHAPES / "qwen3-14b-shape"), 1, ("bf16", "fp8")),
    ("h200_sxm", "qwen3-30b-a3b-shape", "Qwen/Qwen3-30B-A3B", 1, ("bf16",)),
    ("h100_sxm", "llama-3.1-8b-shape", "meta-llama/Meta-Llama-3.1-8B", 1, ("fp8", "w8a8")),
    ("h100_sxm", "llama-3.1-8b-shape", "meta-llama/Meta-Llama-3.1-8B", 2, ("bf16", "fp8")),
    ("h100_sxm", "llama-3.1-70b-shape", "meta-llama/Meta-Llama-3.1-70B", 2, ("fp8",)),
)


def asked(path, *, system, tp, form, mode, batch, context):
    """Milliseconds of one cell, and the mode of the tables; None with the reason."""
    reason = ""
    for tables in ("SILICON", "HYBRID"):
        try:
            found = cli_estimate(
                path,
                system,
                mode=mode,
                backend_name="vllm",
                database_mode=tables,
                isl=context,
                osl=OUTPUT,
                batch_size=batch,
                tp_size=tp,
                gemm_quant_mode=MODES[form],
                kvcache_quant_mode="bfloat16",
                fmha_quant_mode="bfloat16",
                **({"moe_tp_size": tp, "moe_ep_size": 1, "moe_quant_mode": MODES[form]} if "A3B" in path else {}),
            )
            return (found.tpot if mode == "static_gen" else found.ttft), tables
        except Exception as error:  # noqa: BLE001 - whatever it cannot answer is a reason
            reason = f"{type(error).__name__}: {error}"[:200]
    return None, reason


def main() -> None:
    wanted = sys.argv[1:] or sorted({system for system, *_ in ASKED})
    rows = []
    for system, shape, path, tp, forms in (a for a in ASKED if a[0] in wanted):
        for form in forms:
            for context in CONTEXTS:
                for batch in (b for b in BATCHES if b * context <= MOST_TOKENS):
                    row = {"device": system, "model": shape, "tensor_parallel": tp, "served": form, "batch": batch}
                    row["context_tokens"] = context
                    for mode, name in (("static_gen", "tpot_s"), ("static_ctx", "prefill_s")):
                        value, how = asked(
                            path, system=system, tp=tp, form=form, mode=mode, batch=batch, context=context
                        )
                        row |= {name: None if value is None else value / 1e3, f"{name}_tables": how}
                    rows.append(row)
                    print(row, file=sys.stderr, flush=True)
    print(json.dumps({"tool": "aiconfigurator", "version": version("aiconfigurator"), "rows": rows}, indent=0))


if __name__ == "__main__":
    main()
