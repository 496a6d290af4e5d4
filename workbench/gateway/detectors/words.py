"""Words that say what the number behind them is."""

import re
from collections.abc import Iterator

REACH = 40
"""Characters before a number in which such a word is looked for."""
PHONE_WORDS = re.compile(
    r"phone|\bt[eé]l\b|telef|téléph|\bfon\b|handy|mobil|móvil|\bcell|\bcall|\bring\b|\bfax|whatsapp|sms|text me|dial|hotline|rufen|ruf |anruf|appel|joindre"
    r"|reach me|reach us|电话|電話|手机|手機|联系电话|聯絡電話|拨打|致电|携帯|전화|тел",
    re.IGNORECASE,
)
ID_WORDS = re.compile(
    r"\bid\b|_id\b|ident|ausweis|steuer|tax|tin\b|national|passport|insur|social|sécu|secu|\bn\.?i\.?r\b|bsn|burgerservice|pesel|cpf|cnpj|aadhaar|nhs|ssn|dni|nie\b"
    r"|codice|fiscal|personn|nino|rut\b|身份|证件|證|주민",
    re.IGNORECASE,
)


def has_word_before(text: str, place: int, words: re.Pattern[str]) -> bool:
    """Return whether one of the words stands on the same line shortly before a place."""
    before = text[max(0, place - REACH) : place]
    return words.search(before, max(before.rfind("\n"), 0)) is not None


PHONE_BEGINNINGS = (
    "phone",
    "tel",
    "tél",
    "fon",
    "handy",
    "mobil",
    "móvil",
    "cell",
    "call",
    "ring",
    "fax",
    "whatsapp",
    "sms",
    "text me",
    "dial",
    "hotline",
)
OTHER_PHONE_BEGINNINGS = (
    "rufen",
    "ruf ",
    "anruf",
    "appel",
    "joindre",
    "reach",
    "电话",
    "電話",
    "手机",
    "手機",
    "拨打",
    "致电",
    "携帯",
    "전화",
    "тел",
)


def places_of_phone_words(text: str) -> list[int]:
    """Return, in order, the places where a word that names telephone numbers may begin."""
    lower = text.lower()
    if len(lower) != len(text):  # a few letters become two in lower case
        lower = text
    return sorted(at for word in (*PHONE_BEGINNINGS, *OTHER_PHONE_BEGINNINGS) for at in _all(lower, word))


def _all(text: str, word: str) -> Iterator[int]:
    at = text.find(word)
    while at >= 0:
        yield at
        at = text.find(word, at + len(word))
