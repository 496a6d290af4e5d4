"""Whether limits that are changed on a running vLLM do what a launch with the flags does.

    python benchmarks/tune_live.py OUT

A server with the largest limits runs throughout; for each setting another one is launched with its flags, and both get the same loads one
after the other (live, launched, launched, live), so that other work on the machine meets both. Prints TTFT, TPOT and answered requests of each
pair, and writes them to OUT/pairs.json.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from workbench.engines.vllm_settings import VllmSetting
from workbench.questions.tuning.measure.loads import LoadOutcome, outcome, tokenizer_of, warm_up
from workbench.questions.tuning.measure.servers import Launched, Live, Served
from workbench.questions.tuning.spec import TuneSpec

sys.path.insert(0, str(Path(__file__).parent))
from tune_grid import spec_of

SETTINGS = ((256, 8), (2048, 128))
SEEDS = (0, 1)


def figures(spec: TuneSpec, served: Served, seed: int, folder: Path) -> dict[str, float]:
    """Return the medians of a load, and the requests that were answered while it lasted."""
    load = spec.load(served.url, served.model, seed=seed, tokenizer=tokenizer_of(spec))
    done = [x for x in outcome(load, folder, wait_s=20.0) if isinstance(x, LoadOutcome)][-1]
    times = done.times
    ends = [d + e for d, e in zip(times.due_s, times.e2e_s, strict=True) if e is not None]
    return {
        "ttft_p50_s": float(np.median([v for v in times.ttft_s if v is not None])),
        "tpot_p50_s": float(np.median([v for v in times.tpot_s if v is not None])),
        "answered": float(sum(end < spec.duration_s for end in ends)),
    }


def main() -> None:
    out = Path(sys.argv[1]).resolve()
    out.mkdir(parents=True, exist_ok=True)
    spec = replace(spec_of("cpu", out), concurrency=24)
    live = Live(spec, out / "live", device="cpu", largest_tokens=2048, largest_sequences=128)
    launched = Launched(spec, out / "launched", device="cpu")
    pairs = []
    try:
        for tokens, sequences in SETTINGS:
            setting = VllmSetting(max_num_batched_tokens=tokens, max_num_seqs=sequences)
            both = {"live": live.served(setting), "launched": launched.served(setting)}
            for served in both.values():
                load = spec.load(served.url, served.model, seed=5, tokenizer=tokenizer_of(spec))
                list(outcome(warm_up(load), out / "load", wait_s=5.0))
            order = [(n, s) for s in SEEDS for n in (("live", "launched") if s % 2 == 0 else ("launched", "live"))]
            for name, seed in order:
                row = {
                    "setting": setting.label,
                    "how": name,
                    "seed": seed,
                    **figures(spec, both[name], seed, out / "load"),
                }
                pairs.append(row)
                print(row, flush=True)
                (out / "pairs.json").write_text(json.dumps(pairs, indent=1))
    finally:
        launched.stop()
        live.stop()


if __name__ == "__main__":
    main()
