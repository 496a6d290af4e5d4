"""Words that say what the number behind them is."""

import numpy as np

from workbench.gateway.detectors.finding import Ints
from workbench.gateway.detectors.groups import WORD, Bools, Text, folded
from workbench.gateway.detectors.normal import Codes

REACH = 40
"""Characters before a number in which such a word is looked for."""


class Words:
    """Words of one meaning. A bar before or after a word stands for the edge of a word."""

    is_any_pair = np.zeros(1 << 16, np.bool_)
    """Whether a word of any meaning begins with a pair, so that a text is searched once for all of them."""

    def __init__(self, *words: str) -> None:
        self._words = [(w.startswith("|"), _codes(w.strip("|")), w.endswith("|")) for w in words]
        self._pairs = np.array([pair_of(w.strip("|")) for w in words], np.uint16)
        self._eights = [_eight(codes) for _, codes, _ in self._words]
        Words.is_any_pair[self._pairs] = True

    def places(self, text: Text) -> tuple[Ints, Ints]:
        """Return beginnings and ends of the words of a text, by their ends."""
        if self not in text.words:
            text.words[self] = self._places(text)
        return text.words[self]

    def _places(self, text: Text) -> tuple[Ints, Ints]:
        if text.likely is None:
            places = np.flatnonzero(Words.is_any_pair.take(text.pairs))
            pairs = text.pairs[places]
            order = np.argsort(pairs, kind="stable")
            places = places[order]
            text.likely = places, pairs[order], text.eight_at(places)
        likely, pairs, eights = text.likely
        begins, ends = [likely[:0]], [likely[:0]]
        if likely.size:
            firsts, lasts = (np.searchsorted(pairs, self._pairs, side).tolist() for side in ("left", "right"))
            for (left, codes, right), (mask, eight), first, last in zip(
                self._words, self._eights, firsts, lasts, strict=True
            ):
                at = likely[first:last][(eights[first:last] & mask) == eight]
                if not at.size:
                    continue
                at = at[at <= text.codes.size - codes.size]
                for i, code in enumerate(codes.tolist()):
                    if i > 7 or code > 127:
                        at = at[text.lower_at(at + i) == code]
                if left:
                    at = at[~WORD[text.at(at - 1)]]
                if right:
                    at = at[~WORD[text.at(at + codes.size)]]
                begins.append(at)
                ends.append(at + codes.size)
        begin, end = np.concatenate(begins), np.concatenate(ends)
        order = np.lexsort((begin, end))
        return begin[order], end[order]

    def stands_before(self, text: Text, places: Ints, reach: int = REACH) -> Bools:
        """Return before which places one of the words stands on the same line, at most so many characters back."""
        if not places.size:
            return np.zeros(0, np.bool_)
        begin, end = self.places(text)
        if not begin.size:
            return np.zeros(places.size, np.bool_)
        line = text.line_breaks.last(places + 1) + 1
        nearest = np.maximum.accumulate(begin)[np.maximum(np.searchsorted(end, places, "right") - 1, 0)]
        result: Bools = (end[0] <= places) & (nearest >= np.maximum(places - reach, line))
        return result


def _codes(word: str) -> Codes:
    return np.frombuffer(word.encode("utf-32-le"), np.uint32)


def pair_of(word: str) -> int:
    """Return a byte of each of the first two characters of a word of small letters in one number, as ``Text.pairs`` holds them."""
    first, second = folded(_codes(word)[:2]).tolist()
    return int(first << 8 | second)


def _eight(codes: Codes) -> tuple[np.uint64, np.uint64]:
    """Return which of eight bytes a word has, and them."""
    first = folded(codes[:8]).tobytes()
    mask = (1 << 8 * len(first)) - 1
    return np.uint64(mask), np.uint64(int.from_bytes(first, "little"))


PHONE_WORDS = Words(
    *(
        "phone",
        "contact n",
        "portable",
        "rufnummer",
        "|mob",
        "|ph|",
        "|gsm",
        "|cep",
        "|kom|",
        "|tlf",
        "|tfn",
        "|puh",
        "|hp|",
        "msisdn",
        "viber",
        "llám",
        "llam",
        "zadzwo",
        "numara",
        "bellen",
        "|ring ",
        "chiama",
        "ligue",
        "|tel|",
        "|tél|",
        "telef",
        "teléf",
        "téléph",
        "|fon|",
        "handy",
        "mobil",
        "móvil",
        "|cell",
        "|call",
        "|ring|",
    ),
    *(
        "|fax",
        "whatsapp",
        "sms",
        "text me",
        "dial",
        "hotline",
        "rufen",
        "ruf ",
        "anruf",
        "appel",
        "joindre",
        "reach me",
    ),
    *(
        "reach us",
        "电话",
        "電話",
        "手机",
        "手機",
        "拨打",
        "致电",
        "携帯",
        "전화",
        "연락처",
        "휴대",
        "連絡先",
        "тел",
        "моб",
        "звон",
        "फ़ोन",
        "फोन",
        "मोबाइल",
        "هاتف",
        "جوال",
        "טלפון",
        "โทร",
    ),
)
PAN_WORDS = Words("|pan|", "pan_", "permanent account")
TAX_WORDS = Words("ssn", "social", "|tin|", "itin", "taxpayer", "tax id", "tax_id", "taxid")
ID_WORDS = Words(
    *(
        "|id|",
        "_id|",
        "ident",
        "ausweis",
        "steuer",
        "tax",
        "tin|",
        "national",
        "passport",
        "insur",
        "social",
        "sécu",
        "secu",
    ),
    *(
        "|nir|",
        "|n.i.r|",
        "bsn",
        "burgerservice",
        "pesel",
        "cpf",
        "cnpj",
        "aadhaar",
        "aadhar",
        "|uid|",
        "idnr",
        "id-nr",
        "nhs",
        "ssn",
        "dni",
        "nie|",
        "codice",
    ),
    *(
        "fiscal",
        "personn",
        "pnr",
        "samordn",
        "rrn",
        "resident",
        "citizen",
        "nino",
        "rut|",
        "身份",
        "证件",
        "證件",
        "證號",
        "身分證",
        "주민",
    ),
)
OTHER_NUMBERS = Words(
    *(
        "|id|",
        "order",
        "case",
        "ticket",
        "invoice",
        "|ref",
        "rechnung",
        "bestell",
        "auftrag",
        "pedido",
        "commande",
        "factura",
    ),
    *(
        "facture",
        "serial",
        "tracking",
        "isbn",
        "seed",
        "timestamp",
        "订单",
        "單號",
        "单号",
        "注文",
        "주문",
        "заказ",
        "sku",
        "工单",
        "awb",
        "range",
        "|port",
        "batch",
    ),
)
"""Words that tell that the number right behind them is none of a telephone."""
