"""The ledger of claims: every row is judged in one place, under its own conditions, by runs that ship, and the same everywhere."""

import html
import json
import re
import statistics
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from workbench.app.claims_panel import claims_of_question, claims_score
from workbench.app.ledger import all_runs, decisions, judges, ledger
from workbench.app.main import app
from workbench.catalog.ledger import Outcome, key_of, shown_value
from workbench.catalog.paths import MEASURED
from workbench.catalog.tables import claims
from workbench.jobs.manager import JobManager
from workbench.questions.cost.claims import faq_instances
from workbench.questions.edge.rows import LengthsResult
from workbench.questions.parallelism.claims import faq_strategies
from workbench.questions.surge.claims import bucket_admitted, faq_admitted

pytestmark = pytest.mark.usefixtures("strict")
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
LEAST_JUDGED = 60
WORDS = set(typer.main.get_command(app).commands)


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    """All claims, judged by what ships."""
    return ledger(all_runs(JobManager(tmp_path_factory.mktemp("home"))))


def entry(entries, question, technique, metric):
    return next(e for e in entries if key_of(e.claim) == (question, technique, metric))


def raw(name):
    """A run as the file holds it, read without the program."""
    return json.loads((MEASURED / name).read_text())


def test_every_claim_has_one_judge_and_every_judge_a_claim():
    assert set(judges()) == {key_of(c) for c in claims()}
    assert len(claims()) == 89


def test_at_least_sixty_are_judged(entries):
    assert sum(e.judgement.is_judged for e in entries) >= LEAST_JUDGED


def test_a_judgement_names_what_it_stands_on(entries):
    shipped = {json.loads(p.read_text())["id"] for p in MEASURED.rglob("*.json")}
    for e in entries:
        judgement, name = e.judgement, str(key_of(e.claim))
        assert judgement.how, name
        match judgement.outcome:
            case Outcome.NOT_TESTED:
                assert judgement.command.startswith("workbench "), name
                assert judgement.command.split()[1] in WORDS, name
                assert judgement.value is None, name
            case Outcome.NOT_TESTABLE:
                assert judgement.reason, name
                assert judgement.value is None, name
            case _:
                assert judgement.runs, name
                assert {r.id for r in judgement.runs} <= shipped, name
                assert judgement.device, name
                assert judgement.value is not None, name
                assert judgement.provenance, name
                low, high = judgement.interval or (judgement.value, judgement.value)
                assert low <= judgement.value <= high, name


def test_no_judgement_is_against_the_conditions_of_its_claim(entries):
    lengths = {
        "sequences of 32K and more": 32_768,
        "sequences of 64K and more": 65_536,
        "sequences of 100K and more": 100_000,
    }
    for e in entries:
        if not e.judgement.runs:
            continue
        if least := lengths.get(e.claim.condition):
            numbers = [
                int(n.replace(",", ""))
                for n in re.findall(r"(\d[\d,]*) tokens", e.judgement.how.split(" Other lengths")[0])
            ]
            assert max(numbers) >= least, key_of(e.claim)
            others = re.findall(r"× at (\d[\d,]*)", e.judgement.how)
            assert all(int(n.replace(",", "")) >= least for n in others), key_of(e.claim)
        if e.claim.condition == "variable-length input":
            assert all(r.lengths.p50 < r.lengths.max for run in e.judgement.runs for r in run.rows(LengthsResult))
            assert all(run.rows(LengthsResult) for run in e.judgement.runs)
        if e.claim.condition == "large language models":
            assert all("8b-shape" in (r.model or "") for r in e.judgement.runs)
        if e.claim.metric == "gpu_utilization" or e.claim.technique == "GPU utilization":
            assert all(r.environment.device_id != "cpu" for r in e.judgement.runs)
        assert e.claim.condition not in {
            "70B",
            "8B",
            "dedicated chips",
            "adversarial examples",
        }, key_of(e.claim)


def cell(name, technique, phase, length):
    return next(
        r
        for r in raw(name)["results"]
        if (r.get("technique"), r.get("phase"), r.get("length_tokens")) == (technique, phase, length) and "p50_s" in r
    )


def test_ten_judgements_recomputed_from_the_files_alone(entries):
    """Expected values are worked out of the stored JSON by hand-written lines, without the program's code."""
    plain, flex = "attention_llama-3.1-8b-shape_h200.json", "attention_llama-3.1-8b-shape_flex_h200.json"
    techniques = {r["technique"]: r for r in raw("techniques_llama-3.1-8b-shape_h200.json")["results"]}
    steps = {
        (r["served"], r["batch"], r["context_tokens"]): r["tpot_p50_s"]
        for r in raw("serving_speed_llama-3.1-8b-shape_h200.json")["results"]
        if "tpot_p50_s" in r
    }
    rings = {
        (r["world"], r["length_tokens"]): r["p50_s"]
        for r in raw("ring_attention_llama-3.1-8b-shape_2-h100.json")["results"]
    }
    variants = {r["technique"]: r for r in raw("edge_digits_epyc-2-cores.json")["results"] if r["part"] == "variant"}
    flooded = next(r for r in raw("surge_stdlib-9m_epyc-2-cores.json")["results"] if r["way"] == "rates")["tenants"]
    load = raw("load_llama-3.1-8b-shape_conv-33-percent_h200.json")["samples"]["requests"]
    digits = {r["technique"]: r["n_bytes"] for r in variants.values()}
    w4 = [steps["bf16", b, c] / steps["w4a16", b, c] for (s, b, c) in steps if s == "w4a16" and ("bf16", b, c) in steps]
    others = [flooded[name] for name in ("small", "app")]
    latencies = [r["end_s"] - r["due_s"] for r in load]
    expected = {
        (5, "sparse attention", "speedup"): (cell(plain, "fa3", "prefill", 131072)["p50_s"] / cell(flex, "block-sparse-flex", "prefill", 131072)["p50_s"], "more than claimed"),
        (5, "Flash Attention", "speedup"): (cell(plain, "math", "decode", 65536)["p50_s"] / cell(plain, "fa3", "decode", 65536)["p50_s"], "more than claimed"),
        (5, "sequence parallelism", "speedup"): (rings[1, 65536] / rings[2, 65536], "confirmed"),
        (2, "INT4 GPTQ", "speedup"): (max(w4), "less than claimed"),
        (4, "dynamic batching", "throughput_gain"): (techniques["batching"]["without_s"] / techniques["batching"]["with_s"], "more than claimed"),
        (4, "operator fusion", "kernel_count_reduction"): (100 * (1 - techniques["fusion"]["operators_with"] / techniques["fusion"]["operators_without"]), "less than claimed"),
        (7, "mean latency", "normal_range"): (statistics.fmean(latencies), "less than claimed"),
        (9, "rate limits and CDN", "protection"): (100 * sum(t["good_per_s"] for t in others) / sum(t["asked_per_s"] for t in others), "less than claimed"),
        (13, "pruning", "memory_saving"): (100 * (1 - digits["structured-half"] / digits["fp32"]), "more than claimed"),
        (13, "quantization", "speedup"): (variants["int8-static"]["times"]["256"]["ratio"], "confirmed"),
    }  # fmt: skip
    for key, (value, outcome) in expected.items():
        judgement = entry(entries, *key).judgement
        assert judgement.value == pytest.approx(value, rel=0.02), key
        assert judgement.outcome == outcome, key


def test_the_start_page_the_notebooks_and_the_command_show_the_same(entries, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    manager = JobManager()
    printed = json.loads(CliRunner().invoke(app, ["claims", "--json"]).stdout)
    assert [(p["outcome"], p["value"]) for p in printed] == [
        (str(e.judgement.outcome), e.judgement.value) for e in entries
    ]
    everywhere = claims_score(manager)
    everywhere.judging.join()
    for number in sorted({e.claim.question for e in entries}):
        own = [e for e in entries if e.claim.question == number]
        panel = claims_of_question(number, manager)
        panel.judging.join()
        everywhere.question.value = number
        for shown in (panel.view.value, everywhere.table.value):
            text = html.unescape(shown).split("</table>")[0]  # the FAQ's decision rules follow
            assert text.count("<tr") == 1 + len(own)
            for e in own:
                assert f"{e.judgement.outcome}</td><td class='l'>{shown_value(e.claim, e.judgement)}</td>" in text
        assert panel.errors == []


def test_the_faqs_rules_are_restated_as_it_wrote_them():
    asked = {"memory_bytes": 80e9, "latency_s": 0.2, "requests_per_s": 10}
    assert faq_strategies(model_bytes=16e9, **asked) == []
    assert faq_strategies(model_bytes=16e9, **asked | {"latency_s": 0.05}) == ["tensor"]
    assert faq_strategies(model_bytes=65e9, **asked | {"requests_per_s": 101}) == ["tensor", "pipeline"]
    assert faq_strategies(model_bytes=400e9, **asked) == ["tensor", "mixed"]
    # 12 units x 100 x (1 - 16/80) x 1 = 960 requests/s for each instance of an H100
    assert faq_instances("h100-sxm", model_gb=16, requests_per_s=959, latency_s=0.1) == 1
    assert faq_instances("h100-sxm", model_gb=16, requests_per_s=961, latency_s=0.1) == 2
    assert faq_instances("h100-sxm", model_gb=65, requests_per_s=1, latency_s=0.1) is None
    # 60 remembered requests are never more than 1,000; of 100 a second, the 51st is the first beyond 50, and refused ones count
    assert faq_admitted(2000.0, 1000) == 20_000
    assert faq_admitted(100.0, 50) == 50
    assert bucket_admitted(100.0, 50) == pytest.approx(500, abs=2)


def test_the_faqs_rules_stand_beside_ours(tmp_path):
    runs = all_runs(JobManager(tmp_path))
    decided = {number: decisions(runs, number) for number in (3, 5, 6, 8, 9, 10, 11)}
    assert all(len(d) >= 2 for d in decided.values())
    broken = next(d for d in decided[10] if "degraded" in d.case and "10 of 10" in d.case)
    assert (broken.faq, broken.ours) == ("promoted", "rolled back")  # it answers every request, and wrongly
    assert {d.is_same for d in decided[3]} == {True, False}
    assert not decisions(runs, 4)


def test_each_notebook_with_claims_or_rules_shows_its_rows():
    for number in sorted({c.question for c in claims()} | {10}):
        (notebook,) = NOTEBOOKS.glob(f"{number:02}_*.ipynb")
        assert f"claims_of_question({number})" in notebook.read_text()
