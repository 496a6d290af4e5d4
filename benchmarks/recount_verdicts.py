"""Recount the verdicts of shipped runs from their JSON files, with code of its own.

    python benchmarks/recount_verdicts.py

Each verdict is written by the findings; what it must say is counted here from the file as it lies on disk, without the classes and
functions that the findings use. Prints a line for each verdict, and ends with status 1 where one says something else.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).parents[1] / "data" / "measured"
Raw = dict[str, Any]
Case = tuple[str, str, list[str]]
"""What was asked, what the verdict says, and what it must say."""
Cases = dict[str, Callable[[Any, Raw], Iterator[Case]]]
"""What counts the verdicts of a run, by the run's kind."""


def raw(name: str) -> Raw:
    """Return a shipped run as its file holds it."""
    loaded: Raw = json.loads((MEASURED / f"{name}.json").read_text())
    return loaded


def digits(value: float) -> str:
    """Return three significant digits."""
    return f"{float(f'{value:.2e}'):.{max(0, 2 - int(f'{value:e}'.split('e')[1]))}f}"


def duration(seconds: float) -> str:
    """Return a time below a minute with three significant digits."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1:
            return f"{digits(seconds * factor)} {unit}"
    return f"{digits(seconds * 1e9)} ns"


def said(verdict: Any) -> str:
    """Return everything that a verdict says."""
    return " ".join(filter(None, (verdict.headline, verdict.evidence, verdict.objection, verdict.scope)))


def quantization(run: Any, file: Raw) -> Iterator[Case]:
    """The fastest method whose KL is within 0.01 and whose steps are shorter beyond the intervals, at each batch size."""
    from workbench.questions.quantization.findings import verdict

    rows = {r["method"]: r for r in file["results"] if r["status"] == "measured"}
    is_gpu = any(r["execution"] == "compiled" for r in rows.values())
    base = rows["bf16" if is_gpu else "fp32"]
    for batch in sorted({d["batch"] for d in base["decode"]}):
        step = {m: d for m, r in rows.items() for d in r["decode"] if d["batch"] == batch}
        quick = [m for m, d in step.items() if d["p50_high_s"] < step[base["method"]]["p50_low_s"]]
        kl = {m: r.get("mean_kl_nat_per_token_high") for m, r in rows.items()}
        if any(v is not None for v in kl.values()):
            quick = [m for m in quick if kl[m] is not None and kl[m] <= 0.01]
        must = ["Stay with"] if any(v is not None for v in kl.values()) else ["No method is shown"]
        if quick:
            best = min(quick, key=lambda m: step[m]["p50_s"])
            must = [f"{step[base['method']]['p50_s'] / step[best]['p50_s']:.2f}×", duration(step[best]["p50_s"])]
        yield f"batch {batch}", said(verdict(run, kl_limit=0.01, batch=batch)), must


def serving_speed(run: Any, file: Raw) -> Iterator[Case]:
    """The fastest precision of each cell, and by how much it beats BF16."""
    from workbench.questions.quantization.serving_speed.findings import speed_verdict

    cells: dict[tuple[int, int], dict[str, Raw]] = {}
    for r in file["results"]:
        if "tpot_p50_s" in r:
            cells.setdefault((r["batch"], r["context_tokens"]), {})[r["served"]] = r
    for (batch, context), here in cells.items():
        best = min(here.values(), key=lambda r: r["tpot_p50_s"])
        equal = [r for r in here.values() if r is not best and r["tpot_p50_s_low"] <= best["tpot_p50_s_high"]]
        must = [
            duration(best["tpot_p50_s"]),
            f"{best['label']} is not shown to differ" if equal else f"{best['label']} is fastest",
        ]
        if best["served"] != "bf16" and "bf16" in here and here["bf16"] not in equal:
            must.append(f"{here['bf16']['tpot_p50_s'] / best['tpot_p50_s']:.2f} times as fast as BF16")
        yield f"{batch} × {context}", said(speed_verdict(run, batch=batch, context_tokens=context)), must


def batch_search(run: Any, file: Raw) -> Iterator[Case]:
    """The batch with the highest throughput, from the times of all steps."""
    from workbench.questions.utilization.batch_size.findings import verdict

    trials = [r for r in file["results"] if "peak_bytes" in r]
    seconds: dict[int, list[float]] = {}
    for trial, times in zip(trials, file["samples"]["seconds"], strict=True):
        if all(t["status"] == "fits" for t in trials if t["batch"] == trial["batch"]):
            seconds.setdefault(trial["batch"], []).extend(times)
    per_s = {b: b / median(times) for b, times in seconds.items()}
    best = max(per_s, key=lambda b: per_s[b])
    yield "best batch", said(verdict(run)), [f"Batch size {best} ", f"{digits(per_s[best])} tokens/s"]


def median(values: list[float]) -> float:
    """Return the median."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def techniques(run: Any, file: Raw) -> Iterator[Case]:
    """The largest gain, and what is slower."""
    from workbench.questions.utilization.techniques.findings import verdict

    timed = [r for r in file["results"] if r.get("gain_low") is not None]
    best = max(timed, key=lambda r: r["gain"])
    slower = [r["label"] for r in timed if r["gain_high"] < 1]
    yield "largest gain", said(verdict(run)), [f"{best['gain']:.2f}x", *slower]


def context_quality(run: Any, file: Raw) -> Iterator[Case]:
    """Which variants lose answers beyond chance."""
    from workbench.questions.long_context.quality.findings import verdict

    rows = [r for r in file["results"] if r["part"] == "variant"]
    full = next(r for r in rows if r["variant"] == "full")
    must = [f"retrieves {100 * full['right_fraction']:.0f} %"]
    losing = [r for r in rows if r.get("mcnemar_p") is not None and r["mcnemar_p"] < 0.05 and r["lost"] > r["won"]]
    must += [f"{r['label']} loses {r['lost']} of {r['n']} answers" for r in losing]
    yield "retrieval", said(verdict(run)), must


def evaluation(run: Any, file: Raw) -> Iterator[Case]:
    """The closest candidate, and how much farther the farthest is."""
    from workbench.questions.quantization.evaluation.findings import evaluation_verdict

    kls = [r["mean_kl_nat_per_token"] for r in file["results"] if r["part"] == "candidate"]
    must = [f"diverges {digits(max(kls) / min(kls))} times as much"]
    yield "closest", said(evaluation_verdict(run)), must


def plan_damage(run: Any, file: Raw) -> Iterator[Case]:
    """The least text after which KL stays within 5 %."""
    from workbench.questions.quantization.plan_damage.findings import verdict

    rows = sorted((r for r in file["results"] if r["calibration_windows"]), key=lambda r: r["calibration_tokens"])
    kls = [r["mean_kl_nat_per_token"] for r in rows]
    enough = [i for i in range(len(kls)) if all(abs(k / kls[-1] - 1) <= 0.05 for k in kls[i:])]
    sure = enough[0] < len(kls) - 1
    yield (
        "enough text",
        said(verdict(run)),
        [
            f"{rows[enough[0]]['calibration_tokens']:,} tokens of calibration text are enough"
            if sure
            else "It is not known"
        ],
    )


def surge(run: Any, file: Raw) -> Iterator[Case]:
    """The highest goodput, and that without a gateway."""
    from workbench.questions.surge.findings import verdict

    rows = {r["way"]: r for r in file["results"]}
    best = max(r["goodput_fraction"] for r in rows.values())
    must = [
        f"goodput is {100 * best:.0f} %",
        f"Without a gateway it is {100 * rows['direct']['goodput_fraction']:.0f} %",
    ]
    yield "goodput", said(verdict(run)), must


def rollout(run: Any, file: Raw) -> Iterator[Case]:
    """How many rollouts ended as they should, and how soon the degraded ones were rolled back."""
    from workbench.questions.rollout.findings import verdict

    rows = file["results"]
    back = [r for r in rows if r["phase"] == "rolled back"]
    must = [
        f"{sum(r['is_right'] for r in rows)} of {len(rows)} rollouts",
        f"within {max(r['took_s'] for r in back):.0f} s",
        f"at most {max(r['n_new'] for r in back)} of their requests",
    ]
    yield "rollouts", said(verdict(run)), must


def redaction(run: Any, file: Raw) -> Iterator[Case]:
    """The classes with 95 % recall and precision, and the weakest one."""
    from workbench.questions.security.findings import verdict

    rows = [r for r in file["results"] if r["detector"] == "workbench"]
    weakest = min(rows, key=lambda r: min(r["recall"]["value"], r["precision"]["value"]))
    good = sum(min(r["recall"]["value"], r["precision"]["value"]) >= 0.95 for r in rows)
    where = "every class" if good == len(rows) else f"{good} of {len(rows)} classes"
    yield "classes", said(verdict(run)), [where, f"weakest class is {weakest['kind'].lower()}"]


def faults(run: Any, file: Raw) -> Iterator[Case]:
    """How many causes were named, counted from the episodes."""
    from workbench.questions.latency.faults.findings import verdict

    own = next(r for r in file["results"] if r["method"] == "workbench")
    best = max((r for r in file["results"] if r is not own), key=lambda r: r["top1"])
    must = [
        f"in {100 * own['top1']:.0f} % of {own['n_faults']} faults",
        f"{best['method']}, names {100 * best['top1']:.0f} %",
    ]
    yield "causes", said(verdict(run)), must


def engine_sweep(run: Any, file: Raw) -> Iterator[Case]:
    """The highest rate of each engine, from the attainment of its trials under the run's own SLO."""
    from workbench.questions.engines.findings import results_under, slo_of, verdict
    from workbench.questions.engines.spec import EngineSweepSpec

    asked, peaks = file["spec"].get("attainment_fraction", 0.9), {}
    for r in file["results"]:
        met = [t["rate_per_s"] for t in r.get("trials") or () if t["attainment_fraction"] >= asked]
        peaks[r["engine"]] = max(met, default=0.0)
    first, second = sorted(peaks.values(), reverse=True)[:2]
    slo = slo_of(run.asked(EngineSweepSpec))
    must = [f"{digits(first)} requests/s", f"{first / second:.1f}x"]
    yield "peak rate", said(verdict(results_under(run, slo), slo)), must


def fusion(run: Any, file: Raw) -> Iterator[Case]:
    """The fusion that modality dropout helps most, and the speed of routing."""
    from workbench.questions.multimodal.fusion.findings import verdict

    best = min((r for r in file["results"] if r["part"] == "drop"), key=lambda r: r["ratio"])
    routing = next(r for r in file["results"] if r["part"] == "routing")
    speeds = [f"{t['ratio']:.2f} at batch size {b}" for b, t in routing["times"].items()]
    must = [f"{best['fusion']} fusion loses {100 * best['drop_without']:.0f} points", *speeds]
    yield "dropout", said(verdict(run)), must


CASES: Cases = {
    f.__name__: f
    for f in (
        quantization, serving_speed, batch_search, techniques, context_quality, evaluation, plan_damage, surge, rollout, redaction, faults,
        engine_sweep, fusion,
    )
}  # fmt: skip


def recounted(cases: Cases = CASES) -> Iterator[tuple[str, str, list[str]]]:
    """Yield each verdict's name, what it says, and what it must say and does not."""
    from workbench.store.runs import read_run_file

    for path in sorted(MEASURED.glob("*.json")):
        file = raw(path.stem)
        count = cases.get(file["kind"])
        for what, text, must in count(read_run_file(path), file) if count else ():
            yield f"{path.stem}, {what}", text, [m for m in must if m.lower() not in text.lower()]


def report(cases: Cases = CASES) -> int:
    """Print each verdict with whether it says what was counted."""
    wrong = n = 0
    for name, text, missing in recounted(cases):
        n, wrong = n + 1, wrong + bool(missing)
        print(f"{'wrong' if missing else 'right'}  {name}" + (f": {missing} not in {text!r}" if missing else ""))
    print(f"{n - wrong} of {n} verdicts say what was counted.")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(report())
