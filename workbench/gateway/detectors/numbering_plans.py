"""What libphonenumber's metadata say of telephone numbers: possible lengths by country calling code, and patterns of the claimed regions."""

import re
from functools import cache, lru_cache

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


@cache
def _regions() -> dict[str, tuple[re.Pattern[str], re.Pattern[str], str]]:
    """Return for each claimed region its patterns of all and of mobile national numbers, and the prefix of national calls."""
    from phonenumbers.phonemetadata import PhoneMetadata

    result = {}
    for region in REGIONS:
        about = PhoneMetadata.metadata_for_region(region)
        assert about is not None
        kinds = (
            about.fixed_line,
            about.mobile,
            about.toll_free,
            about.shared_cost,
            about.voip,
            about.uan,
            about.premium_rate,
            about.personal_number,
        )
        patterns = [k.national_number_pattern for k in kinds if k and k.national_number_pattern]
        mobile = about.mobile.national_number_pattern if about.mobile else "(?!)"
        result[region] = (
            re.compile("|".join(f"(?:{p})" for p in patterns)),
            re.compile(mobile or "(?!)"),
            about.national_prefix or "",
        )
    return result


@cache
def _lengths() -> dict[str, frozenset[int]]:
    """Return the possible lengths of national numbers by country calling code."""
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE
    from phonenumbers.phonemetadata import PhoneMetadata

    result = {}
    for code, regions in COUNTRY_CODE_TO_REGION_CODE.items():
        abouts = [
            PhoneMetadata.metadata_for_region(r, None) or PhoneMetadata.metadata_for_nongeo_region(code, None)
            for r in regions
        ]
        result[str(code)] = frozenset(
            n for about in abouts if about for n in (about.general_desc.possible_length if about.general_desc else ())
        )
    return result


@lru_cache(maxsize=4096)
def is_international(number: str, *, strictly: bool) -> bool:
    """Return whether digits are a country calling code and a national number of a possible length, or with ``strictly`` a valid one."""
    if strictly:
        import phonenumbers

        try:
            return phonenumbers.is_valid_number(phonenumbers.parse("+" + number))
        except phonenumbers.NumberParseException:
            return False
    for n in (1, 2, 3):
        lengths = _lengths().get(number[:n])
        if lengths is not None:
            national = number[n:]
            return (
                len(set(number)) > 2
                and (len(national) in lengths or len(national.removeprefix("0")) in lengths)
                and len(number) >= 8
            )
    return False


@lru_cache(maxsize=4096)
def national_regions(number: str, *, mobile: bool) -> tuple[str, ...]:
    """Return the claimed regions in which digits, with or without the prefix of national calls, are a (mobile) number."""
    found = []
    for region, (every, mobiles, prefix) in _regions().items():
        pattern = mobiles if mobile else every
        if pattern.fullmatch(number) or (
            prefix and number.startswith(prefix) and pattern.fullmatch(number[len(prefix) :])
        ):
            found.append(region)
    return tuple(found)
