"""What a run of fusions holds: accuracy with missing and corrupted inputs, routing, precision by tower, and two threads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from workbench.core.language import gettext_noop
from workbench.core.rows import Row
from workbench.core.runs import Run
from workbench.estimate.cascade import HeldOut, Threshold
from workbench.measuring.interleaved import BatchTimes

BASE = gettext_noop("both float32")
"""Precision that the others are compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Share of right answers, with its interval."""

    fraction: float
    interval: tuple[float, float]
    """95 % interval: a bootstrap over images with all their captions; of a precision, Wilson's (1927)."""
    n: int
    """Inputs, each an image with one caption."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingImages(Row):
    """Accuracy of a fusion where a share of the inputs has no image."""

    part: ClassVar[str] = "missing"
    fusion: str
    has_dropout: bool
    """Whether modalities were dropped at random in training."""
    missing_fraction: float
    """Share of the inputs that have no image."""
    accuracy: Accuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptedInputs(Row):
    """Accuracy of a fusion on images with noise and hidden parts, or without captions."""

    part: ClassVar[str] = "corrupted"
    fusion: str
    has_dropout: bool
    """Whether modalities were dropped at random in training."""
    inputs: str
    """How the inputs were changed."""
    accuracy: Accuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class DropoutGain(Row):
    """Accuracy that a fusion loses where half of the images are missing, by whether modalities were dropped in training."""

    part: ClassVar[str] = "drop"
    fusion: str
    lost_without_dropout_fraction: float
    lost_with_dropout_fraction: float
    ratio: float
    """Loss with dropped modalities over the loss without: below 1 dropping them helps."""
    ratio_interval: tuple[float, float]
    """95 % bootstrap interval of the ratio."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing(Row):
    """Threshold from which on the caption's answer is taken and the image skipped, and what that gives."""

    part: ClassVar[str] = "routing"
    fusion: str
    threshold: Threshold
    held_out: HeldOut
    accuracy_routed_fraction: float
    """Accuracy where the caption decides whether the image is skipped."""
    accuracy_always_fraction: float
    """Accuracy where the image is never skipped."""
    times: Mapping[int, BatchTimes]
    """By batch size; the reference never skips the image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision(Row):
    """Towers of a fused network in INT8."""

    part: ClassVar[str] = "precision"
    towers: str
    """Which towers are in INT8."""
    n_bytes: int
    """Size of the graphs on disk."""
    accuracy: Accuracy
    flips: int
    """Answers that differ from those in float32."""
    mcnemar_p: float
    """p-value of McNemar's paired test against float32."""
    times: Mapping[int, BatchTimes]
    """By batch size; the reference is float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoThreads(Row):
    """Two towers in two threads; the reference runs them one after the other."""

    part: ClassVar[str] = "parallel"
    towers: str
    times: Mapping[int, BatchTimes]
    """Times by batch size; the reference is one thread."""


ROWS = (MissingImages, CorruptedInputs, DropoutGain, Routing, Precision, TwoThreads)


def routing_of(run: Run) -> Routing:
    """Return what skipping the image gives; every run has it."""
    return run.rows(Routing)[0]


def times_by_label(run: Run) -> dict[str, Mapping[int, BatchTimes]]:
    """Return all times by batch, by what was timed."""
    precisions = {r.towers: r.times for r in run.rows(Precision)}
    threads = {r.towers: r.times for r in run.rows(TwoThreads)}
    return {**precisions, **threads, gettext_noop("skipping the image"): routing_of(run).times}
