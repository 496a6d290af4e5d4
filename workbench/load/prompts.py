"""Request bodies: prompts of a wanted length whose first words occur in no other request."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from workbench.core.errors import InvalidSpec
from workbench.core.load import LoadSpec
from workbench.load.pictures import Pictures
from workbench.load.schedule import Planned

PLAIN_WORDS = [
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "student",
    "group",
    "country",
    "problem",
    "hand",
    "part",
    "place",
    "case",
    "week",
    "company",
    "system",
    "program",
    "question",
    "work",
    "number",
    "night",
    "point",
    "home",
    "water",
    "room",
    "mother",
    "area",
    "money",
    "story",
    "fact",
    "month",
    "lot",
    "right",
    "study",
    "book",
    "eye",
    "job",
    "word",
    "business",
    "issue",
    "side",
    "kind",
    "head",
    "house",
    "service",
    "friend",
]


def open_tokenizer(path: str | None) -> Tokenizer | None:
    """The tokenizer of a model folder or file; None when none is named."""
    if path is None:
        return None
    place = Path(path).expanduser()
    file = place / "tokenizer.json" if place.is_dir() else place
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:
        raise InvalidSpec(
            f"No tokenizer can be read from {file}: {error}.", remedy="Name a folder with tokenizer.json."
        ) from error


def single_token_words(tokenizer: Tokenizer) -> list[str]:
    """Plain words that are one token each when a space stands before them."""
    words = [
        w[1:] for w in tokenizer.get_vocab() if w[:1] in "Ġ▁" and len(w) > 3 and w[1:].isascii() and w[1:].isalpha()
    ]
    text = " ".join(["a", *sorted(words)])
    encoded = tokenizer.encode(text, add_special_tokens=False)
    starts = {begin for begin, _ in encoded.offsets} | {begin + 1 for begin, _ in encoded.offsets}
    whole: list[str] = []
    position = 1
    for word in sorted(words):
        inside = range(position + 2, position + 1 + len(word))
        if not any(i in starts for i in inside):
            whole.append(word)
        position += 1 + len(word)
    if len(whole) < 20:
        raise InvalidSpec("This tokenizer has too few whole words.", remedy="Leave the tokenizer out.")
    return whole


def prompt_text(words: Sequence[str], n_tokens: int, *, rng: random.Random) -> str:
    """``n_tokens`` words drawn at random; the first dozen make a prefix that no other prompt has."""
    return " ".join(rng.choices(words, k=max(1, n_tokens)))


def bodies(spec: LoadSpec, planned: Sequence[Planned], tokenizer: Tokenizer | None) -> list[dict[str, Any]]:
    """What to send, one body a request; ``user_texts`` holds the later turns of a conversation."""
    words = single_token_words(tokenizer) if tokenizer else PLAIN_WORDS
    rng = random.Random(spec.seed)
    longest = max(p.input_tokens for p in planned)
    shared = prompt_text(words, longest, rng=rng).split(" ")
    # As a system prompt is: the same in every load, so that one finds it in the cache after another.
    system = prompt_text(words, longest, rng=random.Random("system prompt")).split(" ")
    pictures = Pictures(spec.image_sizes, hit_fraction=spec.image_hit_fraction, rng=random.Random(spec.seed + 1))
    made = []
    for request in planned:
        n = request.input_tokens
        if spec.unique_prefix:
            n_shared = min(spec.shared_prefix_tokens, n - 1)
            texts = [" ".join([*system[:n_shared], prompt_text(words, n - n_shared, rng=rng)])]
        else:
            texts = [" ".join(shared[:n])]
        texts += [prompt_text(words, n, rng=rng) for _ in range(spec.turns - 1)]
        asked = body(spec, texts[0], output_tokens=request.output_tokens) | {"_later": texts[1:]}
        if spec.n_images:
            parts = [*(pictures.part() for _ in range(spec.n_images)), {"type": "text", "text": texts[0]}]
            asked["messages"] = [{"role": "user", "content": parts}]
        if spec.token_ids and tokenizer:
            asked["prompt"] = tokenizer.encode(texts[0], add_special_tokens=False).ids[:n]
        made.append(asked)
    return made


def body(spec: LoadSpec, text: str, *, output_tokens: int) -> dict[str, Any]:
    """A streaming request for exactly ``output_tokens`` tokens, as far as the server obeys."""
    prompt: Mapping[str, Any] = (
        {"messages": [{"role": "user", "content": text}]} if spec.endpoint == "chat" else {"prompt": text}
    )
    return {
        "model": spec.model,
        **prompt,
        "max_tokens": output_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "ignore_eos": True,
    }
