"""The digit network and its compressions, as graphs."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from workbench.core.language import gettext_noop
from workbench.estimate.cascade import HeldOut, Threshold, guaranteed_threshold, softmax_confidence
from workbench.vision.digits import Digits, Floats, digits, few_per_class
from workbench.vision.early_exit import Cascade
from workbench.vision.graphs import export, quantize_graph
from workbench.vision.networks import DigitNet, Exit, Rest, Student, logits_of, prune_filters, prune_weights, train
from workbench.vision.sessions import Graph

EPOCHS, TUNING_EPOCHS, STUDENT_EPOCHS = 60, 20, 80
STUDENT_RATE, TUNING_RATE = 1e-2, 2e-3
KEEPS = {"structured-half": 0.5, "structured-quarter": 0.25}
ZEROS = {"unstructured-80": 0.8, "unstructured-95": 0.95}


class Runner(Protocol):
    """A network that answers images."""

    n_bytes: int

    def logits(self, inputs: Floats) -> Floats:
        """Return the logits of images: (n, classes)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A compression that is ready to run."""

    technique: str
    runner: Runner
    graphs: tuple[Path, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentAccuracies:
    """Accuracy of students that learn from few labels, one value for each seed."""

    alone: list[float]
    """Accuracy of students without a teacher."""
    same_labels_teacher: list[float]
    """With a teacher that learnt from the same few labels; the other images had none."""
    all_labels_teacher: list[float]
    """With a teacher that learnt from all labels."""


def accuracy(logits: Floats, part: Digits) -> float:
    """Return the share of right answers."""
    return float(np.mean(logits.argmax(1) == part.labels))


class DigitVariants:
    """The digit network with its compressions; ``make`` trains them and yields its progress."""

    def __init__(self, folder: Path, *, threads: int, seed: int, most_lost: float, level: float) -> None:
        self.folder, self.threads, self.seed = folder, threads, seed
        self.most_lost, self.level = most_lost, level
        self.parts = digits()
        self.variants: dict[str, Variant] = {}
        """Trained and compressed networks by technique."""
        self.net = DigitNet()
        self.student = Student()
        self.thresholds: dict[str, Threshold] = {}
        self.before: dict[str, float] = {}
        """Accuracy before fine-tuning, by technique."""
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def float_network(self) -> Variant:
        """The network in float32, which the others are compared with."""
        return self.variants["fp32"]

    def make(self, techniques: Sequence[str]) -> Iterator[tuple[str, float]]:
        """Train the network and apply the techniques, with what each needs; yield the step and the share that is done."""
        compressions = [t for t in techniques if t != "fp32"]
        yield "training the network", 0.0
        torch.manual_seed(self.seed)
        self.net = DigitNet()
        train(self.net, self.parts.train, epochs=EPOCHS, seed=self.seed)
        self._add("fp32", self._exported(self.net, "fp32"))
        if any(t in {"student", "student-int8", "cascade"} for t in compressions):
            yield "distilling the student", 0.4
            self._distil()
        for n, technique in enumerate(compressions):
            yield f"compressing: {technique}", 0.5 + 0.5 * n / len(compressions)
            self._make(technique)

    def _make(self, technique: str) -> None:
        examples = self.parts.train.images
        if technique in {"int8-static", "int8-dynamic", "int8-dynamic-dense", "int4"}:
            self._add(
                technique, quantize_graph(self._path("fp32"), self._path(technique), technique, examples=examples)
            )
        elif technique in ZEROS:
            self._unstructured(technique, ZEROS[technique])
        elif technique in KEEPS:
            self._structured(technique, KEEPS[technique])
        elif technique == "structured-half-int8":
            if "structured-half" not in self.variants:
                self._structured("structured-half", KEEPS["structured-half"])
            source, target = self._path("structured-half"), self._path(technique)
            self._add(technique, quantize_graph(source, target, "int8-static", examples=examples))
        elif technique == "student":
            self._add(technique, self._path("student"))
        elif technique == "student-int8":
            source, target = self._path("student"), self._path(technique)
            self._add(technique, quantize_graph(source, target, "int8-static", examples=examples))
        elif technique == "cascade":
            self._cascade()
        else:
            self._early_exit()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.onnx"

    def _exported(self, net: torch.nn.Module, name: str) -> Path:
        return export(net, torch.from_numpy(self.parts.train.images[:2]), self._path(name))

    def _add(self, technique: str, path: Path, note: str = "") -> None:
        self.variants[technique] = Variant(
            technique=technique, runner=Graph(path, threads=self.threads), graphs=(path,), note=note
        )

    def _unstructured(self, technique: str, share: float) -> None:
        net = deepcopy(self.net)
        masks = prune_weights(net, share)
        self.before[technique] = accuracy(logits_of(net.eval(), self.parts.test.images), self.parts.test)
        train(net, self.parts.train, epochs=TUNING_EPOCHS, rate=TUNING_RATE, seed=self.seed + 1, masks=masks)
        self._add(technique, self._exported(net, technique), gettext_noop("weights are zero, but still multiplied"))

    def _structured(self, technique: str, keep: float) -> None:
        net = prune_filters(self.net, keep)
        self.before[technique] = accuracy(logits_of(net, self.parts.test.images), self.parts.test)
        train(net, self.parts.train, epochs=TUNING_EPOCHS, rate=TUNING_RATE, seed=self.seed + 1)
        self._add(technique, self._exported(net, technique))

    def _distil(self) -> None:
        torch.manual_seed(self.seed + 2)
        self.student = Student()
        taught = logits_of(self.net, self.parts.train.images)
        train(
            self.student,
            self.parts.train,
            epochs=STUDENT_EPOCHS,
            rate=STUDENT_RATE,
            seed=self.seed + 2,
            teacher=taught,
        )
        self._exported(self.student, "student")

    def _cascade(self) -> None:
        first, second = (Graph(self._path(name), threads=self.threads) for name in ("student", "fp32"))
        self._add_cascade("cascade", first, second, shares_maps=False)

    def _early_exit(self) -> None:
        torch.manual_seed(self.seed + 3)
        exit_net = Exit(self.net)
        train(exit_net, self.parts.train, epochs=40, rate=STUDENT_RATE, seed=self.seed + 3, only="head")
        images = torch.from_numpy(self.parts.train.images[:2])
        stem = export(exit_net, images, self._path("exit-first"), outputs=("logits", "maps"))
        with torch.no_grad():
            maps = exit_net(images)[1]
        rest = export(Rest(self.net), maps, self._path("exit-rest"))
        first, second = (Graph(path, threads=self.threads) for path in (stem, rest))
        self._add_cascade("early-exit", first, second, shares_maps=True)

    def _add_cascade(self, technique: str, first: Graph, second: Graph, *, shares_maps: bool) -> None:
        """Add two graphs with the threshold that the validation part guarantees."""
        part = self.parts.validation
        logits = first.logits(part.images)
        whole = self.float_network.runner.logits(part.images).argmax(1) == part.labels
        threshold = guaranteed_threshold(
            softmax_confidence(logits),
            np.asarray(whole & (logits.argmax(1) != part.labels)),
            most_lost=self.most_lost,
            level=self.level,
        )
        self.thresholds[technique] = threshold
        runner = Cascade(first, second, confidence=threshold.confidence, shares_maps=shares_maps)
        self.variants[technique] = Variant(technique=technique, runner=runner, graphs=(first.path, second.path))

    def held_out(self, technique: str) -> HeldOut:
        """Return what a cascade gives on the test part: loss against the large network, and the share that exits early."""
        part, runner = self.parts.test, self.variants[technique].runner
        assert isinstance(runner, Cascade)
        answers = runner.answers(part.images)
        whole = self.float_network.runner.logits(part.images).argmax(1) == part.labels
        return HeldOut(
            lost_fraction=float(np.mean(whole & (answers.logits.argmax(1) != part.labels))),
            exit_fraction=float(answers.is_early.mean()),
            n=len(part),
        )

    def distil_few_labels(self, n_seeds: int, per_class: int) -> Iterator[tuple[str, float] | StudentAccuracies]:
        """Train students from few labels, alone and with a teacher; yield steps and, last, the accuracies."""
        part, test = self.parts.train, self.parts.test
        all_labels = logits_of(self.net, part.images)
        students = StudentAccuracies(alone=[], same_labels_teacher=[], all_labels_teacher=[])
        for i in range(n_seeds):
            yield f"students from {per_class} labels a class, {i + 1} of {n_seeds}", i / n_seeds
            labelled = few_per_class(part, per_class, seed=self.seed + i)
            torch.manual_seed(self.seed + i)
            teacher = DigitNet()
            train(teacher, part, epochs=4 * EPOCHS, seed=self.seed + i, labelled=labelled)
            students.alone.append(self._student_accuracy(part, test, labelled, None, i))
            soft_labels = logits_of(teacher, part.images)
            students.same_labels_teacher.append(self._student_accuracy(part, test, labelled, soft_labels, i))
            students.all_labels_teacher.append(self._student_accuracy(part, test, labelled, all_labels, i))
        yield students

    def _student_accuracy(
        self, part: Digits, test: Digits, labelled: npt.NDArray[np.int64], teacher: Floats | None, i: int
    ) -> float:
        torch.manual_seed(self.seed + 100 + i)
        student = Student()
        # As many steps with a few labels as with all images.
        epochs = STUDENT_EPOCHS // 2 * (1 if teacher is not None else len(part) // len(labelled))
        train(student, part, epochs=epochs, rate=STUDENT_RATE, seed=i, labelled=labelled, teacher=teacher)
        return accuracy(logits_of(student, test.images), test)
