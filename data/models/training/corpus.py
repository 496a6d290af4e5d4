"""Text of the reference model: CPython's standard library and documentation, split by module.

Every module (its source, its tests, its page in the manual) is either in training or held out, so
that no held-out file has a twin in training.

    python data/models/training/corpus.py --docs /usr/share/doc/python3.11/html/_sources --out build/corpus
"""

import argparse
import hashlib
import json
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

END_OF_TEXT = "<|endoftext|>"
HELD_OUT_SHARE = 0.03
# Character tables (near copies of each other), 2to3's grammar data, and the manual's text as a Python
# dictionary, which would put held-out pages into training.
SKIPPED = re.compile(r"encodings/|pydoc_data/|lib2to3/tests/data|site-packages/|/bad|__pycache__|test/cjkencodings")


@dataclass(frozen=True, slots=True)
class Document:
    """One file of the corpus."""

    name: str
    text: str

    @property
    def module(self) -> str:
        """What ties a source file to its tests and its manual page."""
        path = Path(self.name.removesuffix(".txt")).with_suffix("")
        parts = [*(part for part in path.parts[1:-1] if part not in {"test", "library"}), path.name]
        if self.name.startswith("doc/") and "/library/" not in self.name:
            return "/".join(parts)
        return parts[0].split(".")[0].removeprefix("test_").removeprefix("_").lower()

    @property
    def is_held_out(self) -> bool:
        """True for a fixed share of modules, chosen by a hash of the name."""
        digest = hashlib.sha256(self.module.encode()).digest()
        return int.from_bytes(digest[:4], "big") / 2**32 < HELD_OUT_SHARE


def documents(stdlib: Path, docs: Path | None) -> Iterator[Document]:
    """All files once, in a fixed order; files that are not UTF-8 or tiny are left out."""
    seen: set[bytes] = set()
    roots = [("lib", stdlib, "*.py")] + ([("doc", docs, "*.txt")] if docs else [])
    for label, root, pattern in roots:
        for path in sorted(root.rglob(pattern)):
            name = f"{label}/{path.relative_to(root).as_posix()}"
            if SKIPPED.search(name):
                continue
            try:
                text = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
            digest = hashlib.sha256(text.encode()).digest()
            if 200 <= len(text) <= 1_000_000 and digest not in seen:
                seen.add(digest)
                yield Document(name, text)


def train_tokenizer(texts: Iterator[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE that keeps every digit apart, so that numbers can be copied digit by digit."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, docs: list[Document]) -> np.ndarray:
    """Documents as one stream of token ids, each ended by the end-of-text token."""
    end = tokenizer.token_to_id(END_OF_TEXT)
    ids = [np.array([*e.ids, end], dtype=np.uint16) for e in tokenizer.encode_batch([d.text for d in docs])]
    return np.concatenate(ids)


def main() -> None:
    """Write tokenizer, token streams, held-out text and a summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", type=Path, help="folder with the manual's .rst.txt sources")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--vocab", type=int, default=4096)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    every = list(documents(Path(sysconfig.get_path("stdlib")), args.docs))
    held_out = [d for d in every if d.is_held_out]
    train = [d for d in every if not d.is_held_out]
    tokenizer = train_tokenizer((d.text for d in train), args.vocab)
    tokenizer.save(str(args.out / "tokenizer.json"))
    streams = {"train": encode(tokenizer, train), "held_out": encode(tokenizer, held_out)}
    for name, stream in streams.items():
        stream.tofile(args.out / f"{name}.bin")
    (args.out / "held_out.json").write_text(json.dumps([[d.name, d.text] for d in held_out]))
    summary = {
        "n_documents": {"train": len(train), "held_out": len(held_out)},
        "n_bytes": {
            "train": sum(len(d.text.encode()) for d in train),
            "held_out": sum(len(d.text.encode()) for d in held_out),
        },
        "n_tokens": {k: int(v.size) for k, v in streams.items()},
        "held_out_modules": sorted({d.module for d in held_out}),
    }
    (args.out / "summary.json").write_text(json.dumps(summary, indent=1))
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
