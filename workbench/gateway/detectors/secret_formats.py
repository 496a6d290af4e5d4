"""Secrets by the published formats of their issuers, tokens in JSON (JWT), passwords in addresses, and values that are named as secrets."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from workbench.gateway.detectors.finding import Finding
from workbench.gateway.detectors.groups import Ints, Text

LONGEST_SECRET = 16_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretFormat:
    """How the secrets of an issuer begin and go on."""

    begins: str
    pattern: re.Pattern[str]
    holds: Callable[[str], bool] = lambda text: True  # noqa: ARG005


def is_random(text: str) -> bool:
    """Return whether a key looks made at random, rather than made of words that hyphens join."""
    parts = re.split("[-_]", text)
    return max(map(len, parts)) >= 16 or any(
        re.search("[0-9]", p) and re.search("[A-Za-z]", p) and len(p) >= 6 for p in parts[1:]
    )


def _format(begins: str, rest: str, holds: Callable[[str], bool] = lambda text: True) -> SecretFormat:  # noqa: ARG005
    return SecretFormat(
        begins=begins,
        pattern=re.compile(r"(?<![0-9A-Za-z_])" + re.escape(begins) + rest + r"(?![0-9A-Za-z_])"),
        holds=holds,
    )


_WORD = r"[A-Za-z0-9_\-]"
_JWT = rf"{_WORD}{{8,6000}}+\.{_WORD}{{4,6000}}+(?:\.{_WORD}{{0,2000}}+){{1,3}}"
FORMATS = (
    *(_format("sk-" + infix, rf"{_WORD}{{20,400}}+", is_random) for infix in ("",)),
    *(
        _format(begins, r"[A-Za-z0-9]{30,255}+")
        for begins in ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "hf_", "hf_oauth_", "api_org_")
    ),
    _format("github_pat_", r"[A-Za-z0-9_]{30,120}+"),
    *(_format(begins, r"[A-Z0-9]{16}") for begins in ("AKIA", "ASIA", "ABIA", "ACCA")),
    _format("AIza", rf"{_WORD}{{35}}"),
    _format("GOCSPX-", rf"{_WORD}{{28}}"),
    _format("ya29.", rf"{_WORD}{{20,1000}}+"),
    *(
        _format("xox" + kind, r"[A-Za-z0-9\-]{10,255}+")
        for kind in ("a-", "b-", "p-", "r-", "s-", "o-", "e-", "e.xoxp-", "e.xoxb-")
    ),
    _format("xapp-", r"[A-Za-z0-9\-]{20,255}+"),
    _format("https://hooks.slack.com/", r"(?:services|workflows|triggers)/[A-Za-z0-9+/]{20,120}+"),
    *(
        _format(begins, rf"{_WORD}{{20,100}}+(?:\.{_WORD}+)*")
        for begins in (
            "glpat-",
            "gldt-",
            "glrt-",
            "glptt-",
            "glcbt-",
            "glsoat-",
            "glft-",
            "glagent-",
            "gloas-",
            "glimt-",
            "GR1348941",
        )
    ),
    *(
        _format(kind + mode, r"[A-Za-z0-9]{16,255}+")
        for kind in ("sk_", "rk_", "pk_")
        for mode in ("live_", "test_", "prod_")
    ),
    _format("whsec_", r"[A-Za-z0-9+/=]{24,100}+"),
    *(
        _format(begins, r"[0-9a-f]{32}")
        for begins in ("SK", "AC", "key-", "dapi", "shpat_", "shpss_", "shpca_", "shppa_", "EZAK", "EZTK")
    ),
    _format("SG.", rf"{_WORD}{{16,32}}\.{_WORD}{{16,64}}+"),
    *(_format(begins, r"[A-Za-z0-9]{36}") for begins in ("npm_", "dckr_oat_")),
    *(
        _format(begins, rf"{_WORD}{{40,300}}+")
        for begins in ("pypi-AgE", "ATATT3", "ATCTT3", "ATBB", "sntrys_", "sntryu_", "glc_", "sk_ant_", "v1.0-")
    ),
    *(_format(begins, r"[0-9a-f]{64}") for begins in ("dop_v1_", "doo_v1_", "dor_v1_", "rubygems_", "sha1-api-")),
    *(
        _format(begins, rf"{_WORD}{{16,300}}+", is_random)
        for begins in (
            *(
                "sq0atp-",
                "sq0csp-",
                "EAAA",
                "lin_api_",
                "ntn_",
                "secret_",
                "PMAK-",
                "dp.pt.",
                "dp.st.",
                "hvs.",
                "hvb.",
                "hvr.",
                "HRKU-",
                "glsa_",
                "gsk_",
                "xai-",
                "r8_",
            ),
            *(
                "pplx-",
                "AGE-SECRET-KEY-1",
                "pscale_tkn_",
                "pscale_pw_",
                "pscale_oauth_",
                "NRAK-",
                "NRAA-",
                "dckr_pat_",
                "tskey-",
                "nvapi-",
                "sbp_",
                "fw_",
                "tgp_v1_",
            ),
            *(
                "cohere_",
                "figd_",
                "rnd_",
                "fio-u-",
                "fo1_",
                "FlyV1",
                "PAT-",
                "pat-na1-",
                "CLOJARS_",
                "phc_",
                "phx_",
                "p8e-",
                "AKCp",
                "bkua_",
                "ops_",
                "re_",
                "waka_",
                "csk-",
            ),
            *(
                "key_live_",
                "xkeysib-",
                "xsmtpsib-",
                "patch_",
                "shippo_live_",
                "shippo_test_",
                "duffel_live_",
                "duffel_test_",
                "EAACEdEose0cBA",
                "LTAI",
                "AKID",
                "pat_",
                "A3-",
            ),
        )
    ),
    _format("eyJ", _JWT),
)
BY_BEGINNING: dict[str, list[SecretFormat]] = {}
for _each in FORMATS:
    BY_BEGINNING.setdefault(_each.begins[:2], []).append(_each)
TELEGRAM = re.compile(r"[0-9]{8,10}:[A-Za-z0-9_\-]{35}(?![0-9A-Za-z_\-])")
MAILCHIMP = re.compile(r"(?<![0-9A-Za-z_])[0-9a-f]{32}-us[0-9]{1,2}(?![0-9A-Za-z_])")
DISCORD = re.compile(
    rf"(?<![0-9A-Za-z_\-.])[MNO][A-Za-z0-9_\-]{{23,25}}\.{_WORD}{{6}}\.{_WORD}{{27,38}}(?![0-9A-Za-z_\-])"
)
TERRAFORM = re.compile(rf"(?<![0-9A-Za-z_])[A-Za-z0-9]{{14}}\.atlasv1\.{_WORD}{{60,70}}(?![0-9A-Za-z_])")
NAMES = ("key", "secret", "token", "passw", "pwd", "credential", "bearer", "authorization", "密码", "密钥")
NAMED = re.compile(
    r"(?:key|secret|token|passw(?:or)?d|passwd|pwd|credentials?|bearer|authorization|密码|密钥)[A-Za-z0-9_\-]{0,12}+[\"'`]{0,1}+[ ]{0,3}+(?::=|=>|[:=：]|是|is )?+"
    r"(?<=[ :=：是>\"'`])[ ]{0,3}+(?:bearer |basic )?[\"'`]{0,1}+(?P<value>[A-Za-z0-9_\-+/.~!@$%^&*]{16,400}+={0,2}+)",
    re.IGNORECASE,
)
IN_ADDRESS = re.compile(r"://[^\s:/@\"']{0,64}:(?P<value>[^\s:/@\"'{}$<>]{3,128})@")


def secrets(text: Text, first: int) -> Iterator[Finding]:
    """Yield the secrets that begin at a place or after it."""
    plain = text.plain
    for place in _beginnings(text).tolist():
        if place >= first:
            for form in BY_BEGINNING[plain[place : place + 2]]:
                if (
                    plain.startswith(form.begins, place)
                    and (m := form.pattern.match(plain, place))
                    and form.holds(m[0])
                ):
                    yield Finding(kind="SECRET", start=place, end=m.end())
    for m in _shaped(text):
        if m.start() >= first:
            yield Finding(kind="SECRET", start=m.start(), end=m.end())
    if "@" in plain and "://" in plain:
        yield from _in_addresses(text, first)
    yield from _named(plain, first)


def _beginnings(text: Text) -> Ints:
    """Return the beginnings of words whose first two characters are those of a format."""
    c = text.codes
    if c.size < 16:
        return np.zeros(0, np.int64)
    pairs = np.array([(ord(two[0]) << 8) + ord(two[1]) for two in BY_BEGINNING])
    is_word = text.is_word
    begins = is_word[:-1].copy()
    begins[1:] &= ~is_word[:-2]
    # What a hyphen or a dot joins to a word before it is part of that word.
    begins[2:] &= ~(((c[1:-2] == 45) | (c[1:-2] == 46)) & is_word[:-3])
    places = np.flatnonzero(begins)
    return places[np.isin((c[places] << 8) + c[places + 1], pairs)]


def _shaped(text: Text) -> Iterator[re.Match[str]]:
    """Yield secrets without a beginning of their own, around the sign that they hold."""
    plain, c = text.plain, text.codes
    colons = np.flatnonzero(c == 58)
    colons = colons[(colons >= 8) & (colons < c.size - 35)]
    is_digit = text.is_digit
    colons = colons[
        is_digit[colons - 1] & is_digit[colons - 8] & text.is_word[colons + 1] & (text.is_word | (c == 45))[colons + 35]
    ]
    for at in colons.tolist():
        n = next((n for n in (11, 10, 9, 8) if at - n < 0 or not plain[at - n : at].isdigit()), 12) - 1
        if 8 <= n <= 10 and (m := TELEGRAM.match(plain, at - n)):
            yield m
    for sign, pattern, before in (("-us", MAILCHIMP, 32), (".atlasv1.", TERRAFORM, 14)):
        for at in _all(plain, sign):
            if at >= before and (m := pattern.match(plain, at - before)):
                yield m
    dots = np.flatnonzero(c == 46)
    for at in dots[:-1][np.diff(dots) == 7].tolist():
        for before in (24, 25, 26):
            if at >= before and plain[at - before] in "MNO" and (m := DISCORD.match(plain, at - before)):
                yield m


def _in_addresses(text: Text, first: int) -> Iterator[Finding]:
    """Yield the passwords before the @ of an address."""
    c, place = text.codes, np.arange(text.codes.size)
    slash = np.maximum.accumulate(np.where(c == 47, place, -1))
    ats = np.flatnonzero(c == 64)
    last = slash[ats]
    good = (last >= 2) & (ats - last < 200)
    ats, last = ats[good], last[good]
    good = (c[last - 1] == 47) & (c[last - 2] == 58)
    for begin in np.unique(last[good] - 2).tolist():
        m = IN_ADDRESS.match(text.plain, begin)
        if m and m.start("value") >= first:
            yield Finding(kind="SECRET", start=m.start("value"), end=m.end("value"))


def _named(text: str, first: int) -> Iterator[Finding]:
    """Yield random values that a name such as "api_key" stands before."""
    lower = text.lower()
    if len(lower) != len(text):  # a few letters become two in lower case
        lower = text
    for place in sorted({at for name in NAMES for at in _all(lower, name)}):
        m = NAMED.match(text, place)
        if m is not None and m.start("value") >= first and is_value(m["value"]):
            yield Finding(kind="SECRET", start=m.start("value"), end=m.end("value"))


def _all(text: str, word: str) -> Iterator[int]:
    at = text.find(word)
    while at >= 0:
        yield at
        at = text.find(word, at + len(word))


def is_value(text: str) -> bool:
    """Return whether a value is random enough for a secret: letters and digits, and at least three bits of entropy a character."""
    if (
        len(text) < 16
        or not re.search("[0-9]", text)
        or not re.search("[A-Za-z]", text)
        or re.search(r"[()\[\]]", text)
    ):
        return False
    n = len(text)
    entropy = -sum(c / n * math.log2(c / n) for c in Counter(text).values())
    longest = max(map(len, re.split(r"[-_./]", text)))
    return entropy >= 3.0 and longest >= 12
