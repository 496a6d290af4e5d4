"""What a run of quality holds: a row for each variant, for each cell of the heat map, and for each part of a text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from workbench.core.rows import Row, Samples
from workbench.core.runs import Run
from workbench.core.statistics import Interval
from workbench.core.stored_texts import in_readers_words
from workbench.questions.long_context.quality.spec import LABELS


@dataclass(frozen=True, slots=True, kw_only=True)
class AgainstFull:
    """A variant against full attention on the same questions and text."""

    lost: int
    """Questions that only full attention answered in full."""
    won: int
    """Questions that only the variant answered in full."""
    mcnemar_p: float
    """Two-sided p-value of the exact McNemar test."""
    answer_nll_change_nat_per_token: Interval
    """Mean change of the surprise of the right answers."""
    mean_kl_nat_per_token: Interval | None = None
    """Mean KL divergence over the text; None where no text was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantResult(Row):
    """All answers of a variant."""

    part: ClassVar[str] = "variant"
    variant: str
    label: str
    n: int
    """Number of questions that were asked."""
    right_fraction: Interval
    """Share of the questions that were answered in full, with Wilson's interval."""
    perplexity: float | None = None
    """Of the text; None where none was read."""
    against_full: AgainstFull | None = None
    """None where full attention was not measured, as of a server."""

    @property
    def mean_kl_nat_per_token(self) -> Interval | None:
        """Mean KL divergence from full attention over the text."""
        return self.against_full.mean_kl_nat_per_token if self.against_full else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval(Row):
    """The answers of a variant to one task, at one length and depth."""

    part: ClassVar[str] = "retrieval"
    variant: str
    task: str
    length_tokens: int
    """Tokens of the text and its question."""
    depth_fraction: float
    """Place of the fact in the text: 0 is the beginning, 1 the end."""
    n: int
    """Number of questions that were asked."""
    right_fraction: Interval
    """Share of the questions that were answered in full, with Wilson's interval."""
    recall_fraction: float
    """Share of what must be in the answers that is in them, as RULER scores."""
    answer_nll_nat_per_token: float | None = None
    """Surprise of the right answers; None where a server was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextStretch(Row):
    """Surprise and divergence of a variant in one stretch of the text, mean of the windows."""

    part: ClassVar[str] = "position"
    variant: str
    first_position: int
    end_position: int
    """Position after the last one."""
    nll_nat_per_token: float
    kl_nat_per_token: float
    """KL divergence from full attention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QualitySamples(Samples):
    """Raw samples of a run of quality."""

    recall_fraction: Mapping[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)
    """Recall of each question, by variant and cell; cells are in the order of the rows."""
    prefix_ids: Sequence[int] = field(default_factory=list)
    """Special tokens, such as BOS, that stand before each text because the model's tokenizer sets them."""

    def in_order(self) -> Mapping[str, Sequence[float]]:
        """Return the recall of each question, cell after cell."""
        return {
            f"{variant}: recall": [share for cell in cells for share in cell]
            for variant, cells in self.recall_fraction.items()
        }


ROWS = (VariantResult, Retrieval, TextStretch)
SAMPLES = QualitySamples


def labels_of(run: Run) -> dict[str, str]:
    """Return the label of each variant by its name."""
    return {r.variant: label_of(r) for r in run.rows(VariantResult)}


def label_of(row: VariantResult) -> str:
    """Return the label of a variant, which is stored in English, in the reader's language."""
    return in_readers_words(row.label, LABELS.values())


def retrieval_rows(run: Run, *, variant: str | None, task: str | None) -> list[Retrieval]:
    """Return the cells of a variant's heat map for a task."""
    return [r for r in run.rows(Retrieval) if (r.variant, r.task) == (variant, task)]
