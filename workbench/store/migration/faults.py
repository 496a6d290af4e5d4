"""Fault suites of format 1."""

from workbench.core.json_values import JsonObject

TEXTS = {
    "wait for the first token outside the server, s": "TTFT outside the server (s)",
    "wait for the first token": "TTFT",
    "time of a whole answer": "end-to-end latency",
    "time per token": "TPOT",
    "seconds per token": "TPOT (s)",
    "asked alone, a": "without other load, a",
    "stalls in an answer": "stalls per answer",
    "stalls between tokens of an answer": "stalls per answer",
    "of other answers with them": "of the other answers stall at the same time",
    "a middle stall lasts, s": "median stall (s)",
    "answer tokens": "output tokens",
    "round trip of /health, s": "round trip of /health (s)",
    "announced most requests of a step": "announced max_num_seqs",
    "highest share of the KV cache in use": "highest KV cache usage",
    "share of the time with requests in which the server did nothing": (
        "share of the time with running requests in which the server was idle"
    ),
    "longest silence of /metrics, s": "longest gap between samples of /metrics (s)",
    "TCP segments sent again, per second": "TCP retransmissions per second",
    "the server names": "the server announces",
}
"""Texts of symptoms and evidence by their former wording."""
SHARES = ("top1", "top3", "false_alarms")


def migrated(run: JsonObject) -> JsonObject:
    """Return a fault suite whose shares hold their intervals; the counts by fault follow from the episodes."""
    samples = {name: value for name, value in run["samples"].items() if name != "by_fault"}
    episodes = [_episode(e) for e in samples["episodes"]]
    return {**run, "results": [_score(row) for row in run["results"]], "samples": {**samples, "episodes": episodes}}


def _score(row: JsonObject) -> JsonObject:
    intervals = {name: row[f"{name}_interval"] for name in SHARES}
    shares = {
        name: None if ends is None else {"value": row[name], "low": ends[0], "high": ends[1]}
        for name, ends in intervals.items()
    }
    return {**row, **shares, "alarmed_fraction": row["alarmed"], "abstained_fraction": row["abstained"]}


def _episode(episode: JsonObject) -> JsonObject:
    return {**episode, "answers": {method: _answer(said) for method, said in episode["said"].items()}}


def _answer(said: JsonObject) -> JsonObject:
    evidence = [
        {"text": _text(text), "score": score, "weight": weight} for text, score, weight in said.get("evidence", ())
    ]
    symptoms = [_text(text) for text in said.get("symptoms", ())]
    return {**said, "probability": said.get("share"), "symptoms": symptoms, "evidence": evidence}


def _text(text: str) -> str:
    for former, present in TEXTS.items():
        text = text.replace(former, present)
    return text
