"""Runs side by side: what differs is shown with its factor, what was asked differently is named, ratios have intervals, and what pairs is paired."""

from dataclasses import replace

import pytest

from workbench.catalog.paths import MEASURED
from workbench.core.statistics import Interval
from workbench.interface.compared_runs import side_by_side
from workbench.interface.panel_text import text_of
from workbench.store.runs import runs_in_folder

LABELS = ("first", "second")


def run_of_kind(kind):
    return next(r for r in runs_in_folder(MEASURED) if r.kind == kind)


def text(*runs):
    return text_of(side_by_side(runs, LABELS[: len(runs)]))


@pytest.mark.parametrize("kind", sorted({r.kind for r in runs_in_folder(MEASURED)}))
def test_a_run_does_not_differ_from_itself(kind):
    run = run_of_kind(kind)
    shown = text(run, replace(run, id="other"))
    assert "No row that the runs have in common differs" in shown
    assert "did not measure the same" not in shown


def test_a_quantity_that_doubled_is_shown_with_its_row_and_factor():
    run = run_of_kind("engine_sweep")
    row = run.results[0]
    doubled = replace(run, results=(replace(row, startup_s=2 * row.startup_s), *run.results[1:]))
    (line,) = [part for part in text(run, doubled).splitlines() if "startup s" in part]
    assert row.engine in line
    assert line.endswith("2x")


def test_a_row_that_only_one_run_has_is_left_out():
    run = run_of_kind("engine_sweep")
    fewer = replace(run, results=tuple(replace(r, startup_s=(r.startup_s or 1) * 3) for r in run.results[1:]))
    assert run.results[0].engine not in text(run, fewer)


def test_a_ratio_whose_interval_holds_1_is_no_difference():
    run = run_of_kind("attention")
    rows = [r for r in run.results if any(isinstance(getattr(r, f), Interval) for f in r.__dataclass_fields__)]
    name = next(f for f in rows[0].__dataclass_fields__ if isinstance(getattr(rows[0], f), Interval))

    def with_interval(value, low, high):
        changed = replace(rows[0], **{name: Interval(value=value, low=low, high=high)})
        return replace(run, results=(changed,))

    one = with_interval(1.0, 0.9, 1.1)
    assert "no difference shown" in text(one, with_interval(1.1, 1.0, 1.2))
    assert "1.18x [1.0" in text(one, with_interval(1.18, 1.08, 1.28))  # the intervals overlap, and the ratio is above 1
    assert "4x" in text(one, with_interval(4.0, 3.0, 5.0))


def test_windows_of_the_same_text_are_paired():
    run = run_of_kind("plan_damage")
    worse = {n: [1.05 * kl for kl in values] for n, values in run.samples.kl_nat.items()}
    shown = text(run, replace(run, samples=replace(run.samples, kl_nat=worse)))
    assert "1.05x [1.05, 1.05]" in shown  # each window is 5 % worse, however much the windows differ among themselves
    asked_differently = replace(run, samples=replace(run.samples, kl_nat=worse), spec={**run.spec, "seed": 99})
    assert "Pairs of" not in text(run, asked_differently)


def test_runs_of_other_machines_and_choices_say_so():
    run = run_of_kind("quantization")
    other = replace(
        run, environment=replace(run.environment, device="another device"), spec={**run.spec, "model": "another"}
    )
    shown = text(run, other)
    assert "did not measure the same" in shown
    assert "model, device" in shown
