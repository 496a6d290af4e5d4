"""The digit network and everything that can be made of it, as graphs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from workbench.estimate.cascade import Threshold, guaranteed_threshold, softmax_confidence
from workbench.vision.digits import Digits, Floats, digits, few_per_class
from workbench.vision.early_exit import Cascade
from workbench.vision.graphs import export, quantized
from workbench.vision.networks import (
    DigitNet,
    Exit,
    Rest,
    Student,
    logits_of,
    narrowed,
    train,
    zeroed,
)
from workbench.vision.sessions import Graph

EPOCHS, TUNING_EPOCHS, STUDENT_EPOCHS = 60, 20, 80
STUDENT_RATE, TUNING_RATE = 1e-2, 2e-3
KEEPS = {"structured-half": 0.5, "structured-quarter": 0.25}
ZEROS = {"unstructured-80": 0.8, "unstructured-95": 0.95}


class Runner(Protocol):
    """Something that answers pictures."""

    n_bytes: int

    def logits(self, inputs: Floats) -> Floats:
        """(n, classes)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A compression, ready to run."""

    technique: str
    runner: Runner
    graphs: tuple[Path, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distilled:
    """Accuracy of students that learnt from few labels, by seed."""

    labels_alone: list[float]
    taught: list[float]
    """By a large network that learnt from the same few labels; the other pictures had none."""
    taught_by_all: list[float]
    """By a large network that learnt from all labels."""


def accuracy(logits: Floats, part: Digits) -> float:
    """Share of right answers."""
    return float(np.mean(logits.argmax(1) == part.labels))


class DigitVariants:
    """Trains and compresses; ``make`` says what it is at."""

    def __init__(self, folder: Path, *, threads: int, seed: int, most_lost: float, level: float) -> None:
        self.folder, self.threads, self.seed = folder, threads, seed
        self.most_lost, self.level = most_lost, level
        self.parts = digits()
        self.made: dict[str, Variant] = {}
        self.net = DigitNet()
        self.student = Student()
        self.thresholds: dict[str, Threshold] = {}
        self.before: dict[str, float] = {}
        """Accuracy before fine-tuning, by technique."""
        folder.mkdir(parents=True, exist_ok=True)

    def make(self, techniques: Sequence[str]) -> Iterator[tuple[str, float]]:
        """Every technique asked for, with what each needs; yields the step and the share that is done."""
        wanted = [t for t in techniques if t != "fp32"]
        yield "training the network", 0.0
        torch.manual_seed(self.seed)
        self.net = DigitNet()
        train(self.net, self.parts["train"], epochs=EPOCHS, seed=self.seed)
        self._add("fp32", self._exported(self.net, "fp32"))
        if any(t in {"student", "student-int8", "cascade"} for t in wanted):
            yield "distilling the student", 0.4
            self._distil()
        for n, technique in enumerate(wanted):
            yield f"making: {technique}", 0.5 + 0.5 * n / len(wanted)
            self._make(technique)

    def _make(self, technique: str) -> None:
        examples = self.parts["train"].pictures
        if technique in {"int8-static", "int8-dynamic", "int8-dynamic-dense", "int4"}:
            self._add(technique, quantized(self._path("fp32"), self._path(technique), technique, examples=examples))
        elif technique in ZEROS:
            self._unstructured(technique, ZEROS[technique])
        elif technique in KEEPS:
            self._structured(technique, KEEPS[technique])
        elif technique == "structured-half-int8":
            if "structured-half" not in self.made:
                self._structured("structured-half", KEEPS["structured-half"])
            self._add(
                technique,
                quantized(self._path("structured-half"), self._path(technique), "int8-static", examples=examples),
            )
        elif technique == "student":
            self._add(technique, self._path("student"))
        elif technique == "student-int8":
            self._add(
                technique, quantized(self._path("student"), self._path(technique), "int8-static", examples=examples)
            )
        elif technique == "cascade":
            self._cascade()
        else:
            self._early_exit()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.onnx"

    def _exported(self, net: torch.nn.Module, name: str) -> Path:
        return export(net, torch.from_numpy(self.parts["train"].pictures[:2]), self._path(name))

    def _add(self, technique: str, path: Path, note: str = "") -> None:
        self.made[technique] = Variant(
            technique=technique, runner=Graph(path, threads=self.threads), graphs=(path,), note=note
        )

    def _copy(self) -> DigitNet:
        net = DigitNet()
        net.load_state_dict(self.net.state_dict())
        return net

    def _unstructured(self, technique: str, share: float) -> None:
        net = self._copy()
        masks = zeroed(net, share)
        self.before[technique] = accuracy(logits_of(net.eval(), self.parts["test"].pictures), self.parts["test"])
        train(net, self.parts["train"], epochs=TUNING_EPOCHS, rate=TUNING_RATE, seed=self.seed + 1, masks=masks)
        self._add(technique, self._exported(net, technique), "weights are zero, but still multiplied")

    def _structured(self, technique: str, keep: float) -> None:
        net = narrowed(self.net, keep)
        self.before[technique] = accuracy(logits_of(net, self.parts["test"].pictures), self.parts["test"])
        train(net, self.parts["train"], epochs=TUNING_EPOCHS, rate=TUNING_RATE, seed=self.seed + 1)
        self._add(technique, self._exported(net, technique))

    def _distil(self) -> None:
        torch.manual_seed(self.seed + 2)
        self.student = Student()
        taught = logits_of(self.net, self.parts["train"].pictures)
        train(
            self.student,
            self.parts["train"],
            epochs=STUDENT_EPOCHS,
            rate=STUDENT_RATE,
            seed=self.seed + 2,
            teacher=taught,
        )
        self._exported(self.student, "student")

    def _cascade(self) -> None:
        first, second = (Graph(self._path(name), threads=self.threads) for name in ("student", "fp32"))
        found = self._threshold("cascade", first.logits(self.parts["validation"].pictures))
        self.made["cascade"] = Variant(
            technique="cascade",
            runner=Cascade(first, second, confidence=found.confidence, shares_maps=False),
            graphs=(self._path("student"), self._path("fp32")),
        )

    def _early_exit(self) -> None:
        torch.manual_seed(self.seed + 3)
        exit_net = Exit(self.net)
        train(exit_net, self.parts["train"], epochs=40, rate=STUDENT_RATE, seed=self.seed + 3, only="head")
        pictures = torch.from_numpy(self.parts["train"].pictures[:2])
        stem = export(exit_net, pictures, self._path("exit-first"), outputs=("logits", "maps"))
        with torch.no_grad():
            maps = exit_net(pictures)[1]
        rest = export(Rest(self.net), maps, self._path("exit-rest"))
        first, second = (Graph(path, threads=self.threads) for path in (stem, rest))
        found = self._threshold("early-exit", first.logits(self.parts["validation"].pictures))
        self.made["early-exit"] = Variant(
            technique="early-exit",
            runner=Cascade(first, second, confidence=found.confidence, shares_maps=True),
            graphs=(stem, rest),
        )

    def _threshold(self, technique: str, logits: Floats) -> Threshold:
        part = self.parts["validation"]
        whole = self.made["fp32"].runner.logits(part.pictures).argmax(1) == part.labels
        found = guaranteed_threshold(
            softmax_confidence(logits),
            np.asarray(whole & (logits.argmax(1) != part.labels)),
            most_lost=self.most_lost,
            level=self.level,
        )
        self.thresholds[technique] = found
        return found

    def held_out(self, technique: str) -> Mapping[str, float]:
        """Of a cascade on the test part: loss against the large network, and the share that exits early."""
        part, runner = self.parts["test"], self.made[technique].runner
        assert isinstance(runner, Cascade)
        got = runner.answers(part.pictures)
        whole = self.made["fp32"].runner.logits(part.pictures).argmax(1) == part.labels
        return {
            "lost_fraction": float(np.mean(whole & (got.logits.argmax(1) != part.labels))),
            "exit_fraction": float(got.is_early.mean()),
        }

    def distilled(self, n_seeds: int, per_class: int) -> Iterator[tuple[str, float] | Distilled]:
        """Students from few labels: alone, and taught; yields steps and, last, the accuracies."""
        part, test = self.parts["train"], self.parts["test"]
        known_all = logits_of(self.net, part.pictures)
        found = Distilled(labels_alone=[], taught=[], taught_by_all=[])
        for i in range(n_seeds):
            yield f"students from {per_class} labels a class, {i + 1} of {n_seeds}", i / n_seeds
            chosen = few_per_class(part, per_class, seed=self.seed + i)
            torch.manual_seed(self.seed + i)
            teacher = DigitNet()
            train(teacher, part, epochs=4 * EPOCHS, seed=self.seed + i, labelled=chosen)
            found.labels_alone.append(self._taught(part, test, chosen, None, i))
            found.taught.append(self._taught(part, test, chosen, logits_of(teacher, part.pictures), i))
            found.taught_by_all.append(self._taught(part, test, chosen, known_all, i))
        yield found

    def _taught(
        self, part: Digits, test: Digits, chosen: npt.NDArray[np.int64], teacher: Floats | None, i: int
    ) -> float:
        torch.manual_seed(self.seed + 100 + i)
        student = Student()
        # As many steps with a few labels as with all pictures.
        epochs = STUDENT_EPOCHS // 2 * (1 if teacher is not None else len(part) // len(chosen))
        train(student, part, epochs=epochs, rate=STUDENT_RATE, seed=i, labelled=chosen, teacher=teacher)
        return accuracy(logits_of(student, test.pictures), test)
