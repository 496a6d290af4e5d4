"""Numbers with check digits, computed from their standards and independently of every detector."""

import random
import string


def digits(rng: random.Random, n: int) -> str:
    """Return as many digits, each drawn evenly and by itself; the first one may be 0."""
    return "".join(rng.choice(string.digits) for _ in range(n))


def grouped(number: str, lengths: tuple[int, ...], separator: str) -> str:
    """Return a number in groups of these lengths."""
    parts, at = [], 0
    for n in lengths:
        parts.append(number[at : at + n])
        at += n
    return separator.join([p for p in (*parts, number[at:]) if p])


def check_luhn(body: str) -> str:
    """Return the Luhn check digit of a number."""
    doubled = [int(d) for d in reversed(body)]
    for i in range(0, len(doubled), 2):
        doubled[i] = sum(divmod(2 * doubled[i], 10))
    return str(-sum(doubled) % 10)


def iban(rng: random.Random) -> str:
    """Return a bank account number of one of twelve countries, in capitals or small letters, in fours or whole."""
    country, form = rng.choice(
        (
            ("DE", "n18"),
            ("FR", "n10c11n2"),
            ("ES", "n20"),
            ("NL", "a4n10"),
            ("GB", "a4n14"),
            ("IT", "a1n10c12"),
            ("CH", "n5c12"),
            ("NO", "n11"),
            ("PL", "n24"),
            ("BE", "n12"),
            ("MT", "a4n5c18"),
            ("SE", "n20"),
        )
    )
    body, kind, count = "", "", ""
    for char in form + "n":
        if char.isdigit():
            count += char
            continue
        if kind:
            alphabet = {"n": string.digits, "a": string.ascii_uppercase, "c": string.ascii_uppercase + string.digits}[
                kind
            ]
            body += "".join(rng.choice(alphabet) for _ in range(int(count)))
        kind, count = char, ""
    number = int("".join(str(int(c, 36)) for c in body + country + "00"))
    whole = f"{country}{98 - number % 97:02}{body}"
    separator = rng.choice(("", " ", " ", "-", "\u00a0"))
    written = separator.join(whole[i : i + 4] for i in range(0, len(whole), 4))
    return written.lower() if rng.random() < 0.2 else written


def chinese_id(rng: random.Random) -> str:
    """Return a Chinese identity number without blanks."""
    body = (
        f"{rng.choice(('110105', '310104', '440305', '510107', '330106'))}{rng.randint(1940, 2015)}"
        f"{rng.randint(1, 12):02}{rng.randint(1, 28):02}{digits(rng, 3)}"
    )
    return body + "10X98765432"[sum(int(c) * pow(2, 17 - i, 11) for i, c in enumerate(body)) % 11]


def identity(rng: random.Random) -> str:
    """Return a Chinese, US, French, Spanish or Brazilian identity number."""
    nir = f"{rng.choice('12')}{digits(rng, 2)}{rng.randint(1, 12):02}{rng.randint(1, 19):02}{digits(rng, 6)}"
    nir += f"{97 - int(nir) % 97:02}"
    dni = digits(rng, 8)
    cpf = digits(rng, 9)
    for _ in range(2):
        rest = sum(int(c) * (len(cpf) + 1 - i) for i, c in enumerate(cpf)) * 10 % 11
        cpf += str(rest % 10)
    return rng.choice(
        (
            chinese_id(rng),
            grouped(chinese_id(rng), (6, 8, 4), rng.choice(" -")),
            grouped(
                f"{rng.choice([n for n in range(1, 900) if n != 666]):03}{rng.randint(1, 99):02}{rng.randint(1, 9999):04}",
                (3, 2, 4),
                rng.choice(("-", " ", "\u00a0")),
            ),
            grouped(nir, (1, 2, 2, 2, 3, 3, 2), rng.choice((" ", ""))),
            dni + "TRWAGMYFPDXBNJZSQVHLCKE"[int(dni) % 23],
            f"{cpf[:3]}.{cpf[3:6]}.{cpf[6:9]}-{cpf[9:]}",
        )
    )
