"""Answers that end before the first of several strings, which can stretch over tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from workbench.core.ports import TokenEvent


def until_stop(events: Iterator[TokenEvent], stops: Sequence[str]) -> Iterator[TokenEvent]:
    """Yield the events of an answer, the last one where a string begins, whose text is left out.

    Text that could be the beginning of such a string is held back until the next token decides. Closing this
    iterator closes ``events``.
    """
    held = ""
    try:
        for event in events:
            held += event.text
            if found := [at for stop in stops if (at := held.find(stop)) >= 0]:
                yield replace(event, text=held[: min(found)], finish_reason="stop")
                return
            n_held = 0 if event.finish_reason else max((_overlap(held, stop) for stop in stops), default=0)
            shown, held = held[: len(held) - n_held], held[len(held) - n_held :]
            yield replace(event, text=shown)
    finally:
        events.close()  # type: ignore[attr-defined]


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of a text are the beginning of a string."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
