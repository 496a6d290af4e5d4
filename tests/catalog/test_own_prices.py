"""The reader's own prices over those of the catalogue."""

import pytest

from workbench.catalog.prices import median_price, own_prices
from workbench.core.errors import InvalidSpec
from workbench.estimate.device_calibration import offers


def written(tmp_path, text):
    file = tmp_path / "prices.csv"
    file.write_text(text)
    return file


def test_an_own_price_comes_before_the_listed_ones(tmp_path):
    file = written(tmp_path, "device_id,usd_per_gpu_hour,provider,date\nh200-sxm,1.25,our rack,2026-11-01\n")
    own, listed = offers(["h200-sxm", "h100-sxm"], prices=own_prices(file))
    assert own.usd_per_hour == 1.25
    assert own.price_label == "our rack, 2026-11-01"
    assert listed.usd_per_hour == median_price("h100-sxm").usd_per_gpu_hour


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2\n", "device_id"),
        ("device_id,usd_per_gpu_hour\nh200-sxm,cheap\n", "cannot be read"),
        ("device_id,usd_per_gpu_hour\nabacus,1\n", "unknown devices: abacus"),
        ("device_id,usd_per_gpu_hour\nh200-sxm,0\n", "no price: h200-sxm"),
        ("device_id,usd_per_gpu_hour\n", "no rows"),
    ],
)
def test_a_file_that_is_none_is_told(tmp_path, text, says):
    with pytest.raises(InvalidSpec, match=says):
        own_prices(written(tmp_path, text))


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InvalidSpec, match="cannot be read"):
        own_prices(tmp_path / "nowhere.csv")
