"""Generated English and Chinese texts with labelled personal data and secrets, and look-alikes, from a seed.

Check digits are computed here independently of the detector. All data is random and belongs to no one.
"""

import random
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
        "First line\n{}\nlast line",
    ),
    "zh": (
        "我的信息是{}，请尽快处理。",
        "请记录：{}",
        "客户{}的订单已发货",
        "《{}》",
        "联系方式（{}）",
        "号码为{}。谢谢",
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
                before, after = rng.choice(TEMPLATES[language]).split("{}")
                span = (len(before), len(before) + len(value)) if is_real else None
                texts.append(Labelled(text=before + value + after, kind=kind, span=span, language=language))
    rng.shuffle(texts)
    return texts


def _digits(rng: random.Random, n: int) -> str:
    return "".join(rng.choice(string.digits) for _ in range(n))


def _luhn_digit(body: str) -> str:
    """Return the Luhn check digit of a number."""
    doubled = [int(d) for d in reversed(body)]
    for i in range(0, len(doubled), 2):
        doubled[i] = sum(divmod(2 * doubled[i], 10))
    return str(-sum(doubled) % 10)


def _card(rng: random.Random) -> str:
    prefix, length = rng.choice(
        (("4", 16), ("5" + rng.choice("12345"), 16), ("34", 15), ("37", 15), ("62", 16), ("6011", 16))
    )
    body = prefix + _digits(rng, length - 1 - len(prefix))
    number = body + _luhn_digit(body)
    separator = rng.choice(("", " ", "-", ""))
    if length == 15:
        return separator.join((number[:4], number[4:10], number[10:]))
    return separator.join(number[i : i + 4] for i in range(0, 16, 4))


def _no_card(rng: random.Random) -> str:
    """Return a look-alike: an order number with a wrong check digit, a timestamp, a tracking number or part of a decimal."""
    body = rng.choice("456") + _digits(rng, 14)
    right = _luhn_digit(body)
    wrong = rng.choice([d for d in string.digits if d != right])
    return rng.choice(
        (
            body + wrong,
            f"17{_digits(rng, 11)}",
            f"1Z{_digits(rng, 8)}{rng.choice(string.ascii_uppercase)}{_digits(rng, 7)}",
            f"0.{body}{right}",
            f"{_digits(rng, 8)}-{_digits(rng, 4)}-4{_digits(rng, 3)}-a{_digits(rng, 3)}-{_digits(rng, 12)}",
        )
    )


NAMES = ("anna", "li.wei", "j_smith", "support", "ops-team", "maria.garcia", "t", "zhang3", "first.last+news")
DOMAINS = (
    "example.com",
    "mail.example.org",
    "example.co.uk",
    "corp.example.de",
    "xn--fsq.example.cn",
    "a-b.example.io",
)


def _email(rng: random.Random) -> str:
    return f"{rng.choice(NAMES)}{rng.choice(('', _digits(rng, 2)))}@{rng.choice(DOMAINS)}"


def _no_email(rng: random.Random) -> str:
    return rng.choice(
        (
            "@" + rng.choice(("property", "staticmethod", "everyone")),
            f"torch@{rng.randint(1, 3)}.{rng.randint(0, 13)}.0",
            f"a@b.{rng.choice('xyz')}|d",
            f"git@{_digits(rng, 1)}",
            f"user@host:{_digits(rng, 4)}",
            f"{rng.choice(NAMES)} at example dot com",
            f"sha256@{_digits(rng, 6)}",
        )
    )


def _phone(rng: random.Random) -> str:
    def d(n: int) -> str:
        return _digits(rng, n)

    area, office = rng.choice("23456789") + d(2), rng.choice("23456789") + d(2)
    return rng.choice(
        (
            f"({area}) {office}-{d(4)}",
            f"+1 {area} {office} {d(4)}",
            f"{area}-{office}-{d(4)}",
            f"+44 20 {d(4)} {d(4)}",
            f"+49 30 {d(8)}",
            f"+86 1{rng.choice('3456789')}{d(1)} {d(4)} {d(4)}",
            f"1{rng.choice('3456789')}{d(9)}",
            f"1{rng.choice('3456789')}{d(1)}-{d(4)}-{d(4)}",
            f"0{rng.choice(('10', '21', '755', '571'))}-{rng.choice('2345678')}{d(7)}",
        )
    )


def _no_phone(rng: random.Random) -> str:
    return rng.choice(
        (
            f"{rng.randint(1990, 2030)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
            f"{rng.randint(1, 9)}.{rng.randint(0, 20)}.{rng.randint(0, 900)}",
            f"{_digits(rng, 3)}.{_digits(rng, 2)}.{_digits(rng, 1)}.{_digits(rng, 3)}",
            f"{rng.randint(10, 99)},{_digits(rng, 3)},{_digits(rng, 3)}",
            f"978-{rng.choice('03')}-{_digits(rng, 3)}-{_digits(rng, 5)}-{_digits(rng, 1)}",
            f"#{_digits(rng, 7)}",
            f"{_digits(rng, 2)}:{_digits(rng, 2)}:{_digits(rng, 2)}.{_digits(rng, 3)}",
            f"{rng.randint(2, 9)}{_digits(rng, 10)}",
            f"0x{_digits(rng, 8)}",
        )
    )


def _chinese_id(rng: random.Random) -> str:
    body = (
        f"{rng.choice(('110105', '310104', '440305', '510107', '330106'))}{rng.randint(1940, 2015)}"
        f"{rng.randint(1, 12):02}{rng.randint(1, 28):02}{_digits(rng, 3)}"
    )
    remainder = sum(int(c) * pow(2, 17 - i, 11) for i, c in enumerate(body)) % 11
    return body + "10X98765432"[remainder]


def _id(rng: random.Random) -> str:
    if rng.random() < 0.6:
        return _chinese_id(rng)
    area = rng.choice([n for n in range(1, 900) if n != 666])
    return f"{area:03}-{rng.randint(1, 99):02}-{rng.randint(1, 9999):04}"


def _no_id(rng: random.Random) -> str:
    real = _chinese_id(rng)
    wrong = rng.choice([c for c in "0123456789" if c != real[-1]])
    return rng.choice(
        (
            real[:-1] + wrong,
            real[:10] + "13" + real[12:17] + "0",
            f"000-{rng.randint(1, 99):02}-{_digits(rng, 4)}",
            f"9{_digits(rng, 2)}-{rng.randint(1, 99):02}-{_digits(rng, 4)}",
            f"{_digits(rng, 3)}-00-{_digits(rng, 4)}",
            _digits(rng, 22),
        )
    )


def _iban(rng: random.Random) -> str:
    country, n = rng.choice((("DE", 18), ("FR", 23), ("ES", 20), ("NL", 0), ("GB", 0)))
    bank = {"NL": rng.choice(("ABNA", "INGB")), "GB": rng.choice(("NWBK", "BARC"))}.get(country, "")
    body = bank + _digits(rng, {"NL": 10, "GB": 14}.get(country, n))
    number = int("".join(str(int(c, 36)) for c in body + country + "00"))
    whole = f"{country}{98 - number % 97:02}{body}"
    return " ".join(whole[i : i + 4] for i in range(0, len(whole), 4)) if rng.random() < 0.5 else whole


def _no_iban(rng: random.Random) -> str:
    real = _iban(rng).replace(" ", "")
    check = (int(real[2:4]) + rng.randint(1, 90) - 2) % 97 + 2
    check += check == int(real[2:4])
    return rng.choice(
        (f"{real[:2]}{check:02}{real[4:]}", f"SN{_digits(rng, 2)}{_digits(rng, 10)}", f"AB{_digits(rng, 12)}")
    )


def _letters(rng: random.Random, n: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    return "".join(rng.choice(alphabet) for _ in range(n))


def _secret(rng: random.Random) -> str:
    return rng.choice(
        (
            "sk-" + _letters(rng, 48),
            "sk-proj-" + _letters(rng, 40),
            "ghp_" + _letters(rng, 36),
            "AKIA" + _letters(rng, 16, string.ascii_uppercase + string.digits),
            "AIza" + _letters(rng, 35),
            "xoxb-" + _digits(rng, 12) + "-" + _letters(rng, 24),
            "hf_" + _letters(rng, 34),
            "glpat-" + _letters(rng, 20),
            f"eyJ{_letters(rng, 20)}.eyJ{_letters(rng, 40)}.{_letters(rng, 43)}",
        )
    )


def _no_secret(rng: random.Random) -> str:
    return rng.choice(
        (
            _letters(rng, 40, "0123456789abcdef"),
            "sk-learn-" + _letters(rng, 4, string.ascii_lowercase),
            "hf_hub",
            "AKIA" + _letters(rng, 4, string.ascii_uppercase),
            "xoxo",
            "eyJ" + _letters(rng, 30),
            f"{_letters(rng, 8, '0123456789abcdef')}-{_letters(rng, 4, '0123456789abcdef')}",
            "ghp_short",
        )
    )


def _private_key(rng: random.Random) -> str:
    return f"-----BEGIN {rng.choice(('', 'RSA ', 'EC ', 'OPENSSH ', 'ENCRYPTED '))}PRIVATE KEY-----"


def _no_private_key(rng: random.Random) -> str:
    return rng.choice(
        ("-----BEGIN CERTIFICATE-----", "-----BEGIN PUBLIC KEY-----", "BEGIN PRIVATE KEY", "---- PRIVATE KEY ----")
    )


Make = Callable[[random.Random], str]
KINDS: dict[str, tuple[Make, Make]] = {
    "CARD": (_card, _no_card),
    "EMAIL": (_email, _no_email),
    "PHONE": (_phone, _no_phone),
    "ID": (_id, _no_id),
    "IBAN": (_iban, _no_iban),
    "SECRET": (_secret, _no_secret),
    "PRIVATE KEY": (_private_key, _no_private_key),
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
