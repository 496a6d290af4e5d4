"""What is drawn for a simulation: gaps, ramps, and lengths of a file."""

import numpy as np
import pytest

from workbench.core.errors import InvalidSpec
from workbench.core.traffic import Lengths, draw_arrivals
from workbench.questions.parallelism.simulate.findings import simulation
from workbench.questions.parallelism.simulate.spec import GAMMA_CV, SimulateSpec

LENGTHS = Lengths(input_tokens=100, output_tokens=10)
ASKED = {"model": "meta-llama/Meta-Llama-3.1-8B", "device": "h200-sxm", "n_requests": 50}


@pytest.mark.parametrize(("first", "last"), [(2.0, 20.0), (20.0, 2.0), (5.0, 5.0)])
def test_a_ramp_begins_and_ends_at_its_rates(first, last):
    n = 20_000
    arrivals = draw_arrivals(n, rate_per_s=first, end_rate_per_s=last, lengths=LENGTHS, seed=1)
    at = np.array([a.at_s for a in arrivals])
    seconds = 2 * n / (first + last)
    assert at[-1] == pytest.approx(seconds, rel=0.05)
    assert (np.diff(at) >= 0).all()
    for share, rate in ((0.05, first + 0.05 * (last - first)), (0.95, last - 0.05 * (last - first))):
        counted = np.sum(np.abs(at - share * seconds) <= 0.05 * seconds) / (0.1 * seconds)
        assert counted == pytest.approx(rate, rel=0.1)


def test_arrival_processes_are_those_of_load():
    cv = {kind: SimulateSpec(**ASKED, arrivals=kind).gap_cv for kind in ("constant", "poisson", "gamma")}
    assert cv == {"constant": 0.0, "poisson": 1.0, "gamma": GAMMA_CV}
    assert SimulateSpec(**ASKED, arrivals="gamma", burstiness=3.0).gap_cv == 3.0
    for wrong in (
        {"arrivals": "ramp"},
        {"end_rate_per_s": 2.0},
        {"arrivals": "constant", "users": 3},
        {"burstiness": -1},
    ):
        with pytest.raises(InvalidSpec):
            SimulateSpec(**ASKED, **wrong)


def test_lengths_of_a_file_are_taken_in_their_order(tmp_path):
    """A short answer and a long one by turns: the median lies between, and a file without an answer's column is refused."""
    file = tmp_path / "lengths.csv"
    file.write_text("input_tokens,output_tokens\n100,7\n2000,30\n")
    answer = simulation(SimulateSpec(**ASKED, lengths_file=str(file))).simulated.service
    seconds = answer.n_requests / answer.requests_per_s
    assert answer.output_tokens_per_s * seconds == pytest.approx(25 * 7 + 25 * 30)
    file.write_text('{"timestamp": 5, "input_length": 100, "output_length": 7}\n')
    assert simulation(SimulateSpec(**ASKED, lengths_file=str(file))).simulated.service.n_requests == 50
    file.write_text("input_tokens\n100\n")
    with pytest.raises(InvalidSpec, match="no column"):
        simulation(SimulateSpec(**ASKED, lengths_file=str(file)))
