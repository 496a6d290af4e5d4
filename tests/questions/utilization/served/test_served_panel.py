"""The panel of served techniques, by driving its controls."""

from dataclasses import replace

import ipywidgets
import pytest
from support.waiting import figure_titles

from workbench.catalog.paths import MEASURED
from workbench.core.statistics import Interval
from workbench.jobs.manager import JobManager
from workbench.questions.utilization.served.panel import ServedTechniquesPanel
from workbench.questions.utilization.served.rows import NotServed, ServedGain, ServedSide
from workbench.questions.utilization.served.spec import COMPARISONS, LAUNCHES, SIDES, TECHNIQUES, ServedTechniquesSpec
from workbench.store.runs import read_run_file

pytestmark = pytest.mark.usefixtures("strict")
LOAD = read_run_file(MEASURED / "load_llama-3.1-8b-shape_conv-80-percent_h100.json")


def side(launch, used, tokens_per_s):
    return ServedSide(
        flags=LAUNCHES[launch].flags,
        variables=LAUNCHES[launch].variables,
        utilization_fraction=Interval(used, used - 0.01, used + 0.01),
        tensor_active_fraction=Interval(0.2, 0.19, 0.21),
        output_tokens_per_s=tokens_per_s,
        tpot_p50_s=0.01,
        n_failed=0,
    )


def gain(name, *, without, with_it):
    used, tokens_per_s = zip(without, with_it, strict=True)
    difference, ratio = used[1] - used[0], tokens_per_s[1] / tokens_per_s[0]
    return ServedGain(
        technique=name,
        label=TECHNIQUES[name],
        what=COMPARISONS[name],
        without=side(SIDES[name][0], *without),
        with_it=side(SIDES[name][1], *with_it),
        utilization_gain=Interval(difference, difference - 0.01, difference + 0.01),
        throughput_ratio=Interval(ratio, ratio - 0.01, ratio + 0.01),
    )


RUN = replace(
    LOAD,
    kind="served_techniques",
    spec=ServedTechniquesSpec(model="data/models/llama-3.1-8b-shape").to_dict(),
    results=[
        gain("async", without=(0.90, 2800), with_it=(0.97, 3000)),
        gain("fusion", without=(0.97, 2000), with_it=(0.97, 3000)),
        NotServed(technique="pool", label=TECHNIQUES["pool"], status="failed", reason="uncached: out of memory"),
    ],
)


@pytest.fixture
def panel(tmp_path):
    manager = JobManager(tmp_path / "home")
    manager.store.add(RUN)
    panel = ServedTechniquesPanel(manager, poll_s=0.05)
    panel.controls["run_id"].value = RUN.id
    yield panel
    ipywidgets.Widget.close_all()


def test_utilization_stands_beside_the_tokens_and_beside_what_is_claimed(panel):
    assert (
        "Asynchronous scheduling raises the utilization of the GPU most: from 90.0 % to 97.0 %." in panel.answer.value
    )
    assert "more tokens per second without more utilization" in panel.answer.value
    assert [t.split("<br>")[0] for t in figure_titles(panel)] == [
        "<b>Utilization by technique</b>",
        "<b>Tokens per second by technique</b>",
    ]
    assert "97.0 % [96.0, 98.0]" in panel.table.value
    assert "failed: uncached: out of memory" in panel.table.value
    assert "--no-async-scheduling" in panel.tabs_html[0].value
    assert panel.errors == []


def test_techniques_are_chosen_and_what_cannot_run_here_says_why(panel):
    panel.controls["device"].value = "cpu"
    buttons = panel.controls["techniques"].buttons
    assert (buttons["async"].disabled, buttons["fusion"].disabled, buttons["pool"].disabled) == (True, False, True)
    assert "vLLM schedules synchronously on a processor" in buttons["async"].tooltip
    panel.controls["techniques"].value = ("fusion",)
    assert "--only fusion" in panel.tabs_html[1].value
    panel.controls["techniques"].value = ()
    assert "No techniques are chosen" in panel.tabs_html[1].value
    assert panel.errors == []
