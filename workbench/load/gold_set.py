"""A few questions with known answers, asked on a schedule: where an alert on the quality of answers has its numbers from."""

import re
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from workbench.core.errors import InvalidSpec, system_message
from workbench.core.language import gettext
from workbench.load.probe import QUESTIONS, Asker
from workbench.load.spec import LoadSpec

LONGEST_ANSWER = 64
T = TypeVar("T")


class GoldQuestion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One question; an answer is right when the pattern is found in it."""

    prompt: str
    pattern: str | None
    """Regular expression; None: the first answer is taken as right from then on."""
    max_tokens: int = 16


def gold_questions(file: Path | None) -> list[GoldQuestion]:
    """Return the questions of a file of JSON lines (``prompt``, ``pattern``, ``max_tokens``), or the workbench's own without answers.

    Raises ``InvalidSpec`` for a file that cannot be read, with the line.
    """
    if file is None:
        return [GoldQuestion(prompt=q, pattern=None) for q in QUESTIONS]
    return read_lines(file, _question, what=gettext("questions"), example='{"prompt": "2 + 2 =", "pattern": "^ ?4"}')


def _question(line: object) -> GoldQuestion:
    question = msgspec.convert(line, GoldQuestion)
    re.compile(question.pattern or "")
    if not question.prompt or not 1 <= question.max_tokens <= LONGEST_ANSWER:
        raise ValueError(f"an empty prompt, or max_tokens outside 1 to {LONGEST_ANSWER}")
    return question


def read_lines(file: Path, read: Callable[[object], T], *, what: str, example: str) -> list[T]:
    """Return the value that ``read`` makes of each line of a file of JSON lines; raises ``InvalidSpec`` with the line that it refuses."""
    try:
        lines = file.expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSpec(
            gettext("{file} cannot be read: {error}.").format(file=file, error=system_message(error)),
            remedy=gettext("Name a file of JSON lines."),
        ) from error
    values = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values.append(read(msgspec.json.decode(line)))
        except (ValueError, TypeError, re.error) as error:
            raise InvalidSpec(
                gettext("Line {line} of {file}: {error}.").format(line=number, file=file, error=system_message(error)),
                remedy=gettext("Write lines like {example}.").format(example=example),
            ) from error
    if not values:
        raise InvalidSpec(
            gettext("{file} has no {what}.").format(file=file, what=what), remedy=gettext("Write at least one line.")
        )
    return values


class GoldSchedule:
    """Asks all questions again and again in a thread, until the ``with`` block ends.

    Args:
        url: Base URL of the server.
        model: Name under which it is served.
        questions: With their answers.
        every_s: From the start of a round to the next.
    """

    def __init__(self, url: str, model: str, questions: Sequence[GoldQuestion], *, every_s: float = 60.0) -> None:
        if every_s <= 0:
            raise InvalidSpec(
                gettext("A round every {seconds} s.").format(seconds=every_s),
                remedy=gettext("Give a number above zero."),
            )
        self._spec = LoadSpec(url=url, model=model, timeout_s=max(5.0, min(every_s, 30.0)))
        self._questions, self._every_s = list(questions), every_s
        self._counts = {"asked": 0, "wrong": 0, "failed": 0}
        self._wrong: list[str] = []
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._go_round, daemon=True)

    def counts(self) -> dict[str, int]:
        """Return the numbers of questions that were answered, answered wrongly, and not answered at all (which is no wrong answer), so far."""
        with self._lock:
            return dict(self._counts)

    def last_wrong(self) -> list[str]:
        """Return the prompts of the last round whose answers were wrong."""
        with self._lock:
            return list(self._wrong)

    def _go_round(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            self._ask_all()
            due = max(due + self._every_s, time.monotonic())
            self._over.wait(due - time.monotonic())

    def _ask_all(self) -> None:
        asker, wrong = Asker(self._spec), []
        for i, question in enumerate(self._questions):
            if self._over.is_set():
                return
            text = asker.answered(question.prompt, max_tokens=question.max_tokens).text
            if text is not None and question.pattern is None:
                self._questions[i] = msgspec.structs.replace(question, pattern=f"^{re.escape(text)}$")
            is_wrong = text is not None and not re.search(self._questions[i].pattern or "", text)
            with self._lock:
                self._counts["asked"] += text is not None
                self._counts["failed"] += text is None
                self._counts["wrong"] += is_wrong
            if is_wrong:
                wrong.append(question.prompt)
        asker.close()
        with self._lock:
            self._wrong = wrong

    def __enter__(self) -> "GoldSchedule":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=40.0)
