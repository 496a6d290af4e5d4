"""How well personal data and secrets are found: by class, beside others, cut into streams, and in hostile texts."""

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.core.errors import NotAvailable
from workbench.core.progress import Progress
from workbench.core.redaction import DETECTORS, RedactionSpec
from workbench.core.runs import Run, last_run, utc_now
from workbench.core.statistics import share_interval
from workbench.experiments.redaction_corpus import KINDS, Labelled, corpus, cut
from workbench.gateway.redaction import StreamRedactor, findings, redacted
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import read_environment

KIND = "redaction"
Found = tuple[str, int, int]
Detector = Callable[[str], list[Found]]
HOSTILE_BYTES = 1_000_000
HOSTILE = {
    "dotted words": "a.a.",
    "digits": "4",
    "grouped digits": "4111 ",
    "at signs": "a@",
    "key heads": "sk-",
    "plus signs": "+1 ",
    "accounts": "AB12 ",
    "full-width digits": "４１１１ ",
}
"""Pieces of which texts are made that cost a pattern with backtracking more than linear time."""

# What the FAQ's sanitiser looks for: groups of four digits, a number as the United States write it, and an address, each between word boundaries.
_FAQ = (
    ("CARD", re.compile(r"\b(?:\d{4}[-\s]?){3}\d{4}\b")),
    ("ID", re.compile(r"\b\d{3}-\d\d-\d{4}\b")),
    ("EMAIL", re.compile(r"\b[\w.%+-]+@[A-Za-z0-9.-]+\.[A-Z|a-z]{2,}\b", re.ASCII)),
)
_PRESIDIO = {
    "CREDIT_CARD": "CARD",
    "EMAIL_ADDRESS": "EMAIL",
    "PHONE_NUMBER": "PHONE",
    "US_SSN": "ID",
    "IBAN_CODE": "IBAN",
}


def run(spec: RedactionSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec; nothing is stored."""
    return last_run(measure(spec, Path()), on_progress)


def measure(spec: RedactionSpec, _folder: Path) -> Iterator[Progress | Run]:
    """A row for each detector and class."""
    started_at = utc_now()
    texts = corpus(spec.seed, spec.n_per_kind)
    rows: list[Mapping[str, Any]] = []
    failures: list[Mapping[str, str]] = []
    costs: dict[str, float] = {}
    missed: dict[str, list[str]] = {}
    total = float(len(spec.detectors) + 2)
    for n, name in enumerate(spec.detectors):
        yield Progress(step=DETECTORS[name], done=n, total=total, result={"rows": rows})
        try:
            detect = detector(name)
        except NotAvailable as error:
            failures.append({"cause": error.cause, "remedy": error.remedy})
            continue
        began = time.perf_counter()
        found = [detect(t.text) for t in texts]
        costs[name] = (time.perf_counter() - began) / sum(len(t.text) for t in texts) * 1e9
        rows += [by_kind(name, kind, texts, found) for kind in KINDS]
        missed[name] = wrong_ones(texts, found)
    yield Progress(step="cut into streams", done=total - 2, total=total)
    broken = split_differences(texts, spec)
    yield Progress(step="hostile texts", done=total - 1, total=total)
    yield Run(
        kind=KIND,
        spec=spec.to_dict(),
        environment=read_environment(chosen_device("cpu")),
        started_at=started_at,
        finished_at=utc_now(),
        seed=spec.seed,
        results=rows,
        samples={
            "us_per_1000_characters": costs,
            "n_texts": len(texts),
            "split_differences": broken,
            "n_splits": len(texts) * spec.n_splits,
            "hostile_ms": hostile_ms(),
            "wrong": missed,
        },
        failures=failures,
    )


def detector(name: str) -> Detector:
    """What finds; raises ``NotAvailable`` for one that is not installed."""
    if name == "ours":
        return lambda text: [(f.kind, f.start, f.end) for f in findings(text)]
    if name == "faq":
        return lambda text: [(kind, m.start(), m.end()) for kind, pattern in _FAQ for m in pattern.finditer(text)]
    return _presidio()


def _presidio() -> Detector:
    """Presidio with its own patterns, over an empty English model: its default one is fetched from the network."""
    try:
        import spacy
        from presidio_analyzer import AnalyzerEngine
        from presidio_analyzer.nlp_engine import SpacyNlpEngine
    except ImportError as error:
        raise NotAvailable(
            "Presidio is not installed.", remedy="pip install presidio-analyzer (374 MB) to see it beside."
        ) from error

    class Blank(SpacyNlpEngine):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.nlp = {"en": spacy.blank("en")}

        def load(self) -> None:
            """Nothing to fetch."""

    engine = AnalyzerEngine(nlp_engine=Blank(), supported_languages=["en"])
    wanted = list(_PRESIDIO)
    return lambda text: [
        (_PRESIDIO[r.entity_type], r.start, r.end)
        for r in engine.analyze(text=text, language="en", entities=wanted, score_threshold=0.35)
    ]


def by_kind(name: str, kind: str, texts: Sequence[Labelled], found: Sequence[Sequence[Found]]) -> dict[str, Any]:
    """Precision and recall of a detector for a class, with Wilson intervals.

    Found: all of it is covered by findings of its class. A finding of the class that touches nothing of it is wrong, in whatever text it is.
    """
    real = hit = right = said = 0
    for t, spans in zip(texts, found, strict=True):
        own = [(a, b) for k, a, b in spans if k == kind]
        if t.kind == kind and t.span is not None:
            real += 1
            hit += _covers(own, t.span)
        for a, b in own:
            said += 1
            right += t.kind == kind and t.span is not None and a < t.span[1] and b > t.span[0]
    precision = right / said if said else None
    return {
        "detector": name,
        "kind": kind,
        "n": real,
        "recall": hit / real if real else None,
        "recall_interval": _interval(hit, real),
        "precision": precision,
        "precision_interval": _interval(right, said),
        "false": said - right,
        "provenance": "measured",
    }


def _interval(n: int, of: int) -> list[float] | None:
    if not of:
        return None
    found = share_interval(n, of)
    return [found.low, found.high]


def _covers(spans: Sequence[tuple[int, int]], wanted: tuple[int, int]) -> bool:
    return all(any(a <= i < b for a, b in spans) for i in range(*wanted))


def wrong_ones(texts: Sequence[Labelled], found: Sequence[Sequence[Found]], *, most: int = 12) -> list[str]:
    """Examples of what a detector missed or found wrongly."""
    told = []
    for t, spans in zip(texts, found, strict=True):
        if t.span is not None and not _covers([(a, b) for k, a, b in spans if k == t.kind], t.span):
            told.append(f"missed {t.kind}: {t.text}")
        for kind, a, b in spans:
            if t.span is None or kind != t.kind:
                told.append(f"took for {kind}: {t.text[a:b]} in {t.text}")
    return told[:most]


def split_differences(texts: Sequence[Labelled], spec: RedactionSpec) -> int:
    """How many cuts of a text into pieces redact it differently from the whole: none should."""
    rng, n = random.Random(spec.seed + 1), 0
    for t in texts:
        whole = redacted(t.text)[0]
        for _ in range(spec.n_splits):
            stream = StreamRedactor()
            made = "".join(stream.feed(piece) for piece in cut(t.text, rng)) + stream.end()
            n += made != whole
    return n


def hostile_ms() -> dict[str, float]:
    """Milliseconds for a megabyte (in UTF-8) of each hostile text."""
    took = {}
    for name, piece in HOSTILE.items():
        text = piece * (HOSTILE_BYTES // len(piece.encode()))
        began = time.perf_counter()
        findings(text)
        took[name] = 1e3 * (time.perf_counter() - began)
    return took
