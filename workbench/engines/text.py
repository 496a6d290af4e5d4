"""Token ids to text, one token at a time."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from workbench.core.errors import NotAModel


def tokenizer_of(folder: Path) -> Tokenizer:
    """The tokenizer of a model folder; raises ``NotAModel`` when there is none."""
    file = folder / "tokenizer.json"
    if not file.exists():
        raise NotAModel(f"{folder} has no tokenizer.json.", remedy="Name a folder with a fast tokenizer.")
    return Tokenizer.from_file(str(file))


class Detokenizer:
    """Text of a growing list of tokens; a token that ends in half a character gives "" until the rest is there."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)

    def text(self, token_ids: Sequence[int]) -> str:
        """What these tokens add."""
        return "".join(self._stream.step(self._tokenizer, token) or "" for token in token_ids)
