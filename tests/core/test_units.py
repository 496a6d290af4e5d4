import pytest

from workbench.core.units import shown_bytes, shown_duration, shown_usd, three_digits


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (4.9284, "4.93"),
        (31942, "31900"),
        (0.00012345, "1.23e-4"),
        (99.96, "100"),
        (-0.5, "-0.500"),
        (1.0, "1.00"),
    ],
)
def test_numbers_have_three_digits(value, shown):
    assert three_digits(value) == shown


def test_units_follow_the_size():
    assert shown_bytes(2**30) == "1.00 GiB"
    assert shown_bytes(512 * 2**20) == "512 MiB"
    assert shown_duration(0.00493) == "4.93 ms"
    assert shown_duration(70) == "1 min 10 s"
    assert shown_usd(5.479) == "5.48"
    assert shown_usd(0.01234) == "0.0123"
