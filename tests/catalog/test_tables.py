import csv
from dataclasses import dataclass

import pytest

from workbench.catalog.csv_rows import read_rows
from workbench.catalog.paths import DATA
from workbench.catalog.price_rows import prices
from workbench.catalog.prices import median_price
from workbench.catalog.tables import claims, devices, engines, published_figures, questions
from workbench.core.errors import InvalidSpec


def test_every_fact_has_a_source():
    for name, column in (
        ("hardware", "source"),
        ("prices", "source"),
        ("models", "source"),
        ("claims", "source"),
        ("engines", "source"),
        ("published", "source"),
    ):
        with (DATA / f"{name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows
        assert all(row[column] for row in rows), name


def test_prices_name_known_devices_and_dates():
    for price in prices():
        assert price.device_id in devices(), price
        assert price.date
        assert 0.01 < price.usd_per_gpu_hour < 100


def test_owner_costs_are_no_offers():
    assert not any("TCO" in p.instance for p in prices())
    h200 = median_price("h200-sxm")
    assert h200 is not None
    assert 3 <= h200.usd_per_gpu_hour <= 11
    assert median_price("no-such-device") is None


def test_the_h200_has_its_published_rates():
    h200 = devices()["h200-sxm"]
    assert h200.bandwidth_bytes_per_s == 4.8e12
    assert 0.98e15 < h200.bf16_flop_per_s < 1e15


def test_all_tables_of_the_faq_are_claims():
    by_question = {c.question for c in claims()}
    assert by_question == set(range(1, 14)) - {10}  # questions 10 and 14 have no table
    int4 = next(c for c in claims() if c.technique == "INT4 AWQ" and c.metric == "speedup")
    assert (int4.low, int4.high, int4.shown_range) == (3, 6, "3–6×")


def test_there_are_fourteen_questions_and_ready_ones_have_a_notebook():
    assert [q.number for q in questions()] == list(range(1, 15))
    for q in questions():
        assert (DATA.parent / "notebooks" / f"{q.notebook}.ipynb").exists() == q.is_ready
    assert {e.id for e in engines()} >= {"torch", "onnx", "vllm"}


def test_published_figures_are_of_known_engines_that_were_not_started_and_devices():
    started = {e.id: not e.started.startswith("not started") for e in engines()}
    for figure in published_figures():
        assert not started[figure.engine]
        assert figure.device_id in devices()
        assert figure.value > 0
        assert figure.condition


@dataclass(frozen=True, slots=True, kw_only=True)
class Cheese:
    name: str
    price_usd: float
    holes: int | None = None


def test_a_cell_that_is_none_is_named_by_file_line_and_column(tmp_path):
    file = tmp_path / "cheese.csv"
    file.write_text("name,price_usd,holes,note\nEmmental,12.5,3,x\nGouda,9,,\n")
    assert read_rows(file, Cheese) == [
        Cheese(name="Emmental", price_usd=12.5, holes=3),
        Cheese(name="Gouda", price_usd=9.0),
    ]
    file.write_text("name,price_usd\nGouda,9\nBrie,cheap\n")
    with pytest.raises(InvalidSpec, match=r"cheese\.csv, line 3: .*float.* in column `price_usd`"):
        read_rows(file, Cheese)
    file.write_text("name\nGouda\n")
    with pytest.raises(InvalidSpec, match=r"line 2: .*price_usd"):
        read_rows(file, Cheese)
