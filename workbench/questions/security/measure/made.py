"""Personal data, secrets and look-alikes as issuers' and registries' documents write them, made at random in every usual form.

Nothing here comes from the detector, from libphonenumber or from python-stdnum: lengths, beginnings and check digits are computed anew.
"""

import random
import string

from workbench.questions.security.measure.numbers import check_luhn, digits, grouped

BLANKS = (" ", " ", " ", "-", "\u00a0", "\u2009", "\u202f", "")
ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"


def letters(rng: random.Random, n: int, alphabet: str = ALNUM) -> str:
    """Return as many characters of an alphabet, each drawn evenly and by itself."""
    return "".join(rng.choice(alphabet) for _ in range(n))


def card(rng: random.Random) -> str:
    """Return a card number of a scheme, in one of the groupings of cards of its length."""
    begin, n = rng.choice(
        (
            ("4", 16),
            ("5" + rng.choice("12345"), 16),
            ("2720", 16),
            ("34", 15),
            ("37", 15),
            ("62", 16),
            ("6011", 16),
            ("36", 14),
            ("3530", 16),
            ("62", 19),
        )
    )
    body = begin + digits(rng, n - 1 - len(begin))
    groups = {
        14: ((4, 6, 4),),
        15: ((4, 6, 5),),
        16: ((4, 4, 4, 4), (8, 8), (4, 4, 8)),
        19: ((4, 4, 4, 4, 3), (6, 13)),
    }[n]
    return grouped(body + check_luhn(body), rng.choice(groups), rng.choice(BLANKS))


def phone(rng: random.Random) -> str:
    """Return a telephone number in an international form, or in a national one of eight countries."""

    def d(n: int) -> str:
        return digits(rng, n)

    office = rng.choice("23456789") + d(1) + rng.choice("023456789")
    national = {
        "1": f"{rng.choice(('212', '415', '303', '617'))} {office} {d(4)}",
        "44": f"20 7{d(3)} {d(4)}",
        "49": f"30 {rng.choice('2345')}{d(7)}",
        "33": f"6 {d(2)} {d(2)} {d(2)} {d(2)}",
        "86": f"13{rng.choice('56789')} {d(4)} {d(4)}",
        "81": f"90 {rng.choice('2345')}{d(3)} {d(4)}",
        "91": f"98{d(3)} {d(5)}",
        "61": f"4{d(2)} {d(3)} {d(3)}",
    }
    code = rng.choice(tuple(national))
    number, separator = national[code], rng.choice((" ", " ", "-", "\u00a0", "", "."))
    written = number.replace(" ", separator)
    home = {"1": number.replace(" ", rng.choice("-. ")), "86": number.replace(" ", rng.choice(" -"))}.get(
        code, "0" + number
    )
    return rng.choice(
        (
            f"+{code} {written}",
            f"+{code}{written}",
            f"00{code} {number}",
            f"(+{code}){written}",
            f"+{code}-{written}",
            home,
            home,
            home,
        )
    )


def email(rng: random.Random) -> str:
    """Return an address with dots, tags, apostrophes, quotation marks or letters beyond ASCII."""
    name = rng.choice(
        (
            "anna",
            "o'brien",
            "d'arcy.j",
            "müller",
            "li.wei",
            "first.last+news",
            "j_smith-99",
            '"john.doe"',
            "иван",
            "zhang3",
            "x",
            "user%dept",
        )
    )
    host = rng.choice(
        (
            "example.com",
            "mail.example.co.uk",
            "bücher.example",
            "xn--bcher-kva.example",
            "163.com",
            "a-b.example.museum",
            "sub.sub2.example.de",
        )
    )
    return f"{name}@{host}"


def secret(rng: random.Random) -> str:
    """Return a secret of a published format, with random characters."""
    jwt = f"eyJ{letters(rng, rng.randint(20, 60))}.eyJ{letters(rng, rng.randint(40, 900))}.{letters(rng, rng.choice((43, 86, 342)))}"
    makers = (
        f"sk-{letters(rng, 48)}",
        f"sk-proj-{letters(rng, 40)}_{letters(rng, 30)}",
        f"sk-ant-api03-{letters(rng, 93)}AA",
        f"gh{rng.choice('pousr')}_{letters(rng, 36)}",
        f"github_pat_{letters(rng, 22)}_{letters(rng, 59)}",
        f"AKIA{letters(rng, 16, string.ascii_uppercase + '234567')}",
        f"AIza{letters(rng, 35)}",
        f"xoxb-{digits(rng, 12)}-{digits(rng, 12)}-{letters(rng, 24)}",
        f"hf_{letters(rng, 34, string.ascii_letters)}",
        f"glpat-{letters(rng, 20)}",
        f"sk_live_{letters(rng, 24)}",
        f"SG.{letters(rng, 22)}.{letters(rng, 43)}",
        f"npm_{letters(rng, 36)}",
        f"pypi-AgEIcHlwaS5vcmc{letters(rng, 60)}",
        f"dop_v1_{letters(rng, 64, HEX)}",
        f"shpat_{letters(rng, 32, HEX)}",
        f"{digits(rng, 10)}:AA{letters(rng, 33)}",
        f"hvs.{letters(rng, 90)}",
        f"gsk_{letters(rng, 52)}",
        f"{letters(rng, 32, HEX)}-us{rng.randint(1, 20)}",
    )
    return rng.choice((*makers, jwt, jwt, jwt))


def private_key(rng: random.Random) -> str:
    """Return a whole key block, its lines broken in one of the ways of files, JSON and quotations."""
    kind = rng.choice(("", "RSA ", "EC ", "DSA ", "OPENSSH ", "ENCRYPTED ", "PGP "))
    tail = " BLOCK" if kind == "PGP " else ""
    end = rng.choice(("\n", "\r\n", "\\n", "\n> ", "\n    "))
    head = (
        ("Proc-Type: 4,ENCRYPTED", "DEK-Info: AES-128-CBC," + letters(rng, 32, HEX))
        if kind == "RSA " and rng.random() < 0.5
        else ()
    )
    body = [letters(rng, 64, ALNUM + "+/") for _ in range(rng.randint(2, 20))] + [
        letters(rng, rng.randint(3, 60)) + rng.choice(("", "=", "=="))
    ]
    return end.join(
        (f"-----BEGIN {kind}PRIVATE KEY{tail}-----", *head, *body, f"-----END {kind}PRIVATE KEY{tail}-----")
    )


def no_phone(rng: random.Random) -> str:
    """Return a number that is none to call: a date, version, size, coordinate, address, count, or an order's."""

    def d(n: int) -> str:
        return digits(rng, n)

    return rng.choice(
        (
            f"{rng.randint(1990, 2030)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02} {rng.randint(0, 23):02}:{rng.randint(0, 59):02}",
            f"{rng.randint(1, 28):02}.{rng.randint(1, 12):02}.{rng.randint(1990, 2030)}",
            f"{rng.randint(1, 9)}.{rng.randint(0, 20)}.{rng.randint(0, 900)}",
            f"+0.{d(8)}",
            f"-{rng.randint(1, 89)}.{d(8)}, {rng.randint(1, 170)}.{d(8)}",
            f"{rng.randint(10, 255)}.{rng.randint(0, 255)}.{rng.randint(0, 255)}.{rng.randint(1, 255)}",
            f"{rng.randint(10, 99)},{d(3)},{d(3)}",
            f"978-{rng.choice('03')}-{d(3)}-{d(5)}-{d(1)}",
            f"#{d(7)}",
            f"0x{d(8)}",
            f"order {rng.randint(2, 9)}{d(9)}",
            f"{d(2)}:{d(2)}:{d(2)}.{d(3)}",
            f"17{d(8)}",
            f"{letters(rng, 8, HEX)}-{letters(rng, 4, HEX)}-4{letters(rng, 3, HEX)}-a{letters(rng, 3, HEX)}-{letters(rng, 12, HEX)}",
        )
    )


def no_email(rng: random.Random) -> str:
    """Return an @ of code, packages, files, remotes and decorators."""
    v = f"{rng.randint(1, 3)}.{rng.randint(0, 13)}.0"
    return rng.choice(
        (
            "@property",
            f"torch@{v}",
            "foo@bar.baz()",
            "git@github.com:org/repo.git",
            "icon@2x.png",
            "a@b.x|d",
            f"react@{v}-beta.rc",
            "self@other",
            "user@host:22",
            "@app.route",
        )
    )


def no_secret(rng: random.Random) -> str:
    """Return a hash, a slug, a name or the beginning of a key without the rest."""
    words = ("learn", "pipeline", "release", "notes", "for", "teams", "with", "sklearn", "model", "guide")
    return rng.choice(
        (
            letters(rng, 40, HEX),
            "sha256:" + letters(rng, 64, HEX),
            "sk-" + "-".join(rng.choice(words) for _ in range(rng.randint(4, 7))),
            "hf_hub_download",
            "AKIA" + letters(rng, 4, string.ascii_uppercase),
            "eyJ" + letters(rng, 30),
            "ghp_short",
            "token = get_token_from_environment(name)",
            "password: ********",
            "https://example.com/" + "-".join(rng.choice(words) for _ in range(6)),
        )
    )
