"""Measurement of detectors of personal data and secrets: precision and recall by class, streams, and hostile texts."""

import random
import re
import time
from collections.abc import Callable, Iterator, Sequence

from workbench.core.errors import NotAvailable
from workbench.core.language import gettext, gettext_noop
from workbench.core.progress import Progress
from workbench.core.rows import Failure
from workbench.core.statistics import Interval, share_interval
from workbench.gateway.redaction import StreamRedactor, findings, redact_text
from workbench.measuring.envelope import Record
from workbench.questions.security.measure.corpus import KINDS, Labelled, corpus, cut
from workbench.questions.security.rows import DetectorScore, RedactionSamples
from workbench.questions.security.spec import DETECTORS, INSTALL_PRESIDIO, OWN, RedactionSpec
from workbench.telemetry.devices import cpu_device

Span = tuple[str, int, int]
"""Class, first character, and the one after the last."""
Detector = Callable[[str], list[Span]]
HOSTILE_BYTES = 1_000_000
HOSTILE = {
    gettext_noop("dotted words"): "a.a.",
    gettext_noop("digits"): "4",
    gettext_noop("grouped digits"): "4111 ",
    gettext_noop("at signs"): "a@",
    gettext_noop("key heads"): "sk-",
    gettext_noop("plus signs"): "+1 ",
    gettext_noop("accounts"): "AB12 ",
    gettext_noop("full-width digits"): "４１１１ ",
}
"""Pieces of texts on which a pattern with backtracking takes more than linear time."""

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


def measure(spec: RedactionSpec, record: Record) -> Iterator[Progress]:
    """Yield progress and fill the record with a row for each detector and class."""
    texts = corpus(spec.seed, spec.n_per_kind)
    n_characters, total = sum(len(t.text) for t in texts), float(len(spec.detectors) + 2)
    costs_s: dict[str, float] = {}
    mistakes: dict[str, list[str]] = {}
    record.device = cpu_device()
    for n, name in enumerate(spec.detectors):
        yield Progress(step=gettext_noop("Scoring {detector}").format(detector=DETECTORS[name]), done=n, total=total)
        try:
            detect = detector(name)
        except NotAvailable as error:
            record.failures.append(Failure.of(error))
            continue
        start = time.perf_counter()
        spans = [detect(t.text) for t in texts]
        costs_s[name] = 1000 * (time.perf_counter() - start) / n_characters
        record.rows += [score(name, kind, texts, spans) for kind in KINDS]
        mistakes[name] = mistakes_of(texts, spans)
    yield Progress(step=gettext_noop("Redacting streams"), done=total - 2, total=total)
    n_different = n_streams_different(texts, spec)
    yield Progress(step=gettext_noop("Timing hostile texts"), done=total - 1, total=total)
    record.samples = RedactionSamples(
        n_texts=len(texts),
        n_streams=len(texts) * spec.n_splits,
        n_streams_different=n_different,
        time_per_1000_characters_s=costs_s,
        hostile_s=hostile_times_s(),
        mistakes=mistakes,
    )


def detector(name: str) -> Detector:
    """Return the detector of a name; raises ``NotAvailable`` for one that is not installed."""
    if name == OWN:
        return lambda text: [(f.kind, f.start, f.end) for f in findings(text)]
    if name == "faq":
        return lambda text: [(kind, m.start(), m.end()) for kind, pattern in _FAQ for m in pattern.finditer(text)]
    return _presidio()


def _presidio() -> Detector:
    """Return Presidio with its own patterns and an empty English model, because its default model is fetched from the network."""
    try:
        import spacy
        from presidio_analyzer import AnalyzerEngine
        from presidio_analyzer.nlp_engine import SpacyNlpEngine
    except ImportError as error:
        raise NotAvailable(gettext("Presidio is not installed."), remedy=gettext(INSTALL_PRESIDIO)) from error

    class Blank(SpacyNlpEngine):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.nlp = {"en": spacy.blank("en")}

        def load(self) -> None:
            """Load nothing: the blank model is there already."""

    engine = AnalyzerEngine(nlp_engine=Blank(), supported_languages=["en"])
    entities = list(_PRESIDIO)
    return lambda text: [
        (_PRESIDIO[r.entity_type], r.start, r.end)
        for r in engine.analyze(text=text, language="en", entities=entities, score_threshold=0.35)
    ]


def score(
    name: str, kind: str, texts: Sequence[Labelled], findings_of_texts: Sequence[Sequence[Span]]
) -> DetectorScore:
    """Return precision and recall of a detector for a class, with Wilson intervals.

    Something is found where findings of its class cover all of it. A finding that touches nothing of its class is a false positive.
    """
    real = hit = right = said = 0
    for t, spans in zip(texts, findings_of_texts, strict=True):
        own = [(a, b) for k, a, b in spans if k == kind]
        if t.kind == kind and t.span is not None:
            real += 1
            hit += _covers(own, t.span)
        for a, b in own:
            said += 1
            right += t.kind == kind and t.span is not None and a < t.span[1] and b > t.span[0]
    return DetectorScore(
        detector=name,
        kind=kind,
        n_texts=real,
        recall=_share(hit, real),
        precision=_share(right, said),
        n_false_positives=said - right,
    )


def _share(n: int, of: int) -> Interval | None:
    return share_interval(n, of) if of else None


def _covers(spans: Sequence[tuple[int, int]], span: tuple[int, int]) -> bool:
    return all(any(a <= i < b for a, b in spans) for i in range(*span))


def mistakes_of(texts: Sequence[Labelled], findings_of_texts: Sequence[Sequence[Span]], *, most: int = 12) -> list[str]:
    """Return examples of texts that a detector missed, and of its false positives."""
    examples = []
    for t, spans in zip(texts, findings_of_texts, strict=True):
        if t.span is not None and not _covers([(a, b) for k, a, b in spans if k == t.kind], t.span):
            examples.append(f"missed {t.kind}: {t.text}")
        for kind, a, b in spans:
            if t.span is None or kind != t.kind:
                examples.append(f"false {kind}: {t.text[a:b]} in {t.text}")
    return examples[:most]


def n_streams_different(texts: Sequence[Labelled], spec: RedactionSpec) -> int:
    """Return how many streams are redacted differently from the whole text; none should be."""
    rng, n = random.Random(spec.seed + 1), 0
    for t in texts:
        whole = redact_text(t.text)[0]
        for _ in range(spec.n_splits):
            stream = StreamRedactor()
            n += "".join(stream.feed(piece) for piece in cut(t.text, rng)) + stream.end() != whole
    return n


def hostile_times_s() -> dict[str, float]:
    """Return the seconds that 1 MB (in UTF-8) of each hostile text takes."""
    times = {}
    for name, piece in HOSTILE.items():
        text = piece * (HOSTILE_BYTES // len(piece.encode()))
        start = time.perf_counter()
        findings(text)
        times[name] = time.perf_counter() - start
    return times
