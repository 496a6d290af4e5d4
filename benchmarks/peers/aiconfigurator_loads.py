"""What aiconfigurator predicts for the closed loops that were measured (data/measured/load_*_closed-*, load_*_alone-*).

Runs in an environment of its own, as ``aiconfigurator_cells.py`` does:

    peer/bin/python benchmarks/peers/aiconfigurator_loads.py > benchmarks/peers/aiconfigurator_loads_0.12.0.json

It knows no MistralForCausalLM, whose layers are Llama's: that shape is given to it under Llama's name. Its mode agg (continuous batching; TTFT and TPOT in the mean), vLLM's tables, SILICON, and HYBRID where that has no row.
"""

import json
import logging
import re
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
from aiconfigurator.cli.api import cli_estimate  # noqa: E402

ROOT = Path(__file__).parents[2]
MODES = {"bf16": "bfloat16", "fp8": "fp8"}


def place_of(shape, folder):
    """Folder of a shape under an architecture's name that is known."""
    config = json.loads((ROOT / "data/models" / shape / "config.json").read_text())
    if config["architectures"] == ["MistralForCausalLM"]:
        config |= {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    place = Path(folder) / shape
    place.mkdir(exist_ok=True)
    (place / "config.json").write_text(json.dumps(config))
    return str(place)


def asked(place, *, system, form, tp, users, n_in, n_out):
    """Seconds of TTFT and TPOT with the tables that gave them; None with the reason."""
    reason = ""
    for tables in ("SILICON", "HYBRID"):
        try:
            found = cli_estimate(
                place,
                system,
                mode="agg",
                backend_name="vllm",
                database_mode=tables,
                isl=n_in,
                osl=n_out,
                batch_size=users,
                ctx_tokens=min(8192, users * n_in),
                tp_size=tp,
                gemm_quant_mode=MODES[form],
                kvcache_quant_mode="bfloat16",
                fmha_quant_mode="bfloat16",
            )
            return float(found.ttft) / 1e3, float(found.tpot) / 1e3, tables
        except Exception as error:  # noqa: BLE001 - whatever it cannot answer is a reason
            reason = f"{type(error).__name__}: {error}"[:200]
    return None, None, reason


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = predicted(folder)
    print(json.dumps({"tool": "aiconfigurator", "version": version("aiconfigurator"), "rows": rows}, indent=0))


def predicted(folder):
    """A row for each closed loop."""
    rows = []
    for file in sorted((ROOT / "data/measured").glob("load_*.json")):
        spec = json.loads(file.read_text())["spec"]
        name = file.stem.removeprefix("load_")
        if spec["arrivals"] != "closed":
            continue
        shape, *words, device = name.split("_")
        tp = next((int(w[2:]) for w in words if re.fullmatch(r"tp\d", w)), 1)
        ttft, tpot, how = asked(
            place_of(shape, folder),
            system=f"{device}_sxm",
            form="fp8" if "fp8" in words else "bf16",
            tp=tp,
            users=spec["concurrency"],
            n_in=spec["input_tokens"],
            n_out=spec["output_tokens"],
        )
        rows.append({"load": name, "ttft_s": ttft, "tpot_s": tpot, "tables": how})
    return rows


if __name__ == "__main__":
    main()
