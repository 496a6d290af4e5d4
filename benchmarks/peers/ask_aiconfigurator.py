"""What aiconfigurator predicts for the cells and the closed loops that were measured.

Runs in an environment of its own:

    python -m venv peer && peer/bin/pip install aiconfigurator==0.12.0
    peer/bin/python benchmarks/peers/ask_aiconfigurator.py cells > benchmarks/peers/aiconfigurator_0.12.0.json
    peer/bin/python benchmarks/peers/ask_aiconfigurator.py loads > benchmarks/peers/aiconfigurator_loads_0.12.0.json

``cells`` are those of the stored runs of static batches, by its modes static_gen and static_ctx; names of systems (h100_sxm) after the word
leave the others out. ``loads`` are data/measured/load_* with closed loops, by its mode agg (continuous batching; TTFT and TPOT in the
mean). vLLM's tables, mode SILICON (measured kernels), and HYBRID where that has no row. It knows no MistralForCausalLM, whose layers are
Llama's: that shape is given to it under Llama's name. Its successor, aisimulate 0.13.0, is a stub on PyPI that fetches its wheel from
NVIDIA's own index; it could not be installed where these figures were made.
"""

import json
import logging
import re
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
from aiconfigurator.cli.api import cli_estimate  # noqa: E402

ROOT = Path(__file__).parents[2]
SHAPES = ROOT / "data/models"
MODES = {"bf16": "bfloat16", "fp8": "fp8", "w8a8": "sq", "w4a16": "int4_wo"}
BATCHES, CONTEXTS, MOST_TOKENS, OUTPUT = (1, 8, 16, 32, 64, 128, 256), (128, 1024, 8192), 300_000, 32
CELLS = (
    ("h200_sxm", "llama-3.1-8b-shape", "meta-llama/Meta-Llama-3.1-8B", 1, tuple(MODES)),
    ("h200_sxm", "llama-3.1-8b-shape", "meta-llama/Meta-Llama-3.1-8B", 2, ("bf16", "fp8")),
    ("h200_sxm", "llama-3.1-70b-shape", "meta-llama/Meta-Llama-3.1-70B", 2, ("bf16", "fp8")),
    ("h200_sxm", "qwen3-14b-shape", str(SHAPES / "qwen3-14b-shape"), 1, ("bf16", "fp8")),
    ("h200_sxm", "qwen3-30b-a3b-shape", "Qwen/Qwen3-30B-A3B", 1, ("bf16",)),
    ("h100_sxm", "llama-3.1-8b-shape", "meta-llama/Meta-Llama-3.1-8B", 1, ("fp8", "w8a8")),
    ("h100_sxm", "llama-3.1-8b-shape", "meta-llama/Meta-Llama-3.1-8B", 2, ("bf16", "fp8")),
    ("h100_sxm", "llama-3.1-70b-shape", "meta-llama/Meta-Llama-3.1-70B", 2, ("fp8",)),
)


def asked(place, system, *, form, tp, **question):
    """Its estimate, and the mode of the tables; None with the reason."""
    reason = ""
    if "A3B" in place:
        question |= {"moe_tp_size": tp, "moe_ep_size": 1, "moe_quant_mode": MODES[form]}
    for tables in ("SILICON", "HYBRID"):
        try:
            found = cli_estimate(
                place,
                system,
                backend_name="vllm",
                database_mode=tables,
                tp_size=tp,
                gemm_quant_mode=MODES[form],
                kvcache_quant_mode="bfloat16",
                fmha_quant_mode="bfloat16",
                **question,
            )
            return found, tables
        except Exception as error:  # noqa: BLE001 - whatever it cannot answer is a reason
            reason = f"{type(error).__name__}: {error}"[:200]
    return None, reason


def cells(systems):
    """A row for each cell of static batches."""
    for system, shape, place, tp, forms in (c for c in CELLS if not systems or c[0] in systems):
        for form in forms:
            for context in CONTEXTS:
                for batch in (b for b in BATCHES if b * context <= MOST_TOKENS):
                    row = {"device": system, "model": shape, "tensor_parallel": tp, "served": form, "batch": batch}
                    row["context_tokens"] = context
                    for mode, name, figure in (("static_gen", "tpot_s", "tpot"), ("static_ctx", "prefill_s", "ttft")):
                        size = {"mode": mode, "isl": context, "osl": OUTPUT, "batch_size": batch}
                        found, how = asked(place, system, form=form, tp=tp, **size)
                        value = None if found is None else getattr(found, figure) / 1e3
                        row |= {name: value, f"{name}_tables": how}
                    yield row


def place_of(shape, folder):
    """Folder of a shape under an architecture's name that is known."""
    config = json.loads((SHAPES / shape / "config.json").read_text())
    if config["architectures"] == ["MistralForCausalLM"]:
        config |= {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    place = Path(folder) / shape
    place.mkdir(exist_ok=True)
    (place / "config.json").write_text(json.dumps(config))
    return str(place)


def loads(folder):
    """A row for each closed loop."""
    for file in sorted((ROOT / "data/measured").glob("load_*.json")):
        spec = json.loads(file.read_text())["spec"]
        if spec["arrivals"] != "closed":
            continue
        name = file.stem.removeprefix("load_")
        shape, *words, device = name.split("_")
        users, n_in = spec["concurrency"], spec["input_tokens"]
        found, how = asked(
            place_of(shape, folder),
            f"{device}_sxm",
            form="fp8" if "fp8" in words else "bf16",
            tp=next((int(w[2:]) for w in words if re.fullmatch(r"tp\d", w)), 1),
            mode="agg",
            isl=n_in,
            osl=spec["output_tokens"],
            batch_size=users,
            ctx_tokens=min(8192, users * n_in),
        )
        ttft, tpot = (None, None) if found is None else (float(found.ttft) / 1e3, float(found.tpot) / 1e3)
        yield {"load": name, "ttft_s": ttft, "tpot_s": tpot, "tables": how}


def main() -> None:
    what, *systems = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        rows = list({"cells": lambda: cells(systems), "loads": lambda: loads(folder)}[what]())
    print(json.dumps({"tool": "aiconfigurator", "version": version("aiconfigurator"), "rows": rows}, indent=0))


if __name__ == "__main__":
    main()
