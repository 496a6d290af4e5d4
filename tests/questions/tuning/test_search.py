"""The search: what is measured next, when it ends, and how good its choice is."""

import numpy as np
import pytest

from workbench.engines.vllm_settings import VllmSetting
from workbench.questions.tuning.measure.scoring import Aim, gain, mean_score, window_scores
from workbench.questions.tuning.measure.search import Search
from workbench.questions.tuning.rows import RequestTimes

TOKENS, SEQUENCES = (512, 1024, 2048, 4096, 8192, 16384), (32, 64, 128, 256)
SETTINGS = [
    VllmSetting(max_num_batched_tokens=b, max_num_seqs=s, prefix_caching=p)
    for b in TOKENS
    for s in SEQUENCES
    for p in (True, False)
]
DEFAULT = SETTINGS.index(VllmSetting(max_num_batched_tokens=8192, max_num_seqs=256))
AIM = Aim(objective="goodput", slo_ttft_s=0.5, slo_tpot_s=0.05, duration_s=10.0, is_closed=False)


def surface(peak_tokens, peak_sequences, cached):
    """Scores with one peak over the logarithms of the limits."""
    return np.array(
        [
            40
            - 2 * np.log2(s.max_num_batched_tokens / peak_tokens) ** 2
            - 3 * np.log2(s.max_num_seqs / peak_sequences) ** 2
            - (0 if s.prefix_caching else cached)
            for s in SETTINGS
        ]
    ).clip(0)


def windows(scores, rng, noise=0.0):
    return np.maximum(scores[:, None] + rng.normal(0, noise, (len(scores), 10)), 0)


def made(*scores, **options):
    """A search whose first load is like all others."""
    rng = np.random.default_rng(0)
    draws = np.stack([windows(s, rng) for s in scores])
    return Search(SETTINGS, draws, expected=scores[0], default=DEFAULT, **options), draws[0]


def searched(simulated, truth, rng, *, most=9):
    search, first = made(*(simulated * f for f in (1.0, 0.95, 1.05)))
    observed = windows(truth, rng, noise=1.0)
    search.observe(DEFAULT, [observed[DEFAULT]], [first[DEFAULT]])
    while (index := search.next()) is not None and len(search.measured) < most:
        search.observe(index, [observed[index]], [first[index]])
    return search


@pytest.mark.parametrize("seed", range(5))
def test_a_fifth_of_the_grid_finds_97_percent_of_the_best_where_the_simulation_is_a_little_wrong(seed):
    rng = np.random.default_rng(seed)
    truth = surface(1024 * 2 ** rng.uniform(0, 2), 64 * 2 ** rng.uniform(0, 1), cached=15)
    off = 0.8 * truth * np.exp(rng.normal(0, 0.04, len(truth)))  # a common factor, and an error of each setting
    search = searched(off, truth, rng)
    assert len(search.measured) <= 9
    assert truth[search.best()] >= 0.97 * truth.max()


def test_nothing_is_measured_where_all_requests_meet_the_slo():
    search, first = made(np.full(len(SETTINGS), 20.0), ceiling=20.0)
    search.observe(DEFAULT, [np.full(10, 20.0)], [first[DEFAULT]])
    assert search.next() is None


def test_a_setting_that_failed_is_never_asked_for_again():
    search, simulated = made(*[surface(2048, 64, 15)] * 3)
    search.observe(DEFAULT, [np.full(10, 20.0)], [simulated[DEFAULT]])
    first = search.next()
    search.fail(first)
    assert search.next() not in (None, first)


def test_measurements_correct_the_simulation_of_settings_that_are_alike():
    flat = np.full(len(SETTINGS), 30.0)
    search, first = made(flat, flat * 0.9)
    low = SETTINGS.index(VllmSetting(max_num_batched_tokens=512, max_num_seqs=32))
    search.observe(DEFAULT, [np.full(10, 30.0)], [first[DEFAULT]])
    search.observe(low, [np.full(10, 20.0)], [first[low]])
    mean, sd = search.predicted()
    near = SETTINGS.index(VllmSetting(max_num_batched_tokens=1024, max_num_seqs=32))
    far = SETTINGS.index(VllmSetting(max_num_batched_tokens=16384, max_num_seqs=256))
    assert mean[low] < mean[near] < mean[far]
    assert sd[low] < sd[near]


def test_one_draw_of_the_arrivals_does_not_decide():
    """On the load that was sent one setting answers twice as much as the other, as simulated; over all arrivals it answers half."""
    lucky, steady = (SETTINGS.index(VllmSetting(max_num_batched_tokens=b, max_num_seqs=64)) for b in (512, 4096))
    expected, first = np.full(len(SETTINGS), 10.0), np.full((3, len(SETTINGS), 10), 10.0)
    expected[[lucky, steady]] = 12.0, 24.0
    first[:, lucky], first[:, steady] = 30.0, 15.0
    search = Search(SETTINGS, first, expected=expected, default=DEFAULT)
    for index, score in ((DEFAULT, 10.0), (lucky, 30.0), (steady, 15.0)):
        search.observe(index, [np.full(10, score)], [first[0, index]])
    assert search.best() == steady
    mean, _ = search.predicted()
    assert mean[steady] == pytest.approx(24, rel=0.05)


def test_windows_count_requests_within_the_slo_when_they_were_due():
    """Five requests of 10 s: one late, one with a slow stream, one unanswered; two are good, in the first and the last window."""
    times = RequestTimes(
        due_s=[0.1, 1.5, 3.0, 5.0, 9.9],
        ttft_s=[0.2, 0.9, 0.2, None, 0.4],
        tpot_s=[0.03, 0.03, 0.09, None, None],
        e2e_s=[1.0, 2.0, 4.0, None, 0.4],
        output_tokens=[20, 20, 20, 0, 1],
    )
    assert window_scores(times, AIM).tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert mean_score(window_scores(times, AIM)).value == pytest.approx(0.2)


def test_a_gain_is_paired_so_that_what_both_loads_share_cancels():
    rng = np.random.default_rng(1)
    common = 20 + rng.normal(0, 5, 20)
    found = gain([common * 1.1], [common])
    assert found.value == pytest.approx(0.1)
    assert found.low > 0.05
    assert gain([common], [common]).high == 0


def test_a_gain_that_every_load_shows_is_certain_though_windows_differ():
    """Of a server that falls behind in each load: the first windows score alike, the last ones do not."""
    rng = np.random.default_rng(2)
    falls = np.linspace(1, 0.2, 10)
    loads = [8 + rng.normal(0, 0.5, 10) for _ in range(4)]
    assert gain(loads, [load * falls for load in loads]).low > 0.3
    assert gain(loads[:1], [loads[0] * falls]).low < gain(loads, [load * falls for load in loads]).low


def test_the_gain_of_loads_holds_its_level():
    """Loads differ by what they have in common and by a gain of their own, of which 0.3 is the mean."""
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(400):
        n = int(rng.integers(3, 7))
        base = [rng.gamma(20, 0.4) * np.linspace(1, 0.5, 10) for _ in range(n)]
        mean = float(np.mean(base))
        ours = [b + mean * (0.3 + rng.normal(0, 0.15)) * np.linspace(0, 2, 10) for b in base]
        found = gain(ours, base)
        inside += found.low <= 0.3 <= found.high
    assert inside / 400 >= 0.92


def test_no_interval_of_a_gain_says_that_more_than_everything_is_lost():
    """Of a server that collapses in the middle of a load, whose windows vary by more than their mean."""
    collapsed, steady = np.array([60.0, 50, 0, 0, 0, 0, 0, 0, 0, 0]), np.linspace(0, 40, 10)
    assert gain([steady], [collapsed / 10]).low >= -1
