"""What libphonenumber's metadata say of telephone numbers: possible lengths by country calling code, and patterns of the claimed regions."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.gateway.detectors.digit_patterns import DigitPatterns, matching
from workbench.gateway.detectors.finding import Ints
from workbench.gateway.detectors.groups import Bools, Bytes

REGIONS = (
    *(
        "US",
        "CA",
        "GB",
        "IE",
        "DE",
        "AT",
        "CH",
        "FR",
        "BE",
        "NL",
        "LU",
        "ES",
        "PT",
        "IT",
        "GR",
        "PL",
        "CZ",
        "SE",
        "NO",
        "DK",
        "FI",
        "RO",
        "HU",
    ),
    *(
        "TR",
        "RU",
        "UA",
        "IL",
        "AE",
        "SA",
        "IN",
        "CN",
        "HK",
        "TW",
        "SG",
        "MY",
        "TH",
        "ID",
        "PH",
        "VN",
        "JP",
        "KR",
        "AU",
        "NZ",
        "ZA",
        "EG",
        "NG",
        "KE",
    ),
    *("BR", "MX", "AR", "CL", "CO", "PE"),
)
"""Regions whose national forms are claimed."""


LONGEST = 17
"""Digits of the longest telephone number with a prefix of international calls."""
KINDS = ("fixed_line", "mobile", "toll_free", "shared_cost", "voip", "uan", "premium_rate", "personal_number")
"""Kinds of numbers that are claimed; short numbers and pagers are none."""


@dataclass(frozen=True, kw_only=True)
class Plans:
    """All patterns as one automaton with a beginning for each question."""

    following: npt.NDArray[np.int32]
    accepts: Bools
    every: int
    """From here on national numbers of the claimed regions are accepted, with or without the prefix of national calls."""
    mobile: int
    """The same for mobile numbers."""
    international: int
    """From here on country calling codes and valid national numbers of all regions are accepted."""


@cache
def _plans() -> Plans:
    """Return the automaton of libphonenumber's metadata."""
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

    patterns = DigitPatterns()
    every, mobile, international = [], [], []
    for code, regions in COUNTRY_CODE_TO_REGION_CODE.items():
        national = []
        for region in regions:
            about = _about(region, code)
            kinds = [getattr(about, kind) for kind in KINDS]
            found = [patterns.add(k.national_number_pattern) for k in kinds if k and k.national_number_pattern]
            prefix = about.national_prefix or ""
            national.append(_with_prefix(patterns, prefix, patterns.union(found)))
            if region in REGIONS:
                every.append(national[-1])
                of_mobiles = about.mobile.national_number_pattern if about.mobile else None
                if of_mobiles:
                    mobile.append(_with_prefix(patterns, prefix, patterns.add(of_mobiles)))
        international.append(patterns.add(str(code), patterns.union(national)))
    beginnings = [patterns.union(nodes) for nodes in (every, mobile, international)]
    following, accepts = patterns.table()
    return Plans(
        following=following,
        accepts=accepts,
        every=beginnings[0],
        mobile=beginnings[1],
        international=beginnings[2],
    )


def _with_prefix(patterns: DigitPatterns, prefix: str, numbers: int) -> int:
    return patterns.union((numbers, patterns.add(prefix, numbers))) if prefix.isdigit() else numbers


def _about(region: str, code: int) -> Any:
    """Return what the library knows of a region, or of a calling code that belongs to none."""
    from phonenumbers.phonemetadata import PhoneMetadata

    return PhoneMetadata.metadata_for_region(region, None) or PhoneMetadata.metadata_for_nongeo_region(code, None)


@cache
def _lengths() -> tuple[Bytes, Ints]:
    """Return for the first three digits of a number the length of its country calling code, 0 if there is none, and a bit for each possible length."""
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

    n_code, possible = np.zeros(1000, np.uint8), np.zeros(1000, np.int64)
    for code, regions in COUNTRY_CODE_TO_REGION_CODE.items():
        abouts = [_about(region, code) for region in regions]
        lengths = {n for about in abouts for n in (about.general_desc.possible_length if about.general_desc else ())}
        width = 10 ** (3 - len(str(code)))
        n_code[code * width : (code + 1) * width] = len(str(code))
        possible[code * width : (code + 1) * width] = sum(1 << n for n in lengths if n > 0)
    return n_code, possible


def of_possible_length(digits: Bytes, lengths: Ints) -> Bools:
    """Return which numbers are a country calling code and as many digits as its national numbers may have, with or without a 0 before them."""
    n_code, possible = _lengths()
    code = digits[:, :3] @ np.array([100, 10, 1], np.int64)
    n_national = lengths - n_code[code]
    first = digits[np.arange(lengths.size), n_code[code]]
    fits = (possible[code] >> np.maximum(n_national, 0)) & 1
    fits |= (first == 0) & ((possible[code] >> np.maximum(n_national - 1, 0)) & 1)
    result: Bools = (n_code[code] > 0) & (n_national > 0) & (lengths >= 8) & (lengths <= 15) & (fits > 0)
    return result


def is_international(digits: Bytes, lengths: Ints) -> Bools:
    """Return which numbers are a country calling code and a valid national number."""
    return matching(_plans().following, _plans().accepts, _plans().international, digits, lengths)


def is_national(digits: Bytes, lengths: Ints) -> Bools:
    """Return which numbers are national ones of a claimed region, with or without the prefix of national calls."""
    return matching(_plans().following, _plans().accepts, _plans().every, digits, lengths)


def is_mobile(digits: Bytes, lengths: Ints) -> Bools:
    """Return which numbers are mobile ones of a claimed region, with or without the prefix of national calls."""
    return matching(_plans().following, _plans().accepts, _plans().mobile, digits, lengths)
