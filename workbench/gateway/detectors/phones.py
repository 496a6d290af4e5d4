"""Telephone numbers: international forms by country calling code, and national forms of the regions that are claimed, by libphonenumber's patterns."""

from collections.abc import Callable
from functools import cached_property

import numpy as np

from workbench.gateway.detectors.edges import international_begins, phone_begins, phone_ends
from workbench.gateway.detectors.finding import Ints, Spans, joined
from workbench.gateway.detectors.groups import (
    ALNUM,
    DIGITS,
    MOST_GROUPS,
    WORD,
    Bools,
    Bytes,
    Groups,
    Text,
    code_of,
    packed,
    packed_word,
    table,
)
from workbench.gateway.detectors.numbering_plans import (
    LONGEST,
    is_international,
    is_mobile,
    is_national,
    of_possible_length,
)
from workbench.gateway.detectors.words import OTHER_NUMBERS, PHONE_WORDS

SHORTEST = 7
REACH_OF_OTHERS = 12
MOBILE_SHAPES = ((11,), (3, 4, 4), (3, 8), (7, 4), (3, 3, 5), (4, 3, 4), (5, 6))
LANDLINE_SHAPES = ((3, 8), (4, 7), (4, 8), (3, 4, 4), (4, 4, 4), (4, 3, 4), (11,), (12,))
_BEFORE_DIGITS = table(" .-(")
_OPEN, _CLOSED, _PLUS, _POINT, _BLANK = (ord(c) for c in "()+. ")
_IS_LINE, _JOINS_EXTENSION = table("_"), table(".-")
_ALL_NAMED = 13
_EXTENDS, _IS_OPEN = table("xX#"), table("(")
LONGEST_EXTENSION = 5
MOST_BEFORE_DIGITS = 3
"""Signs between a plus sign and the first digit, at most."""


def phones(groups: Groups) -> Spans:
    """Return the telephone numbers of a text."""
    parts = [_national(groups)]
    if "+" in groups.text.plain:
        parts.append(_international(groups))
    starts, ends = joined(parts)
    return starts, _with_extensions(groups.text, ends)


def _with_extensions(text: Text, ends: Ints) -> Ints:
    """Return where telephone numbers end that an extension such as "x12", "#12" or "ext. 12" may follow."""
    place = ends + (text.at(ends) == _BLANK)
    spelled = packed(text, place, place + 3) == packed_word("ext")
    short = _EXTENDS[text.at(place)]
    likely = np.flatnonzero(spelled | short)
    if not likely.size:
        return ends
    place, spelled = place[likely], spelled[likely]
    place = np.minimum(np.where(spelled, place + 3, place + 1), text.codes.size)
    place = place + (spelled & (text.at(place) == _POINT))
    place = np.minimum(place + (text.at(place) == _BLANK), text.codes.size)
    stop = text.marks(~DIGITS).next(place)
    after, second = text.at(stop), text.at(stop + 1)
    good = (stop > place) & (stop - place <= LONGEST_EXTENSION) & ~WORD[after]
    good &= ~(_JOINS_EXTENSION[after] & ALNUM[second])
    ends = ends.copy()
    ends[likely[good]] = stop[good]
    return ends


class _Rows:
    """Rows of as many joined groups, each a candidate."""

    def __init__(self, groups: Groups, first: Ints, n_groups: int) -> None:
        self.groups = groups
        self.first = first
        self.last = first + n_groups - 1
        self.n_groups = n_groups
        self.ends = groups.ends[self.last]
        self.n_digits = groups.digits_before[self.last + 1] - groups.digits_before[first]

    def only(self, which: Bools) -> "_Rows":
        """Return some of the candidates."""
        return _Rows(self.groups, self.first[which], self.n_groups)

    @cached_property
    def all_digits(self) -> Bytes:
        """Their digits, and those after them: (candidates, 20)."""
        return self.groups.digits_from(self.groups.digits_before[self.first], LONGEST + 3)

    def digits(self, skip: int = 0) -> Bytes:
        """Return their digits after up to three first ones: (candidates, 17)."""
        return self.all_digits[:, skip : skip + LONGEST]

    @cached_property
    def shapes(self) -> Ints:
        """Return the lengths of their groups in one number."""
        return self.groups.packed(self.first, self.n_groups)

    def is_of(self, shapes: tuple[tuple[int, ...], ...]) -> Bools:
        """Return which have the lengths of one of the shapes."""
        return np.isin(self.shapes, [code_of(s) for s in shapes if len(s) == self.n_groups])

    @cached_property
    def n_distinct(self) -> Bytes:
        """Return how many different digits they hold."""
        return self.groups.n_distinct(self.first, self.n_digits)

    @cached_property
    def joined_by_points(self) -> Bools:
        """Return which are joined by single points and nothing else."""
        result = np.ones(self.first.size, np.bool_)
        for i in range(self.n_groups - 1):
            result &= self.groups.is_pointed[self.first + i]
        return result


def _longest(groups: Groups, first: Ints, starts: Ints, holds: Callable[[_Rows, Ints], Bools]) -> Spans:
    """Return for each first group the longest row of groups for which something holds."""
    found: list[Spans] = []
    left = np.arange(first.size)
    longest = int((groups.last_of_row[first] - first).max(initial=-1)) + 1
    for n_groups in range(min(MOST_GROUPS, longest), 0, -1):
        there = left[groups.last_of_row[first[left]] >= first[left] + n_groups - 1]
        n_digits = groups.digits_before[first[there] + n_groups] - groups.digits_before[first[there]]
        there = there[(n_digits >= SHORTEST) & (n_digits <= LONGEST)]
        rows = _Rows(groups, first[there], n_groups)
        fits = phone_ends(groups.text, rows.ends)
        there, rows = there[fits], rows.only(fits)
        if not there.size:
            continue
        good = holds(rows, starts[there])
        found.append((starts[there[good]], rows.ends[good]))
        taken = np.zeros(first.size, np.bool_)
        taken[there[good]] = True
        left = left[~taken[left]]
    return joined(found)


def _international(groups: Groups) -> Spans:
    """Return the numbers that begin with a plus sign, which may stand in brackets with the country calling code."""
    first, plus = _after_plus(groups)
    text = groups.text
    opened = (text.at(plus - 1) == _OPEN) & international_begins(text, plus - 1)
    good = opened | international_begins(text, plus)
    first, plus, opened = first[good], plus[good], opened[good]

    def holds(rows: _Rows, starts: Ints) -> Bools:  # noqa: ARG001
        digits, n = rows.digits(), rows.n_digits
        ok = (rows.n_distinct > 2) & of_possible_length(digits, n)
        if rows.n_groups == 2:
            # One point in a number makes a decimal fraction of it, unless it is a valid number.
            decimal = rows.joined_by_points & ok
            ok[decimal] = is_international(digits[decimal], n[decimal])
        return ok

    return _longest(groups, first, plus - opened, holds)


def _after_plus(groups: Groups) -> tuple[Ints, Ints]:
    """Return the groups that a plus sign stands before, with at most a bracket, a blank and such between, and the place of the sign."""
    text = groups.text
    plus = np.flatnonzero(text.codes == _PLUS)
    first = text.marks(DIGITS).next(plus + 1)
    gap = first - plus - 1
    good = gap <= MOST_BEFORE_DIGITS
    for i in range(MOST_BEFORE_DIGITS):
        good &= (gap <= i) | _BEFORE_DIGITS[text.at(plus + 1 + i)]
    good &= first < text.codes.size
    return np.searchsorted(groups.starts, first[good]), plus[good]


def _national(groups: Groups) -> Spans:
    """Return the numbers without a plus sign: by their form, or behind a word such as "phone"."""
    text = groups.text
    first = _national_starts(groups)
    first = first[groups.n_digits(first, MOST_GROUPS) >= SHORTEST]
    starts = groups.starts[first] - (text.at(groups.starts[first] - 1) == _OPEN)
    good = phone_begins(text, starts) & ~_is_date(groups, first)
    first, starts = first[good], starts[good]
    is_other = OTHER_NUMBERS.stands_before(text, starts, REACH_OF_OTHERS)
    is_named = PHONE_WORDS.stands_before(text, starts) & ~is_other
    named = np.zeros(groups.starts.size, np.bool_)
    named[first] = is_named
    good = is_named | (_has_digits_enough(groups, first) & ~is_other)
    first, starts = first[good], starts[good]

    def holds(rows: _Rows, starts: Ints) -> Bools:
        if rows.n_groups > 2:  # no bracket opens before the third group
            opens = text.marks(_IS_OPEN).next(groups.ends[rows.first + 1]) < rows.ends
            result = np.zeros(opens.size, np.bool_)
            result[~opens] = may_hold(rows.only(~opens), starts[~opens])
            return result
        return may_hold(rows, starts)

    def may_hold(rows: _Rows, starts: Ints) -> Bools:
        ok = _may_have_form(rows, starts)
        ok[ok] = _has_form(rows.only(ok), starts[ok])
        behind = ~ok & named[rows.first] & ~groups.is_next[rows.last] & (rows.n_digits <= _ALL_NAMED)
        behind &= ~((rows.n_groups == 4) & rows.joined_by_points)
        some = rows.only(behind)
        digits, n = some.digits(), some.n_digits
        ok[behind] = (is_national(digits, n) | is_international(digits, n)) & (some.n_distinct > 2)
        return ok

    return _longest(groups, first, starts, holds)


def _national_starts(groups: Groups) -> Ints:
    """Return the groups with which a number without a plus sign can begin: the first and the second one of a row."""
    is_first = ~groups.follows
    before = groups.text.at(groups.starts - 1)
    opens = before == _OPEN
    follows_first = np.zeros(groups.starts.size, np.bool_)
    follows_first[1:] = is_first[:-1] & (before[1:] == _BLANK)
    single = is_first & ~groups.is_next
    # A zero, a point and more digits are a decimal fraction.
    is_first &= ~(
        (groups.lengths == 1) & (groups.text.at(groups.ends) == _POINT) & (groups.text.at(groups.starts) == ord("0"))
    )
    fits = np.where(single, (groups.lengths >= SHORTEST) & (groups.lengths <= LONGEST), groups.lengths <= 13)
    return np.flatnonzero(fits & (is_first | follows_first | opens))


def _has_digits_enough(groups: Groups, first: Ints) -> Bools:
    """Return which groups begin rows with as many digits as any number has that its form alone tells."""
    digits = groups.digits(first, 3)
    may: Bools = groups.n_digits(first, 5) >= 9
    zero = digits[:, 0] == 0
    may |= zero & (groups.n_digits(first, 6) >= 9)
    abroad = zero & ((digits[:, 1] == 0) | ((digits[:, 1] == 1) & (digits[:, 2] == 1)))
    may |= abroad & (groups.n_digits(first, MOST_GROUPS) >= 10)
    return may


def _is_date(groups: Groups, first: Ints) -> Bools:
    """Return which groups begin a date of three numbers with a year of four digits at one end."""
    n = groups.starts.size
    second, third = np.minimum(first + 1, n - 1), np.minimum(first + 2, n - 1)
    lengths = groups.lengths
    ok: Bools = groups.is_next[first] & groups.is_next[second] & (third == first + 2)
    ok &= (groups.starts[second] - groups.ends[first] == 1) & (groups.starts[third] - groups.ends[second] == 1)
    ok &= lengths[second] <= 2
    begins = np.flatnonzero(ok & (lengths[first] == 4) & (lengths[third] <= 2))
    ends = np.flatnonzero(ok & (lengths[first] <= 2) & (lengths[third] == 4))
    ok[:] = False
    ok[begins], ok[ends] = _is_year(groups, first[begins]), _is_year(groups, third[ends])
    return ok


def _is_year(groups: Groups, at: Ints) -> Bools:
    century = groups.digits(at, 2) @ np.array([10, 1], np.int64)
    is_year: Bools = (century == 19) | (century == 20)
    return is_year


def _may_have_form(rows: _Rows, starts: Ints) -> Bools:
    """Return which rows begin as a number may that its form alone tells: with 0, 1, 8 or a bracket, or as those of North America."""
    groups, n_groups = rows.groups, rows.n_groups
    first = groups.digit_values[groups.digits_before[rows.first]]
    may: Bools = first == 0
    if n_groups <= 5:
        may |= (groups.text.at(starts) == _OPEN) | (first == 8)
    if n_groups <= 4:
        may |= first == 1
    if n_groups == 3:
        may |= rows.is_of(((3, 3, 4),))
    return may


def _has_form(rows: _Rows, starts: Ints) -> Bools:
    """Return which rows of groups are telephone numbers by their form alone."""
    groups, n_groups = rows.groups, rows.n_groups
    text, digits, n = groups.text, rows.digits(), rows.n_digits
    is_bracketed = (text.at(starts) == _OPEN) & (text.at(groups.ends[rows.first]) == _CLOSED) & (n_groups > 1)
    ok = _is_north_american(rows, digits) | _is_chinese(rows, digits)
    zero = ~ok & (digits[:, 0] == 0) & ((n_groups == 1) | (groups.lengths[rows.first] > 1) | (digits[:, 1] > 0))
    double = zero & (digits[:, 1] == 0)
    single = zero & ~double
    some = rows.only(double)
    after = some.digits(2)
    ok[double] = of_possible_length(after, some.n_digits - 2)
    if n_groups == 1:
        ok[double] &= is_international(after, some.n_digits - 2)
        single &= (n >= 10) & (n <= 11)
        ok[single] = is_mobile(digits[single], n[single])
    else:
        points = rows.joined_by_points
        eleven = single & (digits[:, 1] == 1) & (digits[:, 2] == 1)
        ok[eleven] = is_international(rows.only(eleven).digits(3), n[eleven] - 3)
        single &= ~ok & (n >= 9) & (n <= 12) & (n_groups <= 6) & ~rows.is_of(((3, 2, 4), (5, 4)))
        single &= ~points | (n_groups > 3)
        russian = (digits[:, 0] == 8) & (n == 11) & (text.at(groups.starts[rows.first + 1] - 1) == _OPEN)
        national = single | (~ok & ((is_bracketed & (n >= 9) & (n <= 12)) | russian))
        ok[national] = is_national(digits[national], n[national])
        if n_groups == 4:
            ok &= ~points | (groups.lengths[np.stack([rows.first + i for i in range(4)])] > 3).any(0)
    ok[ok] = rows.only(ok).n_distinct > 2
    ok[ok] = ~_holds_line(rows.only(ok))
    return ok


def _holds_line(rows: _Rows) -> Bools:
    """Return which rows are joined by an underscore somewhere."""
    result: Bools = rows.groups.text.marks(_IS_LINE).next(rows.groups.starts[rows.first]) < rows.ends
    return result


def _is_north_american(rows: _Rows, digits: Bytes) -> Bools:
    if rows.n_groups not in {3, 4}:
        return np.zeros(rows.first.size, np.bool_)
    skip = rows.n_groups - 3
    ok = rows.is_of(((3, 3, 4), (1, 3, 3, 4)))
    if skip:
        ok &= digits[:, 0] == 1
    area, office = digits[:, skip : skip + 3], digits[:, skip + 3]
    ok &= (area[:, 0] > 1) & (office > 1) & ~((area[:, 1] == 1) & (area[:, 2] == 1))
    return ok


def _is_chinese(rows: _Rows, digits: Bytes) -> Bools:
    """Return which are mobile numbers, with 86 before them or not, or numbers with the code of a city."""
    n = rows.n_digits
    mobile = (digits[:, 0] == 1) & (digits[:, 1] > 2) & rows.is_of(MOBILE_SHAPES)
    mobile |= (n == 13) & (digits[:, 0] == 8) & (digits[:, 1] == 6) & (digits[:, 2] == 1) & (digits[:, 3] > 2)
    two, three = digits[:, 1] * 10 + digits[:, 2], digits[:, 3]
    of_three = (two == 10) | (digits[:, 1] == 2)
    first_digit = np.where(of_three, three, digits[:, 4])
    city = (digits[:, 0] == 0) & (of_three | (digits[:, 1] > 2)) & (first_digit > 1) & (first_digit < 9)
    if rows.n_groups == 1:
        city &= np.where(of_three, n == 11, n == 12)
    result: Bools = mobile | (city & rows.is_of(LANDLINE_SHAPES))
    return result
