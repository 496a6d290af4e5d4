"""Processor time of the redaction of a million characters that are made to be slow, by kind of text.

    python benchmarks/redaction.py [--rounds 3] [--rows 20]

A kind is a piece or two in turns, a form with random signs in it, or pieces and characters at random. Each is timed in several rounds, and the least of them counts, since machines are shared.
"""

import argparse
import base64
import random
import string
import time
from collections.abc import Callable
from itertools import combinations

from rich.console import Console
from rich.table import Table

from workbench.core.runs import utc_now
from workbench.gateway.redaction import load, redact_text
from workbench.telemetry.devices import cpu_device
from workbench.telemetry.environment import read_environment

SIZE = 1_000_000
AIM_S = 0.1
REAL = {
    "card": "4111 1111 1111 1111",
    "e-mail": "ann.bee@example.org",
    "phone": "+49 30 1234567",
    "id": "123-45-6789",
    "IBAN": "DE89 3704 0044 0532 0130 00",
    "key": "AKIAIOSFODNN7EXAMPLE",
    "named": "api_key=abcd1234EFGH5678",
    "address": "redis://u:pa55word@h",
    "key block": "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQ\n-----END PRIVATE KEY-----",
}
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdefghijklmnop"
GITHUB = "ghp_abcdefghijklmnopqrstuvwxyzABCDEFGHIJ"
PIECES = {
    **{f"{name} after {name}": text + " " for name, text in REAL.items()},
    **{f"{a} and {b}": f"{REAL[a]}, {REAL[b]} " for a, b in combinations(REAL, 2)},
    "all of them": ", ".join(REAL.values()) + "\n",
    "digits": "0123456789",
    "zeros": "0",
    "spaced digits": "4 ",
    "digits and hyphens": "1-2-3-",
    "digits in brackets": "(1)",
    "decimals": "3.14159,",
    "dates": "2026-11-30 12:00:00,",
    "IP addresses": "192.168.100.200 ",
    "cards without blanks": "4111111111111111,",
    "cards with a wrong digit": "4111 1111 1111 1112 ",
    "cards of two digits": "41 11 11 11 11 11 11 11 ",
    "full-width cards": "\uff14\uff11\uff11\uff11 ",
    "digits and no-break spaces": "4\u00a01",
    "digits and invisible signs": "4\u200b1",
    "Arabic digits": "\u0664\u0661 ",
    "Devanagari phones": "\u096f\u096e\u096d\u096c\u096b \u096a\u0969\u0968\u0967\u0966 ",
    "phones in brackets": "(212) 555-0199, ",
    "phones of China": "13800138000,",
    "phones with 00": "0049 30 1234567, ",
    "words before phones": "phone 030 901820 ",
    "words for phones": "phone ",
    "plus signs": "+",
    "plus signs and ones": "+1 ",
    "nine digits": "123456789 ",
    "named nine digits": "ssn 123456789 ",
    "ids of China": "11010519491231002X ",
    "ids of Spain": "12345678Z ",
    "ids of Italy": "RSSMRA85T10A562S ",
    "ids of Britain": "AB123456C ",
    "near ids of Italy": "RSSMRA85T10A562A ",
    "near IBANs": "DE88 3704 0044 0532 0130 00 ",
    "IBANs of letters": "GB82WEST12345698765432,",
    "IBANs of small letters": "lv91xxthtqzi6lrunfxit ",
    "letters and digits": "AB12 ",
    "a dense wall of e-mails": "a@b.co,",
    "e-mails in brackets": "<a@b.co>",
    "e-mails without names": "@b.co ",
    "quoted names": '"a b"@b.co ',
    "quoted names without an end": '"a@',
    "at signs": "@",
    "at signs after a letter": "a@",
    "dotted words": "a.",
    "versions": "a@1.2.3 ",
    "calls": "a@b.co() ",
    "files": "a@b.png ",
    "git remotes": "git@github.com:a/b ",
    "numbered domains": "a@[1.2.3.4] ",
    "long domains": "a@" + "b." * 40,
    "e-mails of China": "\u5f20@\u4f8b\u5b50.\u516c\u53f8 ",
    "addresses with passwords": "http://a:bcde@",
    "addresses without passwords": "http://a@",
    "key=": "key=",
    "password:": "password: hunter2hunter2 ",
    "password": "password ",
    "named values in JSON": '"token":"abcd1234EFGH5678",',
    "escaped JSON": '\\"token\\":\\"abcd1234EFGH5678\\",',
    "two names of one value": "secret token=abcd1234EFGH5678 ",
    "different named values": None,
    "near named values": "key=aaaaaaaaaaaaaaaaaaaaa1 ",
    "bearers": "Authorization: Bearer abcdef1234567890 ",
    "bearers without a token": "Bearer ",
    "JSON tokens": JWT + " ",
    "beginnings of JSON tokens": "eyJ",
    "parts of JSON tokens": "eyJaaaaaaaa.",
    "GitHub's keys": GITHUB + " ",
    "beginnings of keys": "sk-",
    "keys of words": "sk-learn-and-image-of-things ",
    "Telegram's tokens": "26795627:AAOMobeZE4frk6Zm4Hj3Gi-cpee4ZexFBfB ",
    "near Telegram's tokens": "26795627:AAOMobeZE4frk6Zm4Hj3Gi-cpee4ZexFBfBB ",
    "near Discord's tokens": "Mabcdefghijklmnopqrstuvw.abcdef.abc ",
    "near Mailchimp's keys": "abcdefab12345678abcdefab12345678-us",
    "BEGIN of keys": "-----BEGIN PRIVATE KEY-----\n",
    "BEGIN and fields": "-----BEGIN PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES\n\n",
    "area codes in brackets": "(415) ",
    "tax numbers": "steuer 86 095 742 719 ",
    "phones of Russia": "\u043f\u0430\u0440\u043e\u043b\u044c hunter2hunter2 \u0442\u0435\u043b 8 (495) 123-45-67 ",
    "e-mails with comments": "a(x)@b.co ",
    "e-mails in words": "ann.bee at example dot com ",
    "e-mails in brackets of words": "a [at] b [dot] co, ",
    "e-mails of octets": "%40",
    "BEGIN of accounts": "DE89 ",
    "bearers of bearers": "Authorization: Bearer Bearer token ",
    "wide all": "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in ", ".join(REAL.values())),
    "BEGIN": "-----BEGIN ",
    "hyphens": "-",
    "blanks": " ",
    "tabs": "\t",
    "line breaks": "\n",
    "CRLF": "\r\n",
    "cards in a table": "\t4111 1111 1111 1111\t|\r\n",
    "quoted JSON names": '"key":"',
    "nested quotes": "\"'`",
    "all escapes of JSON": '\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041',
    "combining signs": "a\u0301",
    "emoji": "\U0001f600\ufe0f",
    "half surrogates": "\ud83d",
    "half surrogates in e-mails": "a\udc00@b.co ",
    "tags of plane 14": "4\U000e0041",
    "prose": "The quick brown fox jumps over the lazy dog near 42 houses. ",
    "prose of China": "\u6211\u7684\u7535\u8bdd\u662f 138 0013 8000\uff0c\u8c22\u8c22\u3002",
    "code": "def f(x: int) -> str:\n    return self.items[x].name  # a@b\n",
    "CSV": '17,"Ann",4111111111111111,a@b.co,+49 30 1234567\n',
    "logs": "2026-11-30T12:00:00Z INFO 10.0.0.1 user=17 took 12.5 ms id=6fa459ea-ee8a-3ca4-894e-db77e160355e\n",
}
ALPHABETS = {
    "random hex": "0123456789abcdef",
    "random base64": string.ascii_letters + string.digits + "+/",
    "random ASCII": string.printable,
    "random digits and signs": "0123456789 -.+()/",
    "random signs of e-mails": "ab.@-_ ",
    "random signs of secrets": "keytokn=:\"' aB3",
    "random Unicode": "".join(map(chr, range(0x20, 0x3000))),
    "random Unicode of all planes": "".join(map(chr, range(0x20, 0xD800, 7)))
    + "".join(map(chr, range(0x10000, 0x20000, 9))),
}


class Signs(str):
    """Signs of which a form names a number that is chosen at random: "{d:3}" for three of ``d``."""

    __slots__ = ()

    def __format__(self, n: str) -> str:
        return "".join(RNG.choices(self, k=int(n or 1)))


RNG = random.Random(6)
SIGNS = {
    "d": Signs(string.digits),
    "h": Signs("0123456789abcdef"),
    "a": Signs(string.ascii_letters + string.digits),
    "b": Signs("\u00a0\u2003\u3000\u202f\t \u2009"),
}
"""Digits, those of base 16, letters and digits, and blanks."""
FORMS = {
    "numbers in mixed blanks": "{d}{b}{d:3}{b}{d:4}{b}",
    "cards in mixed blanks": "4111{b}1111{b}1111{b}1111,",
    "random cards": "4{d:3} {d:4} {d:4} {d:4}, 37{d:2} {d:6} {d:5};",
    "random accounts": "DE{d:2} {d:4} {d:4} {d:4} {d:4} {d:2} FR{d:2} {d:4} {d:4} {d:4} {d:4} {d:4} {d:3} ",
    "random phones": "+{d:2} {d:3} {d:7}, 0{d:3}/{d:7} ({d:3}) {d:3}-{d:4} 00{d:11},1-{d:3}-{d:3}-{d:4} 0{d} {d:2} {d:2} {d:2} {d:2} ",
    "random ids": "{d:3}-{d:2}-{d:4} {d:11} {d:8}Z {d:2}.{d:3}.{d:3}/{d:4}-{d:2} {d:6}-{d:4} {d:3}.{d:3}.{d:3}-{d:2} id {d:9}, ",
    "random dates": "20{d:2}-{d:2}-{d:2}T{d:2}:{d:2}:{d:2}.{d:3}+{d:2}:{d:2} ",
    "random UUIDs": "{h:8}-{h:4}-{h:4}-{h:4}-{h:12},",
    "IPv6": ":".join(["{h:4}"] * 8) + " ",
    "hex dumps": "{h:8} " + " {h:2}" * 16 + "  |{a:4}.@{a:3}:{a}={a:4}|\n",
    "hex dumps of digits": "0x{d:4}:" + " {d:4}" * 8 + "\n",
    "minified JSON": '{{"id":{d:6},"e":"{a:6}@{a:5}.com","tel":"+49{d:9}","key":"{a:24}","n":[{d:3},{d}.{d:2}e-{d}]}},',
    "CSV of numbers": "{d:2}.{d:2}.{d:4};{d:3},{d:2};{d:5} {d:5};{d:3}-{d:2}-{d:4};{d:16}\n",
    "addresses with secrets": "https://{a:5}:{a:8}@{a:6}.example.com:{d:4}/{a:4}?token={a:20}&key={d:10}#{a:4} ",
    "addresses with short passwords": "https://{a:5}:{a:3}@h/a@b:c ",
    "octets of addresses": "%2F%40{a:3}%40{a:4}.com%3A%20",
    "HTML": '<a href="mailto:{a:4}@{a:5}.com">{a:4}&#64;{a:4}&#46;com</a><td>{d:3}-{d:3}-{d:4}</td>',
    "lock files": '"{a:6}@^{d}.{d}.{d}":\n  integrity sha512-{a:86}==\n',
    "lines of base64": "{a:76}\n",
    "access logs": '{d:2}.{d:3}.{d:2}.{d:3} - - [30/Nov/2026:12:00:{d:2} +0000] "GET /a?id={d:8}&tok={h:16} HTTP/1.1" 200 {d:5}\n',
    "environments": "{a:4}_SECRET_KEY={a:32}\nDB_PASSWORD='{a:10}'\nexport TOKEN={d:6}\n",
    "names, words and values": "pwd {a} {a:7}1 ",
    "names of things and values": "pwd for {a:3}:{a:7}1,",
    "names and values": "token={a:8} password {a:12} phone{a:5} id key:{a:11} ",
    "BEGIN of random keys": "-----BEGIN {d:4} PRIVATE KEY-----\n{a:30}\n",
    "near GitHub's keys": "ghp_{a:29}-{a:3} ",
    "keys of Slack": "xoxb-{d:12}-{a:12} ",
}


def hostile_texts(seed: int = 5) -> dict[str, str]:
    """Return a million characters of each kind."""
    rng = random.Random(seed)
    values = string.ascii_letters + string.digits
    texts = {name: filled(piece) for name, piece in PIECES.items() if piece is not None}
    texts |= {name: sized("".join(rng.choices(signs, k=SIZE))) for name, signs in ALPHABETS.items()}
    texts["different named values"] = sized(
        "".join(f"key={''.join(rng.choices(values, k=20))} " for _ in range(SIZE // 25))
    )
    texts["different e-mails"] = sized(
        "".join(f"{''.join(rng.choices(values, k=5))}@b{n}.co " for n in range(SIZE // 12))
    )
    texts["pieces at random"] = sized(" ".join(rng.choices([p for p in PIECES.values() if p], k=SIZE // 20)))
    texts["real ones at random"] = sized(" ".join(rng.choices(list(REAL.values()), k=SIZE // 15)))
    texts |= {name: made(form) for name, form in FORMS.items()}
    texts["one long key"] = "sk-" + "".join(rng.choices(values, k=SIZE - 3))
    texts["one open key block"] = "-----BEGIN PRIVATE KEY-----" + "A" * SIZE
    texts["one key block of base64"] = (
        f"-----BEGIN PRIVATE KEY-----\n{base64.b64encode(rng.randbytes(SIZE * 3 // 4)).decode()}"
    )
    return texts


def made(form: str) -> str:
    """Return a million characters of a form."""
    RNG.seed(form)
    pieces, n = [], 0
    while n < SIZE:
        pieces.append(form.format(**SIGNS))
        n += len(pieces[-1])
    return sized("".join(pieces))


def filled(piece: str) -> str:
    """Return a million characters of one piece."""
    return sized(piece * (SIZE // len(piece) + 1))


def sized(text: str) -> str:
    """Return the first million characters of a text."""
    return text[:SIZE]


def processor_s(call: Callable[[str], object], text: str) -> float:
    """Return the seconds of the processor that a call takes."""
    began = time.process_time()
    call(text)
    return time.process_time() - began


def main() -> None:
    """Print the slowest kinds of text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=20)
    asked = parser.parse_args()
    load()
    times = {
        name: min(processor_s(redact_text, text) for _ in range(asked.rounds)) for name, text in hostile_texts().items()
    }
    slowest = sorted(times.items(), key=lambda item: -item[1])
    table = Table(
        "text",
        "ms",
        title=f"The slowest of {len(times)} kinds of hostile text, a million characters each, processor time",
    )
    for name, took_s in slowest[: asked.rows]:
        table.add_row(name, f"{1e3 * took_s:.0f}")
    environment = read_environment(cpu_device())
    out = Console()
    out.print(table)
    out.print(
        f"{sum(took_s > AIM_S for took_s in times.values())} above {1e3 * AIM_S:.0f} ms; {environment.cpu}, Python {environment.python}, "
        f"revision {environment.git_revision}, {utc_now()}; least of {asked.rounds}",
        highlight=False,
    )


if __name__ == "__main__":
    main()
