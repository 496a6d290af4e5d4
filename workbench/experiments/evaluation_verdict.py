"""What an evaluation says: which candidates answer like the original, and what the tasks could not tell."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.core.evaluation import KV, kl_band
from workbench.core.runs import Run
from workbench.core.units import three_digits
from workbench.experiments.quantization_verdict import Verdict


def candidates_of(run: Run) -> list[Mapping[str, Any]]:
    """The rows of the candidates, least divergence first."""
    rows = [r for r in run.results if r["part"] == "candidate"]
    return sorted(rows, key=lambda r: r["mean_kl_nat_per_token"])


def candidate_label(folder: str) -> str:
    """A short name: the cache format, or the folder's last part without the digest of its making."""
    if folder.startswith(KV):
        number, _, shared = folder.removeprefix(KV).partition("-")
        return f"{number.upper()} cache, scale per {shared}"
    name = Path(folder).name
    head, _, tail = name.rpartition("-")
    return head if len(tail) == 8 and all(c in "0123456789abcdef" for c in tail) else name


def evaluation_verdict(run: Run) -> Verdict:
    """Closest and farthest candidate, with intervals, and what speaks against trusting it."""
    rows = candidates_of(run)
    near, far = rows[0], rows[-1]
    name = candidate_label(near["folder"])
    headline = f"{name} answers most like the original: KL {_kl(near)} ({kl_band(near['mean_kl_nat_per_token'])})"
    if len(rows) > 1:
        times = far["mean_kl_nat_per_token"] / max(near["mean_kl_nat_per_token"], 1e-12)
        headline += f"; {candidate_label(far['folder'])} is {three_digits(times)} times as far"
    changed = 100 * (1 - near["top1_agreement_fraction"])
    evidence = (
        f"KL {_kl(near)} [{three_digits(near['mean_kl_nat_per_token_low'])}, "
        f"{three_digits(near['mean_kl_nat_per_token_high'])}] nat/token, paired over "
        f"{run.spec['n_windows']} windows of {run.spec['window_tokens']} tokens; {three_digits(changed)} % of the most likely "
        f"tokens change."
    )
    return Verdict(best=near["folder"], headline=headline + ".", evidence=evidence, objection=_objection(rows))


def _kl(row: Mapping[str, Any]) -> str:
    return three_digits(row["mean_kl_nat_per_token"])


def _objection(rows: Sequence[Mapping[str, Any]]) -> str:
    points = []
    lost = [r for r in rows for task in ("passkey", "completion") if r.get(f"{task}_mcnemar_p", 1.0) < 0.05]
    if lost:
        names = " and ".join(dict.fromkeys(candidate_label(r["folder"]) for r in lost))
        points.append(f"{names} loses answers beyond chance (McNemar, p < 0.05)")
    detectable = max((r.get("completion_minimum_detectable_fraction", 0.0) for r in rows), default=0.0)
    if detectable:
        points.append(f"the line completions tell apart only differences of {100 * detectable:.0f} points or more")
    in_vllm = [r for r in rows if r.get("vllm_top1_agreement_fraction") is not None]
    if in_vllm:
        worst = min(in_vllm, key=lambda r: r["vllm_top1_agreement_fraction"])
        share = three_digits(100 * worst["vllm_top1_agreement_fraction"])
        points.append(
            f"vLLM's own kernels choose the same token in {share} % of positions at the least "
            f"({candidate_label(worst['folder'])})"
        )
    text = "; ".join(points) or "the tasks were left out"
    return text[0].upper() + text[1:] + "."
