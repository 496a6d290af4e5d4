"""Bodies of requests, made when they are sent: prompts of a wanted length whose first words occur in no other request."""

import random
from collections.abc import Sequence

import orjson

from workbench.load.messages import Body, PromptRecipe, Schedule

OWN_WORDS = 32
"""First words of a prompt, each drawn for it: a prefix cache compares from the first token on."""
PIECE = 64
MARK = "@@PROMPT@@"


class BodyMaker:
    """Makes the body of each request of a load from its number: the same number gives the same body."""

    def __init__(self, recipe: PromptRecipe, schedule: Schedule) -> None:
        self.recipe, self.schedule = recipe, schedule
        self._text = memoryview(" ".join(recipe.words).encode())  # words are ASCII: a character is a byte
        self._starts = [0]
        for word in recipe.words:
            self._starts.append(self._starts[-1] + len(word) + 1)
        self._frames: dict[int, tuple[bytes, bytes]] = {}

    def lengths(self, index: int) -> tuple[int, int]:
        """Return the tokens of the prompt and of the answer of a conversation's first request."""
        columns = self.schedule.input_tokens, self.schedule.output_tokens
        n_in, n_out = (column[index % len(column)] for column in columns)
        return n_in, n_out

    def is_repeated(self, index: int) -> bool:
        """Return whether an earlier request of the load has the same prompt, as far as that is on purpose."""
        n_pictures = len(self.recipe.pictures)
        return (not self.recipe.is_unique and index > 0) or (0 < n_pictures <= index)

    def prompt(self, index: int, n_tokens: int, *, turn: int = 0) -> str:
        """Return the text of a prompt."""
        return self._prompt(index, n_tokens, turn=turn).decode()

    def _prompt(self, index: int, n_tokens: int, *, turn: int = 0) -> bytes:
        blocks = self._blocks(index, n_tokens) if turn == 0 else []
        shared = [self.recipe.words[i] for i in blocks] or (
            self.recipe.shared_words[: n_tokens - 1] if turn == 0 else ()
        )
        rng = self._generator(index, turn)
        own = n_tokens - len(shared)
        first = rng.choices(self.recipe.words, k=min(own, OWN_WORDS))
        pieces = [self._text[self._starts[a] : self._starts[b] - 1] for a, b in self._pieces(own - len(first), rng)]
        return b" ".join([" ".join([*shared, *first]).encode(), *pieces])

    def ids(self, index: int, n_tokens: int) -> list[int]:
        """Return the token ids of a prompt."""
        blocks = self._blocks(index, n_tokens)
        shared = [self.recipe.word_ids[i] for i in blocks] or self.recipe.shared_ids[: n_tokens - 1]
        rng = self._generator(index, 0)
        own = n_tokens - len(shared)
        found = [*shared, *rng.choices(self.recipe.word_ids, k=min(own, OWN_WORDS))]
        for a, b in self._pieces(n_tokens - len(found), rng):
            found += self.recipe.word_ids[a:b]
        return found

    def _blocks(self, index: int, n_tokens: int) -> list[int]:
        """Return the words, by their numbers, of the blocks that a trace says a prompt begins with."""
        named = self.schedule.hash_ids[index % len(self.schedule.hash_ids)] if self.schedule.hash_ids else ()
        found: list[int] = []
        for key in named:
            rng = random.Random(f"{self.recipe.seed} {self.recipe.nonce} block {key}")
            n_own = min(OWN_WORDS, self.schedule.block_tokens)
            found += rng.choices(range(len(self.recipe.words)), k=n_own)
            for a, b in self._pieces(self.schedule.block_tokens - n_own, rng):
                found += range(a, b)
        return found[:n_tokens]

    def _generator(self, index: int, turn: int) -> random.Random:
        number = index if self.recipe.is_unique else 0
        return random.Random(f"{self.recipe.seed} {self.recipe.nonce} {number} {turn}")

    def _pieces(self, n: int, rng: random.Random) -> list[tuple[int, int]]:
        """Return slices of the words that are ``n`` words together."""
        size = min(max(PIECE, n // 64), len(self.recipe.words) // 2)
        found = []
        while n > 0:
            take = min(n, size)
            start = int(rng.random() * (len(self.recipe.words) - take))
            found.append((start, start + take))
            n -= take
        return found

    def first(self, index: int) -> bytes:
        """Return the body of a conversation's first request."""
        n_in, n_out = self.lengths(index)
        if self.recipe.word_ids:
            return orjson.dumps(self._body(self.ids(index, n_in), n_out))
        if self.recipe.pictures:
            pictures = self.recipe.pictures[index % len(self.recipe.pictures)]
            parts = [*pictures, {"type": "text", "text": self.prompt(index, n_in)}]
            return orjson.dumps(self._body(parts, n_out))
        frame = self._frames.get(n_out)
        if frame is None:
            head, _, tail = orjson.dumps(self._body(MARK, n_out)).partition(MARK.encode())
            if len(self._frames) < 10_000:
                self._frames[n_out] = head, tail
            frame = head, tail
        return b"".join([frame[0], self._prompt(index, n_in), frame[1]])  # words need no escaping

    def later(self, messages: Sequence[Body], n_out: int) -> bytes:
        """Return the body of a later turn."""
        return orjson.dumps(self._body(None, n_out) | {"messages": list(messages)})

    def message(self, index: int, turn: int) -> Body:
        """Return what a user says in a turn."""
        n_in, _ = self.lengths(index)
        text = self.prompt(index, n_in, turn=turn)
        if turn == 0 and self.recipe.pictures:
            pictures = self.recipe.pictures[index % len(self.recipe.pictures)]
            return {"role": "user", "content": [*pictures, {"type": "text", "text": text}]}
        return {"role": "user", "content": text}

    def _body(self, prompt: object, n_out: int) -> Body:
        length: Body = {} if self.recipe.length_field is None else {self.recipe.length_field: n_out}
        return prompt_field(self.recipe.endpoint, prompt) | length | self.recipe.fields


def prompt_field(endpoint: str, prompt: object) -> Body:
    """Return the field of an endpoint that holds the prompt."""
    if endpoint == "chat":
        return {"messages": [{"role": "user", "content": prompt}]}
    return {"prompt" if endpoint == "completions" else "input": prompt}
