"""What is judged as arrays is what the libraries of the field say, number by number."""

import importlib
import random
import re

import numpy as np
import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.gateway.detectors.digit_patterns import DigitPatterns, matching
from workbench.gateway.detectors.identities import CHECKS
from workbench.gateway.detectors.numbering_plans import is_international

PATTERN = r"(?:1[2-5]|30?)\d{2,3}|9(?:0|11)"


def rows(numbers):
    digits = np.zeros((len(numbers), 20), np.uint8)
    for row, number in zip(digits, numbers, strict=True):
        row[: len(number)] = [int(c) for c in number]
    return digits, np.array([len(n) for n in numbers])


@settings(deadline=None)
@given(st.lists(st.from_regex(r"\A[0-9]{1,6}\Z"), min_size=1, max_size=30))
def test_the_automaton_accepts_what_the_pattern_matches(numbers):
    patterns = DigitPatterns()
    start = patterns.union([patterns.add(PATTERN)])
    got = matching(*patterns.table(), start, *rows(numbers))
    assert got.tolist() == [re.fullmatch(PATTERN, n) is not None for n in numbers]


def test_a_pattern_with_other_signs_is_refused():
    with pytest.raises(ValueError, match="not understood"):
        DigitPatterns().add("1+")


def test_international_numbers_are_those_of_libphonenumber():
    rng, numbers = random.Random(3), []
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for kind in (phonenumbers.PhoneNumberType.FIXED_LINE, phonenumbers.PhoneNumberType.MOBILE):
            example = phonenumbers.example_number_for_type(region, kind)
            if example is not None:
                number = list(f"{example.country_code}{phonenumbers.national_significant_number(example)}")
                numbers.append("".join(number))
                for _ in range(3):
                    number[rng.randrange(len(number))] = rng.choice("0123456789")
                    numbers.append("".join(number))
    valid = is_international(*rows(numbers))
    differ = [n for n, v in zip(numbers, valid.tolist(), strict=True) if v != said_valid(n)]
    assert len(numbers) > 1500
    # The library also strips prefixes of carriers, which are not claimed.
    assert len(differ) <= len(numbers) / 500, differ


def said_valid(number):
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse("+" + number))
    except phonenumbers.NumberParseException:
        return False


LENGTHS = {
    "fr.nir": 15,
    "br.cpf": 11,
    "in_.aadhaar": 12,
    "nl.bsn": 9,
    "pl.pesel": 11,
    "se.personnummer": 10,
    "kr.rrn": 13,
    "gb.nhs": 10,
}


@pytest.mark.parametrize("module", LENGTHS)
def test_no_identity_number_that_the_library_holds_valid_fails_its_check(module):
    judge, rng, valid = importlib.import_module(f"stdnum.{module}").is_valid, random.Random(5), []
    for _ in range(60_000):
        number = "".join(rng.choices("0123456789", k=LENGTHS[module]))
        if module in {"kr.rrn", "pl.pesel", "se.personnummer"}:
            number = f"{rng.randint(40, 99)}{rng.randint(1, 12):02}{rng.randint(1, 28):02}{number[6:]}"
        if judge(number):
            valid.append(number)
        if len(valid) == 40:
            break
    assert len(valid) >= 20
    assert CHECKS[module](rows(valid)[0][:, : LENGTHS[module]]).all()
