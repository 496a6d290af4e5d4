"""Loads that no server has answered."""

from dataclasses import replace

import pytest

from workbench.catalog.paths import MEASURED
from workbench.load.rows import LoadSamples
from workbench.store.runs import read_run_file


@pytest.fixture
def load_of():
    """Makes a load of requests."""
    load = read_run_file(MEASURED / "diagnosis" / "201-healthy-0.json")
    return lambda requests: replace(load, samples=LoadSamples(requests=requests))
