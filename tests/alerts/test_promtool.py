"""Our evaluator beside Prometheus' own: the same rules on the same random series must fire at the same moments.

promtool (Debian's package ``prometheus``) reads the rule file that we write and evaluates it with Prometheus' engine.
"""

import json
import math
import os
import random
import shutil
import subprocess

import pytest

from workbench.alerts.evaluator import Evaluator
from workbench.alerts.rules import Absent, Least, Quantile, Rate, Ratio, Rule, SlowShare, Value, rules_yaml
from workbench.alerts.series import SeriesStore

STEP_S, N_STEPS = 15, 96
N_GROUPS = int(os.environ.get("PROMTOOL_GROUPS", "12"))  # more when one looks for rare disagreements
BOUNDS = ("0.1", "0.5", "2", "+Inf")
RULES = [
    Rule(name="QueueLong", expression=Value(metric="waiting"), compare=">", threshold=5.0, for_s=60, severity="page"),
    Rule(name="QueueLongKept", expression=Value(metric="waiting", matchers={"model": "a"}), compare=">=", threshold=4.0, keep_firing_for_s=90),
    Rule(name="NoTraffic", expression=Rate(metric="requests_total", window_s=120), compare="<", threshold=0.05, for_s=30),
    Rule(name="Busy", expression=Rate(metric="requests_total", window_s=60, by=("model",)), compare=">", threshold=1.0),
    Rule(
        name="Errors",
        expression=Ratio(
            part=Rate(metric="errors_total", window_s=300), whole=Rate(metric="requests_total", window_s=300), least_events=30
        ),
        compare=">",
        threshold=0.1,
        for_s=45,
    ),
    Rule(name="Slow", expression=Quantile(histogram="ttft_seconds", q=0.99, window_s=180), compare=">", threshold=1.0, for_s=30),
    Rule(name="SlowMedian", expression=Quantile(histogram="ttft_seconds", q=0.5, window_s=90), compare=">", threshold=0.3),
    Rule(
        name="PromiseBroken",
        expression=Least(
            first=SlowShare(histogram="ttft_seconds", bound="0.5", window_s=600),
            second=SlowShare(histogram="ttft_seconds", bound="0.5", window_s=120, least_events=10),
        ),
        compare=">",
        threshold=0.15,
        severity="page",
    ),
    Rule(name="Gone", expression=Absent(metric="waiting", matchers={"model": "a"}), compare=">", threshold=0.0, for_s=30, severity="page"),
]  # fmt: skip

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def gauge(rng):
    """A walk with gaps, now and then marked as gone."""
    level, values = rng.uniform(0, 8), []
    while len(values) < N_STEPS:
        level = max(0.0, level + rng.gauss(0, 1.5))
        if rng.random() < 0.04:
            values += ["_"] * rng.randint(1, 30)
        elif rng.random() < 0.02:
            values.append("stale")
        else:
            values.append(round(level, 2))
    return values[:N_STEPS]


def counter(rng, per_step):
    """Growth with gaps, quiet stretches and restarts."""
    total, values, is_quiet = float(rng.randint(0, 50)), [], False
    while len(values) < N_STEPS:
        if rng.random() < 0.05:
            is_quiet = not is_quiet
        if rng.random() < 0.02:
            total = 0.0
        total += 0 if is_quiet else rng.randint(0, 2 * per_step)
        values += ["_"] * rng.randint(1, 12) if rng.random() < 0.03 else [total]
    return values[:N_STEPS]


def histogram(rng):
    """Cumulative buckets whose weights wander."""
    counts, rows = [0.0] * len(BOUNDS), {bound: [] for bound in BOUNDS}
    slow = rng.random()
    for _ in range(N_STEPS):
        slow = min(1.0, max(0.0, slow + rng.gauss(0, 0.1)))
        for _ in range(rng.randint(0, 12)):
            place = rng.choices(range(4), [1.2 - slow, 0.3, slow * 0.4, slow * 0.1])[0]
            for i in range(place, 4):
                counts[i] += 1
        for bound, count in zip(BOUNDS, counts, strict=True):
            rows[bound].append(count)
    return rows


def group(seed):
    """Random series by metric and labels."""
    rng = random.Random(seed)
    series = {}
    for model in ("a", "b"):
        if rng.random() < 0.9:
            series["waiting", (("model", model),)] = gauge(rng)
        series["requests_total", (("model", model),)] = counter(rng, 12)
        if rng.random() < 0.8:
            series["errors_total", (("model", model),)] = counter(rng, 1)
    for bound, values in histogram(rng).items():
        series["ttft_seconds_bucket", (("le", bound),)] = values
        if bound == "+Inf":
            series["ttft_seconds_count", ()] = values
    return series


def alerts_of(series):
    """Labels of the firing alerts by (rule, second)."""
    store, evaluator, alerts = SeriesStore(), Evaluator(RULES), {}
    for step in range(N_STEPS):
        at = step * STEP_S
        for (metric, labels), values in series.items():
            if values[step] != "_":
                store.add(metric, dict(labels), at, math.nan if values[step] == "stale" else float(values[step]))
        evaluator.evaluate(store, at)
        for alert in (a for a in evaluator.alerts.values() if a.state == "firing"):
            alerts.setdefault((alert.rule.name, at), []).append(dict(alert.labels) | {"severity": alert.rule.severity})
    return alerts


def written(metric, labels):
    return metric + "{" + ",".join(f'{k}="{v}"' for k, v in labels) + "}"


@needs_promtool
def test_every_alert_fires_when_prometheus_says_so(tmp_path):
    groups = [group(seed) for seed in range(N_GROUPS)]
    assert sum(len(g) for g in groups) >= 8 * N_GROUPS
    (tmp_path / "rules.yml").write_text(rules_yaml(RULES, interval_s=STEP_S))
    tests, n_firing = [], 0
    for series in groups:
        alerts = alerts_of(series)
        n_firing += len(alerts)
        checks = [
            {
                "eval_time": f"{at}s",
                "alertname": rule.name,
                "exp_alerts": [{"exp_labels": labels} for labels in alerts.get((rule.name, at), [])],
            }
            for rule in RULES
            for at in range(0, N_STEPS * STEP_S, STEP_S)
        ]
        inputs = [
            {"series": written(metric, labels), "values": " ".join(str(v) for v in values)}
            for (metric, labels), values in series.items()
        ]
        tests.append({"interval": f"{STEP_S}s", "input_series": inputs, "alert_rule_test": checks})
    body = {"rule_files": ["rules.yml"], "evaluation_interval": f"{STEP_S}s", "tests": tests}
    (tmp_path / "tests.yml").write_text(json.dumps(body))
    done = subprocess.run(
        ["promtool", "test", "rules", "tests.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[:3000]
    assert n_firing > 40 * N_GROUPS  # the agreement is not about silence


@needs_promtool
def test_prometheus_takes_the_rule_file(tmp_path):
    (tmp_path / "rules.yml").write_text(rules_yaml(RULES))
    done = subprocess.run(
        ["promtool", "check", "rules", "rules.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "9 rules found" in done.stdout + done.stderr, done.stderr
