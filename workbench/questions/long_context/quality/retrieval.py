"""Facts hidden in text and questions about them, after RULER (arXiv 2404.06654); needs no tokenizer and no data.

Four tasks: one fact; one among many alike; several values of one name; a value handed on from variable to variable.
"""

import random
from dataclasses import dataclass
from itertools import pairwise

from workbench.measuring.passkey import ADJECTIVES, NOUNS, random_facts

TASKS = ("single", "multi-key", "multi-value", "variable-tracking")
N_DISTRACTORS = 7
N_VALUES = 3
N_HOPS = 3


@dataclass(frozen=True, slots=True)
class Hidden:
    """A sentence and where in the text it stands: 0 is the beginning, 1 the end."""

    statement: str
    depth: float


@dataclass(frozen=True, slots=True)
class Question:
    """What is hidden, what is asked, and what must be in the answer."""

    hidden: tuple[Hidden, ...]
    text: str
    answers: tuple[str, ...]

    @property
    def expected(self) -> str:
        """The shortest right continuation of the question."""
        return " " + ", ".join(self.answers)

    def recall(self, answer: str) -> float:
        """Return the share of what must be in an answer that is in it, as RULER scores."""
        return sum(a in answer for a in self.answers) / len(self.answers)


def question_of(task: str, *, depth: float, rng: random.Random) -> Question:
    """Return a random question of a task whose first fact stands at ``depth``; the others stand anywhere, hops in order."""
    if task in {"single", "multi-key"}:
        fact, *others = random_facts(1 + (N_DISTRACTORS if task == "multi-key" else 0), rng)
        hidden = (Hidden(fact.statement, depth), *(Hidden(o.statement, rng.random()) for o in others))
        return Question(hidden, "\n" + fact.question, (fact.key,))
    if task == "multi-value":
        facts = random_facts(N_VALUES, rng)
        name = facts[0].name
        places = (depth, *(rng.random() for _ in facts[1:]))
        hidden = tuple(Hidden(f"The pass key of {name} is {f.key}.\n", d) for f, d in zip(facts, places, strict=True))
        text = f"\nWhat are all the pass keys of {name}? The pass keys of {name} are"
        return Question(hidden, text, tuple(f.key for f in facts))
    names = [f"{rng.choice(ADJECTIVES)}_{rng.choice(NOUNS)}_{i}" for i in range(N_HOPS)]
    value = f"{rng.randrange(100_000):05d}"
    later = sorted(depth + (1 - depth) * rng.random() for _ in names[1:])
    statements = [f"{names[0]} = {value}\n", *(f"{b} = {a}\n" for a, b in pairwise(names))]
    hidden = tuple(Hidden(s, d) for s, d in zip(statements, (depth, *later), strict=True))
    return Question(hidden, f"\nWhat is the value of {names[-1]}? The value of {names[-1]} is", (value,))
