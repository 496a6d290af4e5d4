"""The table of experiments: every kind leads to a measurement and a spec."""

import pytest

from workbench.core.errors import InvalidSpec
from workbench.jobs.child import EXPERIMENTS


@pytest.mark.parametrize("kind", EXPERIMENTS)
def test_every_kind_finds_its_measurement_and_refuses_another_spec(kind, tmp_path):
    with pytest.raises(InvalidSpec, match="nonsense"):
        EXPERIMENTS[kind]({"nonsense": 1}, tmp_path)
