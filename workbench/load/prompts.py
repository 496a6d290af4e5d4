"""What the bodies of a load are made from: words of one token each, the fields of a request, images."""

import random
import secrets
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext
from workbench.load.bodies import prompt_field
from workbench.load.messages import Body, PromptRecipe
from workbench.load.pictures import Pictures
from workbench.load.spec import LoadSpec

PLAIN_WORDS = """
    time year people way day man thing woman life child world school state family student group country
    problem hand part place case week company system program question work number night point home water room
    mother area money story fact month lot right study book eye job word business issue side kind head house
    service friend
""".split()  # noqa: SIM905 - a list literal would take a line for each word
N_WORDS = 4096
"""Words of which the later parts of prompts are cut."""
MOST_PICTURES = 2000


def open_tokenizer(path: str | None) -> Tokenizer | None:
    """Return the tokenizer of a model folder or file; None when none is named."""
    if path is None:
        return None
    place = Path(path).expanduser()
    file = place / "tokenizer.json" if place.is_dir() else place
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:
        raise InvalidSpec(
            gettext("No tokenizer can be read from {file}: {error}.").format(file=file, error=error),
            remedy=gettext("Name a folder with tokenizer.json."),
        ) from error


def single_token_words(tokenizer: Tokenizer) -> list[str]:
    """Return plain words that are one token each after a space."""
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
        raise InvalidSpec(
            gettext("This tokenizer has too few whole words."), remedy=gettext("Leave the tokenizer out.")
        )
    return whole


def prompt_text(words: Sequence[str], n_tokens: int, *, rng: random.Random) -> str:
    """Return ``n_tokens`` words drawn at random; the first dozen make a prefix that no other prompt has."""
    return " ".join(rng.choices(words, k=max(1, n_tokens)))


def drawn_nonce() -> int:
    """Return a number that no earlier run had."""
    return secrets.randbits(31)


def recipe(
    spec: LoadSpec, tokenizer: Tokenizer | None, *, nonce: int, fields: Body, length_field: str | None, n_requests: int
) -> PromptRecipe:
    """Return what the bodies of a load are made from.

    Args:
        spec: The load.
        tokenizer: Of its model, where one is named.
        nonce: Of the run.
        fields: Of each body, apart from the prompt and the length of the answer.
        length_field: Limits the answer.
        n_requests: For how many images are made; only these lie in memory beforehand.
    """
    words = single_token_words(tokenizer) if tokenizer else PLAIN_WORDS
    rng = random.Random(f"words {spec.seed} {nonce}")
    drawn = rng.choices(words, k=N_WORDS)
    # As a system prompt is: the same in every load, so that one finds it in the cache after another.
    system = random.Random("system prompt").choices(words, k=spec.shared_prefix_tokens)
    sends_ids = spec.token_ids and tokenizer is not None
    pictures = Pictures(
        spec.image_sizes, hit_fraction=spec.image_hit_fraction, rng=random.Random(f"images {spec.seed} {nonce}")
    )
    return PromptRecipe(
        seed=spec.seed,
        nonce=nonce,
        words=tuple(drawn),
        word_ids=_ids(drawn, tokenizer) if sends_ids and tokenizer else (),
        is_unique=spec.unique_prefix,
        shared_words=tuple(system),
        shared_ids=_ids(system, tokenizer) if sends_ids and tokenizer else (),
        endpoint=spec.endpoint,
        turns=spec.turns,
        fields=fields,
        length_field=length_field,
        pictures=tuple(
            tuple(pictures.part() for _ in range(spec.n_images)) for _ in range(min(n_requests, MOST_PICTURES))
        )
        if spec.n_images
        else (),
    )


def _ids(words: Sequence[str], tokenizer: Tokenizer) -> tuple[int, ...]:
    known = {w: tokenizer.encode(f"a {w}", add_special_tokens=False).ids[-1] for w in set(words)}
    return tuple(known[w] for w in words)


LENGTH_FIELDS = {"completions": "max_tokens", "chat": "max_tokens", "responses": "max_output_tokens"}


def usual_fields(spec: LoadSpec) -> Body:
    """Return the fields of a streaming request for exactly as many tokens as asked for, as far as the server obeys."""
    if spec.endpoint == "embeddings":
        return {"model": spec.model} | spec.extra_fields()
    fields: Body = {"model": spec.model, "temperature": 0, "stream": True}
    if spec.endpoint != "responses":
        fields["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
    if spec.ignore_eos and not spec.is_structured:
        fields["ignore_eos"] = True
    return fields | spec.structure_fields() | spec.extra_fields()


def body(spec: LoadSpec, text: str, *, output_tokens: int) -> Body:
    """Return a streaming request for exactly ``output_tokens`` tokens, as far as the server obeys."""
    field = spec.max_tokens_field or LENGTH_FIELDS.get(spec.endpoint)
    return prompt_field(spec.endpoint, text) | ({field: output_tokens} if field else {}) | usual_fields(spec)


def simple_body(spec: LoadSpec, text: str, *, output_tokens: int) -> Body:
    """Return a streaming request in fields that every server knows, for at most ``output_tokens`` tokens."""
    asked = body(spec, text, output_tokens=output_tokens)
    return {name: value for name, value in asked.items() if name not in {"stream_options", "ignore_eos"}}
