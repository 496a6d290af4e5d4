"""Generated English and Chinese texts with labelled personal data and secrets, and look-alikes, from a seed.

Check digits are computed here independently of the detector. All data is random and belongs to no one.
"""

import random
import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workbench.questions.security.measure import made
from workbench.questions.security.measure.numbers import check_luhn, chinese_id, digits, iban, identity

FULL_WIDTH = str.maketrans(string.digits, "０１２３４５６７８９")


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A text, and the place of what is to be found in it."""

    text: str
    kind: str
    """Class that it holds or, without a span, that it resembles."""
    span: tuple[int, int] | None
    language: str


TEMPLATES = {
    "en": (
        "Please charge {} for the order.",
        "My details: {}, thank you",
        "old value {} was replaced on Monday",
        "({})",
        'log line: user="{}" status=ok',
        "Is {} still valid?",
        "Contact: {}.",
        '{{"id": 17, "value": "{}"}}',
        "1042,{},active",
        "values = [3, '{}', 5]",
        "| 7 | {} | **open** |",
        "Bitte ändern Sie {} bis Montag",
        "Merci de vérifier {} avant lundi",
        "First line\n{}\nlast line",
    ),
    "zh": (
        "我的信息是{}，请尽快处理。",
        "请记录：{}",
        "客户{}的订单已发货",
        "《{}》",
        "联系方式（{}）",
        "号码为{}。谢谢",
        "编号７，{}，已核对",
    ),
}
"""Sentences by language; in Chinese the data has no spaces around it, so that no word ends there."""


def corpus(seed: int, n_per_kind: int) -> list[Labelled]:
    """Return ``n_per_kind`` texts of each class, and as many look-alikes of each."""
    rng, texts = random.Random(seed), []
    for kind, (positive, negative) in KINDS.items():
        for make, is_real in ((positive, True), (negative, False)):
            for _ in range(n_per_kind):
                language = rng.choice(("en", "en", "zh"))
                value = make(rng)
                if is_real and kind in {"CARD", "ID"} and language == "zh" and rng.random() < 0.15:
                    value = value.translate(FULL_WIDTH)
                before, after = (
                    part.replace("{{", "{").replace("}}", "}") for part in rng.choice(TEMPLATES[language]).split("{}")
                )
                span = (len(before), len(before) + len(value)) if is_real else None
                texts.append(Labelled(text=before + value + after, kind=kind, span=span, language=language))
    rng.shuffle(texts)
    return texts


def _no_card(rng: random.Random) -> str:
    """Return a look-alike: an order number with a wrong check digit, a timestamp, a tracking number or part of a decimal."""
    body = rng.choice("456") + digits(rng, 14)
    right = check_luhn(body)
    wrong = rng.choice([d for d in string.digits if d != right])
    return rng.choice(
        (
            body + wrong,
            f"17{digits(rng, 11)}",
            f"1Z{digits(rng, 8)}{rng.choice(string.ascii_uppercase)}{digits(rng, 7)}",
            f"0.{body}{right}",
            f"{digits(rng, 8)}-{digits(rng, 4)}-4{digits(rng, 3)}-a{digits(rng, 3)}-{digits(rng, 12)}",
        )
    )


def _no_id(rng: random.Random) -> str:
    real = chinese_id(rng)
    wrong = rng.choice([c for c in "0123456789" if c != real[-1]])
    return rng.choice(
        (
            real[:-1] + wrong,
            real[:10] + "13" + real[12:17] + "0",
            f"000-{rng.randint(1, 99):02}-{digits(rng, 4)}",
            f"9{digits(rng, 2)}-{rng.randint(1, 99):02}-{digits(rng, 4)}",
            f"{digits(rng, 3)}-00-{digits(rng, 4)}",
            digits(rng, 22),
        )
    )


def _no_iban(rng: random.Random) -> str:
    real = re.sub("[^0-9A-Z]", "", iban(rng).upper())
    check = (int(real[2:4]) + rng.randint(1, 90) - 2) % 97 + 2
    check += check == int(real[2:4])
    return rng.choice(
        (f"{real[:2]}{check:02}{real[4:]}", f"SN{digits(rng, 2)}{digits(rng, 10)}", f"AB{digits(rng, 12)}")
    )


def _no_private_key(rng: random.Random) -> str:
    return rng.choice(
        ("-----BEGIN CERTIFICATE-----", "-----BEGIN PUBLIC KEY-----", "BEGIN PRIVATE KEY", "---- PRIVATE KEY ----")
    )


Make = Callable[[random.Random], str]
KINDS: dict[str, tuple[Make, Make]] = {
    "CARD": (made.card, _no_card),
    "EMAIL": (made.email, made.no_email),
    "PHONE": (made.phone, made.no_phone),
    "ID": (identity, _no_id),
    "IBAN": (iban, _no_iban),
    "SECRET": (made.secret, made.no_secret),
    "PRIVATE KEY": (made.private_key, _no_private_key),
}


def cut(text: str, rng: random.Random) -> Sequence[str]:
    """Return the text in random pieces, as a stream delivers it."""
    pieces, at = [], 0
    longest = rng.choice((1, 3, 8, 40))
    while at < len(text):
        n = rng.randint(1, longest)
        pieces.append(text[at : at + n])
        at += n
    return pieces
