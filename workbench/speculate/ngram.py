"""Drafts without a model: what followed the same tokens earlier in the text, as vLLM's method ``ngram``."""

from collections.abc import Iterable


class NgramIndex:
    """The tokens of one sequence, and where each short run of them came first."""

    def __init__(self, tokens: Iterable[int], *, shortest: int, longest: int) -> None:
        self.shortest, self.longest = shortest, longest
        self.tokens: list[int] = []
        self._next: dict[tuple[int, ...], int] = {}
        self.extend(tokens)

    def extend(self, tokens: Iterable[int]) -> None:
        """Append tokens; the runs that end before each of them are known from now on."""
        for token in tokens:
            at = len(self.tokens)
            for n in range(self.shortest, min(self.longest, at) + 1):
                self._next.setdefault(tuple(self.tokens[at - n : at]), at)
            self.tokens.append(token)

    def proposal(self, most: int) -> list[int]:
        """Return at most so many tokens that followed the first occurrence of the longest known ending; empty for none."""
        for n in range(min(self.longest, len(self.tokens)), self.shortest - 1, -1):
            at = self._next.get(tuple(self.tokens[-n:]))
            if at is not None:
                return self.tokens[at : at + most]
        return []
