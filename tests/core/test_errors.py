"""Messages of libraries become one sentence."""

import pytest

from workbench.core.errors import first_line

LONG = "The archive cannot be read. This is an internal error. If you see it, the file is probably damaged: " + "x" * 80


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("It is damaged.\nDetails"), "It is damaged"),
        (ValueError("The following are missing:\n a, b"), "The following are missing: a, b"),
        (ValueError(LONG), "The archive cannot be read"),
        (KeyError("sigloo"), "KeyError: 'sigloo'"),
        (ValueError(), "ValueError"),
    ],
)
def test_the_first_sentence_of_a_library_is_shown(error, said):
    assert first_line(error) == said
