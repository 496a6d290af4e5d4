"""Every kind of run leads to a spec and a measurement."""

from importlib import import_module

import pytest

from workbench.core.errors import InvalidSpec
from workbench.core.kinds import spec_classes
from workbench.jobs.child import measured_kind


@pytest.mark.parametrize("kind", spec_classes())
def test_every_kind_finds_its_measurement_and_refuses_another_spec(kind, tmp_path):
    with pytest.raises(InvalidSpec, match="nonsense"):
        measured_kind(kind, {"nonsense": 1}, tmp_path)
    assert import_module(spec_classes()[kind].__module__.removesuffix("spec") + "measure").measure


def test_a_kind_that_nothing_measures_is_named(tmp_path):
    with pytest.raises(InvalidSpec, match="'nonsense' is no kind of run"):
        measured_kind("nonsense", {}, tmp_path)
