"""Findings on redaction: the verdict, the rows of its tables, the redacted text, and the controls against each threat."""

import csv
from dataclasses import dataclass

import msgspec

from workbench.catalog.paths import DATA
from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.core.statistics import Interval
from workbench.core.verdict import Verdict, objections
from workbench.gateway.redaction import findings
from workbench.questions.security.rows import DetectorScore, RedactionSamples
from workbench.questions.security.spec import DETECTORS, LAST_TUNING_SEED, OWN

BAR = 0.95
SCORE_HEAD = (f"Detector {Provenance.MEASURED.mark}", "class", "texts", "recall", "precision", "false positives")
MISTAKE_HEAD = ("Detector", "mistake")
COST_HEAD = (f"Measurement {Provenance.MEASURED.mark}", "value")
THREAT_HEAD = (
    "Threat",
    f"FAQ's claim {Provenance.PUBLISHED.mark}",
    "control of the workbench",
    "evidence",
    "limits of the control",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Threat:
    """A threat of ``threats.csv`` and the control against it."""

    threat: str
    faq_control: str
    faq_percent: str
    """Effectiveness of its control that the FAQ claims, in percent; empty where it claims none."""
    control: str
    """Control of the workbench against the threat."""
    evidence: str
    limits: str
    """What the control cannot do."""


def percent(share: Interval | None) -> str:
    """Return a share as a percentage; a dash where it is not known."""
    return "–" if share is None else f"{100 * share.value:.1f} %"


def verdict(run: Run) -> Verdict:
    """Return whether the workbench's detector reaches the target in every class."""
    scores, samples = [s for s in run.rows(DetectorScore) if s.detector == OWN], run.sampled(RedactionSamples)
    if not scores:
        return Verdict(
            headline="This run did not score the workbench's detector.", evidence=stream_summary(run), answer="open"
        )
    weak = [s for s in scores if s.weakest < BAR]
    worst = min(scores, key=lambda s: s.weakest)
    scope = "every class" if not weak else f"{len(scores) - len(weak)} of {len(scores)} classes"
    points = [f"{s.kind.lower()}: recall {percent(s.recall)}, precision {percent(s.precision)}" for s in weak]
    if samples.n_streams_different:
        points.append(
            f"{samples.n_streams_different:,} of {samples.n_streams:,} streams were redacted differently from the whole text"
        )
    if run.seed <= LAST_TUNING_SEED:
        points.append("this seed was used for tuning")
    return Verdict(
        headline=f"The workbench's detector reaches {100 * BAR:.0f} % recall and {100 * BAR:.0f} % precision in {scope}.",
        evidence=f"The weakest class is {worst.kind.lower()}: recall {percent(worst.recall)}, precision {percent(worst.precision)}. {stream_summary(run)}",
        objection=objections(points),
        scope="Half of the texts are look-alikes. Names and postal addresses have no pattern and are not detected.",
        answer="no" if weak else "yes",
    )


def stream_summary(run: Run) -> str:
    """Return how many streams were redacted differently, and the longest time for a hostile text."""
    samples = run.sampled(RedactionSamples)
    return (
        f"{samples.n_streams_different:,} of {samples.n_streams:,} streams were redacted differently from the whole text; a hostile text of "
        f"1 MB takes at most {1e3 * max(samples.hostile_s.values()):.0f} ms."
    )


def score_rows(run: Run) -> list[tuple[str, ...]]:
    """Return the cells of ``SCORE_HEAD`` for each class that a detector detects."""
    return [
        (
            DETECTORS[s.detector],
            s.kind.lower(),
            str(s.n_texts),
            percent(s.recall),
            percent(s.precision),
            str(s.n_false_positives),
        )
        for s in run.rows(DetectorScore)
        if (s.recall and s.recall.value) or s.n_false_positives
    ]


def mistake_rows(run: Run) -> list[tuple[str, ...]]:
    """Return the cells of ``MISTAKE_HEAD`` for examples of missed and false findings."""
    mistakes = run.sampled(RedactionSamples).mistakes
    return [(DETECTORS[name], text) for name, texts in mistakes.items() for text in texts]


def cost_rows(run: Run) -> list[tuple[str, ...]]:
    """Return the cells of ``COST_HEAD``: times of detectors and of hostile texts, and streams that differ."""
    s = run.sampled(RedactionSamples)
    return [
        *(
            (f"time per 1,000 characters: {DETECTORS[n]}", f"{1e6 * t:.0f} µs")
            for n, t in s.time_per_1000_characters_s.items()
        ),
        *((f"time for 1 MB of {name}", f"{1e3 * t:.1f} ms") for name, t in s.hostile_s.items()),
        ("streams redacted differently from the whole text", f"{s.n_streams_different:,} of {s.n_streams:,}"),
    ]


def redacted_parts(text: str) -> list[tuple[str, bool]]:
    """Return the redacted text in parts, each with whether it replaces a finding."""
    parts, start = [], 0
    for f in findings(text):
        parts += [(text[start : f.start], False), (f"[{f.kind}]", True)]
        start = f.end
    return [*parts, (text[start:], False)]


def threat_rows() -> list[tuple[str, ...]]:
    """Return the cells of ``THREAT_HEAD`` for the FAQ's threats."""
    with (DATA / "threats.csv").open(newline="", encoding="utf-8") as file:
        return [
            (
                threat.threat,
                f"{threat.faq_control}: {threat.faq_percent} %" if threat.faq_percent else "–",
                threat.control,
                threat.evidence,
                threat.limits,
            )
            for threat in msgspec.convert(list(csv.DictReader(file)), list[Threat])
        ]
