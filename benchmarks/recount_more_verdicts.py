"""Recount more verdicts of shipped runs, from raw samples where the files hold them; see ``recount_verdicts``.

python benchmarks/recount_more_verdicts.py
"""

import sys
from collections.abc import Iterator
from typing import Any

from recount_verdicts import Case, Cases, Raw, digits, duration, median, report, said

SPARSE = ("window", "sink-window", "block-sparse", "vertical-slash")
"""Techniques that attend to fewer keys, also as FlexAttention."""


def long_context(run: Any, file: Raw) -> Iterator[Case]:
    """TTFT and TPOT at the longest context that a server, or else a model alone, was given; and where memory ends."""
    from workbench.questions.long_context.findings import verdict

    parts = {p: [r for r in file["results"] if r["part"] == p] for p in ("served", "reading", "limit")}
    read = [r for part in ("served", "reading") for r in parts[part] if r["status"] == "measured"]
    longest = max(r["length_tokens"] for r in read)
    best = min((r for r in read if r["length_tokens"] == longest), key=lambda r: r["ttft_s"])
    must = [
        f"TTFT is {duration(best['ttft_s'])} and TPOT p50 {duration(median(best['step_s'][2:]))} at {longest:,} tokens"
    ]
    for limit in parts["limit"]:
        fits = [p["tokens"] for p in limit.get("probes") or () if p["fits"]]
        must.append(f"{max(fits):,} tokens" if fits else f"{limit['predicted_tokens']:,} tokens")
        if fits:
            must.append(f"({100 * (limit['predicted_tokens'] / max(fits) - 1):+.1f} %)")
    served = next((r for r in parts["served"] if r["length_tokens"] == longest), None)
    if served is not None:
        ways = duration(served["ttft_s"]), duration(served["ttft_prefix_s"])
        must.append(f"with {served['label']}, TTFT falls from {ways[0]} to {ways[1]}")
    yield "longest context", said(verdict(run)), must


def attention(run: Any, file: Raw) -> Iterator[Case]:
    """The fastest exact technique at each length, its median and how much faster sparser ones are, from all timings."""
    from workbench.questions.long_context.attention.findings import verdict
    from workbench.questions.long_context.attention.rows import AnyCell

    cells = {(r["phase"], r["length_tokens"], r["technique"]): r for r in file["results"] if "p50_s" in r}
    for phase, length in dict.fromkeys((p, n) for p, n, _ in cells):
        here = {t: r for (p, n, t), r in cells.items() if (p, n) == (phase, length)}
        times = {t: median(file["samples"]["seconds"][f"{phase} {length} {t}"]) for t in here}
        exact = [t for t in here if t.removesuffix("-flex") not in SPARSE]
        text = said(verdict(run.rows(AnyCell), phase=phase, length_tokens=length))
        if not exact:
            yield f"{phase} at {length:,}", text, ["No full attention was measured"]
            continue
        best = min(exact, key=lambda t: times[t])
        sparse = min((t for t in here if t.removesuffix("-flex") in SPARSE), key=lambda t: times[t], default=None)
        must = [here[best]["label"], duration(times[best])]
        if sparse and times[best] > 1.02 * times[sparse]:
            must.append(f"{here[sparse]['label']} is {digits(times[best] / times[sparse])}× as fast")
        yield f"{phase} at {length:,}", text, must


def mean(values: list[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)


def images(run: Any, file: Raw) -> Iterator[Case]:
    """How far held-out predictions are off, and from which hit rate on each cache pays."""
    from workbench.questions.multimodal.findings import verdict

    cells = [r for r in file["results"] if r["part"] == "cell" and r["held_out"]]
    misses = [abs(r["predicted_ttft_s"] / r["ttft_p50_s"] - 1) for r in cells]
    even = [r for r in file["results"] if r["part"] == "break-even"]
    must = [f"within 15 % for {sum(m <= 0.15 for m in misses)} of {len(cells)} held-out"]
    must.append(f"(largest error {100 * max(misses):.0f} %)")
    lines = file["samples"]["lines"]
    without = [q["ttft_s"] for line in lines["none"] if line.get("do") == "about" for q in line["requests"]]
    for cache in (r["cache"] for r in even):  # at this share of hits, hits and misses together take as long as no cache
        mixed = [x["requests"] for x in lines[cache] if x.get("do") == "about" and 0 < x["hit_rate"] < 1]
        hits, misses = ([q["ttft_s"] for own in mixed for q in own if q["is_hit"] is hit] for hit in (True, False))
        share = (mean(misses) - mean(without)) / (mean(misses) - mean(hits))
        must.append(f"{100 * share:.0f} % for processor")
    must.append(f"costs {100 * (max(r['missed_s'] / r['without_s'] for r in even) - 1):.0f} % more TTFT")
    yield "TTFT", said(verdict(run)), must


def edge(run: Any, file: Raw) -> Iterator[Case]:
    """The setting with the highest throughput among those within the limits, from its times."""
    from workbench.questions.edge import findings
    from workbench.questions.edge.rows import Limits, VariantResult, batches_of
    from workbench.questions.edge.spec import EdgeSpec

    variants = [r for r in file["results"] if r["part"] == "variant"]
    settings = [r for r in file["results"] if r["part"] == "setting"]
    plain = next(r for r in variants if r["technique"] == "fp32")
    for batch in batches_of(run):
        limits = Limits.of(run.asked(EdgeSpec))
        text = said(findings.verdict(run.rows(VariantResult), findings.settings_under(run, limits), batch))
        must = []
        if plain.get("accuracy") is not None:
            kept = {r["technique"] for r in variants if r["accuracy"] >= plain["accuracy"] - file["spec"]["most_lost"]}
            best = max((s for s in settings if s["technique"] in kept), key=lambda s: s["inputs_per_s"])
            must.append(f"{best['technique']} at {best['threads']} threads and batch size {best['batch']}")
            must.append(f"{best['inputs_per_s']:,.0f} inputs/s")
        yield f"batch {batch}", text, must


def speculation(run: Any, file: Raw) -> Iterator[Case]:
    """Whether the fastest variant of each batch size is faster than plain decoding, from the paired rounds."""
    from workbench.questions.tuning.speculation.findings import verdict

    rows = [r for r in file["results"] if r["part"] == "speed-up"]
    misses = [abs(r["predicted"] - r["measured"]["value"]) for r in rows]
    for batch in sorted({r["batch"] for r in rows}):
        rounds = {
            r["method"] + str(r["draft_tokens"]): file["samples"]["speedups"][
                f"{r['method']} {r['draft_tokens']} {batch}"
            ]
            for r in rows
            if r["batch"] == batch
        }
        best = max(rounds.values(), key=median)
        row = max((r for r in rows if r["batch"] == batch), key=lambda r: r["measured"]["value"])
        low, high = row["measured"]["low"], row["measured"]["high"]
        answer = "Speculation pays" if low > 1 else "does not pay" if high < 1 else "No gain is shown"
        must = [answer, f"{digits(median(best))} times the tokens per second", f"by {digits(max(misses))} at most"]
        yield f"batch {batch}", said(verdict(run, batch)), must


def structured(run: Any, file: Raw) -> Iterator[Case]:
    """The valid share with the schema and without, and whether the cost is shown."""
    from workbench.questions.tuning.structured.findings import verdict

    rows = {r["variant"]: r for r in file["results"] if r["part"] == "answers"}
    ratio = next(r["tpot_ratio"] for r in file["results"] if r["part"] == "cost")
    shares = {v: r["valid"]["value"] for v, r in rows.items()}
    must = [
        f"{100 * shares['structured']:.0f} % of the answers are valid and {100 * shares['plain']:.0f} % without",
        f"({digits(ratio['value'])} times" if ratio["low"] > 1 or ratio["high"] < 1 else "is open",
        f"{100 * rows['structured']['cut_fraction']:.0f} % of the answers with the schema were cut",
    ]
    yield "validity", said(verdict(run)), must


def adapters(run: Any, file: Raw) -> Iterator[Case]:
    """The share of the throughput that as many adapters as slots leave, from the rounds, and how often the most of them miss their slot."""
    from workbench.questions.tuning.adapters.findings import verdict

    even = [r for r in file["results"] if r["part"] == "load" and r["skew"] == 0.0 and r["n_adapters"]]
    rank, *others = sorted({r["rank"] for r in even})
    slots, rounds = even[0]["slots"], file["samples"]["throughput_ratios"]
    n = max(r["n_adapters"] for r in even if r["n_adapters"] <= slots)
    most = max((r for r in even if r["rank"] == rank), key=lambda r: r["n_adapters"])

    def kept(of_rank: int) -> str:
        return f"{100 * median(rounds[f'rank {of_rank} slots {slots} {n} adapters skew 0']):.0f} %"

    must = [
        f"{n} adapters, even use (rank {rank}, {slots} slots) keep {kept(rank)}",
        *(f"With rank {other} the same number keep {kept(other)}" for other in others),
        f"{100 * most['missed_fraction']:.0f} % of the requests find their adapter in no slot",
    ]
    yield "throughput", said(verdict(run)), must


def tuning(run: Any, file: Raw) -> Iterator[Case]:
    """The setting that has the highest mean of its trials within the budget, and its score on loads that decided nothing."""
    from workbench.questions.tuning.findings import tuned_under, verdict

    trials = [r for r in file["results"] if r["part"] == "trial"]
    choice = next(r for r in file["results"] if r["part"] == "choice")

    def scores(name: str, purpose: str, *, fresh: bool = False) -> list[float]:
        own = (t for t in trials if t["name"] == name and t["purpose"] == purpose)
        return [t["score"] for t in own if (t["seed"] >= FRESH_SEED) is fresh]

    searched = dict.fromkeys(t["name"] for t in trials if t["purpose"] == "search")
    best = max(searched, key=lambda name: mean(scores(name, "search")))
    grid = {t["name"]: t["score"] for t in trials if t["purpose"] == "grid" and t["seed"] < FRESH_SEED}
    fresh: dict[str, dict[int, float]] = {}
    for t in trials:
        if t["seed"] >= FRESH_SEED:
            fresh.setdefault(t["name"], {})[t["seed"]] = t["score"]
    ratios = {best: 1.0}
    for name, own in fresh.items():
        pairs = [(score, own[seed]) for seed, score in fresh[best].items() if seed in own]
        ratios[name] = sum(a for a, _ in pairs) / sum(b for _, b in pairs)
    first = min(ratios, key=lambda name: ratios[name])
    must = ["Not worth tuning" if best == choice["default"] else best, f"{len(searched)} of them measured"]
    must.append(f"the tuner's choice has {100 * grid[best] / max(grid.values()):.0f} % of the best score there")
    must.append(f"{first} has the highest score, and the tuner's choice {100 * ratios[first]:.0f} %")
    limits = {name: file["spec"][name] for name in ("slo_ttft_s", "slo_tpot_s")}
    yield "setting", said(verdict(tuned_under(run, **limits))), must


FRESH_SEED = 100_000
"""Seeds from here on are of loads that decided nothing."""

CASES: Cases = {
    f.__name__: f for f in (long_context, attention, images, edge, speculation, structured, adapters, tuning)
}

if __name__ == "__main__":
    sys.exit(report(CASES))
