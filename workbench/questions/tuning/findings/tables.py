"""Tables of a tuning run: its settings under an SLO, and those that could not be tried."""

from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.units import shown_duration
from workbench.questions.tuning.findings import SCORES, Judged, Tuned, shown_gain, shown_score
from workbench.questions.tuning.rows import SettingResult
from workbench.questions.tuning.spec import Objective

SHOWN_ROWS, SHOWN_SIMULATED = 12, 4
SETTING_HEAD = (
    gettext("Setting"),
    gettext("goodput, requests/s"),
    gettext("gain over the defaults"),
    "TTFT p50 / p90",
    "TPOT p50 / p90",
    gettext("loads"),
)


def setting_head(objective: Objective) -> tuple[str, ...]:
    """Return the titles of the table's columns."""
    name, unit = SCORES[objective]
    return (SETTING_HEAD[0], gettext("{name}, {unit}").format(name=name, unit=unit), *SETTING_HEAD[2:])


def shown_settings(tuned: Tuned, n: int = SHOWN_ROWS) -> list[Judged]:
    """Return the settings of the table: the best measured ones, the best simulated ones, and the default."""
    measured = [j for j in tuned.settings if j.is_measured]
    shown = [*measured[:n], *[j for j in tuned.settings if not j.is_measured][:SHOWN_SIMULATED]]
    return shown if tuned.default in shown else [*shown, tuned.default]


def setting_rows(tuned: Tuned) -> list[tuple[str, ...]]:
    """Return the cells of ``setting_head``."""
    return [_row(j, tuned) for j in shown_settings(tuned)]


def _row(judged: Judged, tuned: Tuned) -> tuple[str, ...]:
    r = judged.result
    label = gettext("{name} (default)").format(name=r.name) if r.is_default else r.name
    return (
        f"{judged.provenance.mark} {label}",
        shown_score(judged.score, tuned.aim.objective),
        "–" if r.is_default else shown_gain(judged.over_default_fraction),
        f"{shown_duration(r.ttft_p50_s)} / {shown_duration(r.ttft_p90_s)}",
        f"{shown_duration(r.tpot_p50_s)} / {shown_duration(r.tpot_p90_s)}",
        str(r.n_loads),
    )


def refused_rows(run: Run) -> list[tuple[str, str]]:
    """Return the settings that vLLM refuses or that failed, with the reason."""
    return [(r.name, r.reason or "") for r in run.rows(SettingResult) if r.status in {"refused", "failed"}]
