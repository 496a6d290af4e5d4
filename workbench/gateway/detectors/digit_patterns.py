"""Patterns over digits as one acyclic automaton, which judges many numbers at once.

libphonenumber's metadata are patterns of digits, classes, groups, alternatives and counted repetitions. Each is built from its end to its
beginning into shared nodes; two equal nodes are one, so that the automaton is the smallest.
"""

import re
from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.gateway.detectors.finding import Ints
from workbench.gateway.detectors.groups import Bools, Bytes

DEAD, END = 0, 1
_TOKEN = re.compile(r"\\d|\[[^\]]*\]|\(\?:|\(|\)|\||\{\d+(?:,\d*)?\}|\?|\d")
Pattern = tuple[str, Any]


class DigitPatterns:
    """The automaton. A node is a number; 0 accepts nothing, and 1 what ends."""

    def __init__(self) -> None:
        self._nodes: list[tuple[bool, tuple[int, ...]]] = [(False, (DEAD,) * 10), (True, (DEAD,) * 10)]
        self._numbers = {node: i for i, node in enumerate(self._nodes)}
        self._unions: dict[tuple[int, int], int] = {}

    def add(self, pattern: str, then: int = END) -> int:
        """Return the node from which a pattern, and what follows it, is accepted."""
        return self._build(_parsed(pattern), then)

    def union(self, nodes: Sequence[int]) -> int:
        """Return the node that accepts what any of the nodes accepts."""
        return reduce(self._union, nodes, DEAD)

    def table(self) -> tuple[npt.NDArray[np.int32], Bools]:
        """Return the next node by node and digit, and which nodes accept."""
        following = np.array([children for _, children in self._nodes], np.int32)
        return following, np.array([accepts for accepts, _ in self._nodes])

    def _node(self, accepts: bool, children: tuple[int, ...]) -> int:
        node = (accepts, children)
        number = self._numbers.get(node)
        if number is None:
            number = self._numbers[node] = len(self._nodes)
            self._nodes.append(node)
        return number

    def _union(self, a: int, b: int) -> int:
        if a == b or b == DEAD:
            return a
        if a == DEAD:
            return b
        key = (a, b) if a < b else (b, a)
        if key not in self._unions:
            (accepts_a, of_a), (accepts_b, of_b) = self._nodes[a], self._nodes[b]
            children = tuple(self._union(x, y) for x, y in zip(of_a, of_b, strict=True))
            self._unions[key] = self._node(accepts_a or accepts_b, children)
        return self._unions[key]

    def _build(self, pattern: Pattern, then: int) -> int:
        kind, value = pattern
        if kind == "digits":
            return self._node(False, tuple(then if str(d) in value else DEAD for d in range(10)))
        if kind == "sequence":
            for part in reversed(value):
                then = self._build(part, then)
            return then
        if kind == "choice":
            return self.union([self._build(part, then) for part in value])
        part, least, most = value
        node = then
        for _ in range(most - least):
            node = self._union(self._build(part, node), then)
        for _ in range(least):
            node = self._build(part, node)
        return node


def _parsed(pattern: str) -> Pattern:
    """Return a pattern as a tree; raises ``ValueError`` for one with more than digits, classes, groups, alternatives and repetitions."""
    tokens, at = [], 0
    while at < len(pattern):
        m = _TOKEN.match(pattern, at)
        if m is None:
            raise ValueError(f"The pattern {pattern[:40]!r} has a sign that is not understood at {at}.")
        tokens.append(m[0])
        at = m.end()
    tokens.reverse()
    return _choice(tokens)


def _choice(tokens: list[str]) -> Pattern:
    branches: list[list[Pattern]] = [[]]
    while tokens and tokens[-1] != ")":
        token = tokens.pop()
        if token == "|":
            branches.append([])
            continue
        if token in {"(?:", "("}:
            part = _choice(tokens)
            tokens.pop()
        else:
            part = ("digits", _digits(token))
        branches[-1].append(_repeated(part, tokens))
    return "choice", [("sequence", b) for b in branches]


def _repeated(part: Pattern, tokens: list[str]) -> Pattern:
    if not tokens or tokens[-1][0] not in "{?":
        return part
    token = tokens.pop()
    if token == "?":
        return "repeat", (part, 0, 1)
    least, _, most = token[1:-1].partition(",")
    return "repeat", (part, int(least), int(most) if most else int(least))


def _digits(token: str) -> str:
    if token == r"\d":
        return "0123456789"
    return re.sub("([0-9])-([0-9])", lambda m: "".join(map(str, range(int(m[1]), int(m[2]) + 1))), token)


def matching(following: npt.NDArray[np.int32], accepts: Bools, start: int, digits: Bytes, lengths: Ints) -> Bools:
    """Return which numbers, given as rows of digits and their lengths, are accepted from a node on."""
    state = np.full(lengths.size, start, np.int32)
    for i in range(min(digits.shape[1], int(lengths.max(initial=0)))):
        state = np.where(i < lengths, following[state, digits[:, i]], state)
    accepted: Bools = accepts[state]
    return accepted
