"""Token ids to text, one token at a time."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, Self

import msgspec
from jinja2 import TemplateSyntaxError
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from workbench.core.errors import NotAModel, WorkbenchError, first_line, system_message
from workbench.core.language import gettext, gettext_noop
from workbench.engines.http import EngineFailed

SAMPLE = "The quick brown fox jumps over 13 lazy dogs: 天地玄黄."
COPY_TOKENIZER = gettext_noop("Copy the tokenizer's files into the folder.")
OWN_TOKENIZER = gettext_noop("Use the tokenizer that the model was trained with.")


class _Settings(msgspec.Struct):
    """What is read of ``tokenizer_config.json``; transformers reads the rest."""

    chat_template: object = None


class _Ends(msgspec.Struct):
    """What is read of ``generation_config.json``."""

    eos_token_id: int | list[int] | None = None


class _Encoding(Protocol):
    """The part of a transformers tokenizer that is used here."""

    @property
    def backend_tokenizer(self) -> Tokenizer: ...

    def apply_chat_template(self, conversation: Sequence[Mapping[str, object]], **options: object) -> object: ...


class BadMessages(WorkbenchError):
    """Messages that the model's chat template refuses."""


def _settings(folder: Path) -> _Settings:
    file = folder / "tokenizer_config.json"
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Settings) if file.exists() else _Settings()
    except msgspec.DecodeError as error:
        raise NotAModel(
            gettext("{file} cannot be read: {error}.").format(file=file, error=system_message(error)),
            remedy=gettext("Copy the file of the model again."),
        ) from error


def _by_class(folder: Path) -> _Encoding:
    """Return the tokenizer as its class sets it up, which imports transformers."""
    from transformers import AutoTokenizer

    with _refused_as_tokenizer(folder):
        loaded: _Encoding = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return loaded


@contextmanager
def _refused_as_tokenizer(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # each tokenizer's library has its own
        raise NotAModel(
            gettext("The tokenizer of {folder} cannot be read: {error}.").format(
                folder=folder.name, error=first_line(error)
            ),
            remedy=gettext(COPY_TOKENIZER),
        ) from error


def tokenizer_of(folder: Path) -> Tokenizer:
    """Return the tokenizer of a model folder, which adds BOS and EOS as its class and its settings say.

    Raises:
        NotAModel: There is none, or one that finds no words in a text.
    """
    file = folder / "tokenizer.json"
    if not file.exists():
        raise NotAModel(
            gettext("{folder} has no tokenizer.json.").format(folder=folder),
            remedy=gettext("Name a folder with a fast tokenizer."),
        )
    by_class = _by_class(folder) if (folder / "tokenizer_config.json").exists() else None
    backend = getattr(by_class, "backend_tokenizer", None)
    with _refused_as_tokenizer(folder):
        tokenizer = backend if isinstance(backend, Tokenizer) else Tokenizer.from_file(str(file))
        ids = tokenizer.encode(SAMPLE, add_special_tokens=False).ids
    if len(set(ids)) < 2:
        raise NotAModel(
            gettext("{folder} has no tokenizer that can read text.").format(folder=folder.name),
            remedy=gettext(COPY_TOKENIZER),
        )
    return tokenizer


def eos_ids(folder: Path) -> frozenset[int]:
    """Return the ids that end a text, as the generation settings or the configuration name them; raises ``NotAModel`` where they are damaged."""
    for path in (folder / "generation_config.json", folder / "config.json"):
        if not path.exists():
            continue
        try:
            found = msgspec.convert(json.loads(path.read_bytes()), _Ends).eos_token_id
        except (OSError, ValueError, RecursionError) as error:  # msgspec's own are ValueErrors
            raise NotAModel(
                gettext("{path} cannot be read: {error}.").format(path=path, error=system_message(error)),
                remedy=gettext("Copy the file of the model again."),
            ) from error
        if found is not None:
            return frozenset(found if isinstance(found, list) else [found])
    return frozenset()


def require_known_ids(ids: Sequence[int], n_words: int | None) -> None:
    """Raise ``EngineFailed`` for a token that the embedding does not have, which would end the engine."""
    if ids and n_words is not None and max(ids) >= n_words:
        raise EngineFailed(
            gettext("The prompt has token {token}; the model's embedding has {n} rows.").format(
                token=max(ids), n=n_words
            ),
            remedy=gettext(OWN_TOKENIZER),
        )


def require_words_within(tokenizer: Tokenizer, n_words: int | None) -> None:
    """Raise ``NotAModel`` where plain text, or what is set around each text, becomes tokens that the embedding does not have.

    Added tokens beyond the embedding are common, and stand in no text that does not name them: ``require_known_ids`` sees those.
    """
    added = tokenizer.get_added_tokens_decoder()
    words = {i for i in tokenizer.get_vocab(with_added_tokens=False).values() if i not in added}
    largest = max(words.union(tokenizer.encode(SAMPLE).ids))
    if n_words is not None and largest >= n_words:
        raise NotAModel(
            gettext("The tokenizer has words up to token {token}; the model's embedding has {n} rows.").format(
                token=largest, n=n_words
            ),
            remedy=gettext(OWN_TOKENIZER),
        )


class ChatTemplate:
    """The chat template of a model: messages and tools as the token ids that it was trained on."""

    def __init__(self, tokenizer: _Encoding) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def of(cls, folder: Path) -> Self | None:
        """Return the template of a model folder; None where it has none. Raises ``NotAModel`` for one that is damaged."""
        has_file = (folder / "chat_template.jinja").exists() or (folder / "chat_template.json").exists()
        if not has_file and not _settings(folder).chat_template:
            return None
        template = cls(_by_class(folder))
        try:
            template._text([{"role": "user", "content": "x"}], None)
        except TemplateSyntaxError as error:
            raise NotAModel(
                gettext("The chat template of {folder} is damaged: {error}.").format(
                    folder=folder.name, error=first_line(error)
                ),
                remedy=gettext("Copy the file of the model again."),
            ) from error
        except Exception:  # noqa: BLE001, S110 - what it refuses in a conversation is said when one comes
            pass
        return template

    def _text(self, messages: Sequence[Mapping[str, object]], tools: Sequence[object] | None) -> str:
        return str(
            self._tokenizer.apply_chat_template(
                messages, tools=tools or None, tokenize=False, add_generation_prompt=True
            )
        )

    def ids(self, messages: Sequence[Mapping[str, object]], tools: Sequence[object] | None) -> tuple[int, ...]:
        """Return the prompt of a conversation, which ends where the answer begins.

        Raises:
            BadMessages: The template refuses a role or an order, with its own words.
        """
        try:
            text = self._text(messages, tools)
        except Exception as error:
            raise BadMessages(
                gettext("The model's chat template refuses the messages: {error}.").format(error=error),
                remedy=gettext("Change roles or order."),
            ) from error
        return tuple(self._tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids)


class Detokenizer:
    """Text of a growing list of tokens; a token that ends in half a character gives "" until the rest is there."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)

    def text(self, token_ids: Sequence[int]) -> str:
        """Return the text that these tokens add."""
        return "".join(self._stream.step(self._tokenizer, token) or "" for token in token_ids)
