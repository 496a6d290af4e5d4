"""Findings on redaction: the verdict, the rows of its tables, the redacted text, and the controls against each threat."""

import csv
import re
from dataclasses import dataclass

import msgspec

from workbench.catalog.paths import DATA
from workbench.core.language import gettext, pgettext
from workbench.core.runs import Run
from workbench.core.statistics import Interval
from workbench.core.verdict import Verdict, objections
from workbench.gateway.redaction import findings
from workbench.questions.security.rows import DetectorScore, RedactionSamples
from workbench.questions.security.spec import DETECTORS, LAST_TUNING_SEED, OWN

BAR = 0.95
SCORE_HEAD = (
    gettext("Detector ●"),
    gettext("class"),
    gettext("texts"),
    gettext("recall"),
    pgettext("detector", "precision"),
    gettext("false positives"),
)
MISTAKE_HEAD = (gettext("Detector"), gettext("mistake"))
COST_HEAD = (gettext("Measurement ●"), gettext("value"))
THREAT_HEAD = (
    gettext("Threat"),
    gettext("FAQ's claim ▬"),
    gettext("control of the workbench"),
    gettext("evidence"),
    gettext("limits of the control"),
)
CLASSES = {
    "CARD": pgettext("personal data", "card"),
    "EMAIL": gettext("email"),
    "PHONE": pgettext("personal data", "phone"),
    "ID": pgettext("personal data", "id"),
    "IBAN": "iban",
    "SECRET": gettext("secret"),
    "PRIVATE KEY": gettext("private key"),
}
"""What a reader sees of a class of personal data or secrets."""
MISSED, FALSE = re.compile(r"missed ([A-Z ]+): (.*)", re.S), re.compile(r"false ([A-Z ]+): (.+?) in (.*)", re.S)
"""Mistakes as runs keep them."""


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


def shown_class(kind: str) -> str:
    """Return what a reader sees of a class."""
    return CLASSES.get(kind, kind.lower())


def verdict(run: Run) -> Verdict:
    """Return whether the workbench's detector reaches the target in every class."""
    scores, samples = [s for s in run.rows(DetectorScore) if s.detector == OWN], run.sampled(RedactionSamples)
    if not scores:
        return Verdict(
            headline=gettext("This run did not score the workbench's detector."),
            evidence=stream_summary(run),
            answer="open",
        )
    weak = [s for s in scores if s.weakest < BAR]
    worst = min(scores, key=lambda s: s.weakest)
    headline = (
        gettext("The workbench's detector reaches {share} % recall and {share} % precision in {n} of {total} classes.")
        if weak
        else gettext("The workbench's detector reaches {share} % recall and {share} % precision in every class.")
    )
    points = [gettext("{kind}: recall {recall}, precision {precision}").format(**_shares(s)) for s in weak]
    if samples.n_streams_different:
        points.append(
            gettext("{n} of {total} streams were redacted differently from the whole text").format(
                n=f"{samples.n_streams_different:,}", total=f"{samples.n_streams:,}"
            )
        )
    if run.seed <= LAST_TUNING_SEED:
        points.append(gettext("this seed was used for tuning"))
    weakest = gettext("The weakest class is {kind}: recall {recall}, precision {precision}.").format(**_shares(worst))
    return Verdict(
        headline=headline.format(share=f"{100 * BAR:.0f}", n=len(scores) - len(weak), total=len(scores)),
        evidence=gettext("{first} {second}").format(first=weakest, second=stream_summary(run)),
        objection=objections(points),
        scope=gettext(
            "Half of the texts are look-alikes. Names and postal addresses have no pattern and are not detected."
        ),
        answer="no" if weak else "yes",
    )


def stream_summary(run: Run) -> str:
    """Return how many streams were redacted differently, and the longest time for a hostile text."""
    samples = run.sampled(RedactionSamples)
    return gettext(
        "{n} of {total} streams were redacted differently from the whole text; a hostile text of 1 MB takes at most {ms} ms."
    ).format(
        n=f"{samples.n_streams_different:,}",
        total=f"{samples.n_streams:,}",
        ms=f"{1e3 * max(samples.hostile_s.values()):.0f}",
    )


def _shares(score: DetectorScore) -> dict[str, str]:
    """Return what sentences about the score of a class hold."""
    return {
        "kind": shown_class(score.kind),
        "recall": percent(score.recall),
        "precision": percent(score.precision),
    }


def score_rows(run: Run) -> list[tuple[str, ...]]:
    """Return the cells of ``SCORE_HEAD`` for each class that a detector detects."""
    return [
        (
            gettext(DETECTORS[s.detector]),
            shown_class(s.kind),
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
    return [(gettext(DETECTORS[name]), _shown_mistake(text)) for name, texts in mistakes.items() for text in texts]


def _shown_mistake(text: str) -> str:
    """Return what a reader sees of a mistake."""
    if missed := MISSED.fullmatch(text):
        return gettext("missed {kind}: {text}").format(kind=missed[1], text=missed[2])
    if false := FALSE.fullmatch(text):
        return gettext("false {kind}: {part} in {text}").format(kind=false[1], part=false[2], text=false[3])
    return text


def cost_rows(run: Run) -> list[tuple[str, ...]]:
    """Return the cells of ``COST_HEAD``: times of detectors and of hostile texts, and streams that differ."""
    s = run.sampled(RedactionSamples)
    return [
        *(
            (
                gettext("time per 1,000 characters: {detector}").format(detector=gettext(DETECTORS[n])),
                f"{1e6 * t:.0f} µs",
            )
            for n, t in s.time_per_1000_characters_s.items()
        ),
        *(
            (gettext("time for 1 MB of {text}").format(text=gettext(name)), f"{1e3 * t:.1f} ms")
            for name, t in s.hostile_s.items()
        ),
        (
            gettext("streams redacted differently from the whole text"),
            gettext("{n} of {total}").format(n=f"{s.n_streams_different:,}", total=f"{s.n_streams:,}"),
        ),
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
                gettext(threat.threat),
                f"{gettext(threat.faq_control)}: {threat.faq_percent} %" if threat.faq_percent else "–",
                gettext(threat.control),
                gettext(threat.evidence),
                gettext(threat.limits),
            )
            for threat in msgspec.convert(list(csv.DictReader(file)), list[Threat])
        ]
