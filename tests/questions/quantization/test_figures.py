import re

import pytest
from support import invented_run

from workbench.catalog.tables import claims
from workbench.compress.rows import VariantResult
from workbench.interface.theme import CONFIG, mime_bundle
from workbench.questions.quantization.figures import KL_FLOOR, accuracy_against_speed, claimed_and_measured

RESULTS = invented_run().rows(VariantResult)
CLAIMS = [c for c in claims() if c.question == 2 and c.metric == "speedup"]
FIGURES = {
    "accuracy": accuracy_against_speed(RESULTS, batch=1, best="int4-g32"),
    "claims": claimed_and_measured([("INT8 PTQ", 1.3, 1.2, 1.4)], CLAIMS, baseline="FP32", batch=1),
}


@pytest.mark.parametrize("fig", FIGURES.values(), ids=FIGURES)
def test_figures_follow_the_common_rules(fig):
    assert re.search(r"(\bms\b|×|\bUSD\b|\bGiB\b)", fig.layout.xaxis.title.text)
    assert fig.layout.paper_bgcolor == fig.layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert fig.layout.title.text
    assert "●" in fig.layout.title.text
    bundle = mime_bundle(fig)["application/vnd.plotly.v1+json"]
    assert bundle["config"]["showSendToCloud"] is False
    assert CONFIG["plotlyServerURL"] == ""
    assert "template" not in bundle["layout"]


def test_one_point_per_method_with_its_interval():
    (points,) = FIGURES["accuracy"].data
    assert list(points.text) == ["FP32 (exact)", "INT8 weight-only", "INT4 group 32"]
    assert points.y[0] == KL_FLOOR
    assert points.x[1] == pytest.approx(2.0)
    assert points.error_y.array[1] == pytest.approx(0.0001)
    assert points.marker.size[2] > points.marker.size[1]  # the chosen one stands out


def test_claims_are_bands_and_measurements_points_on_them():
    bands, ranges, points = FIGURES["claims"].data
    assert [t.strip() for t in ranges.text] == ["1.5–2×", "2–4×", "3–6×", "3–6×"]
    assert list(bands.x) == [1.5, 2, None, 2, 4, None, 3, 6, None, 3, 6, None]
    assert (points.x[0], points.y[0], points.text[0]) == (1.3, "INT8 PTQ", "1.30×")
