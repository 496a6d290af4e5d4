"""What a tuning run says: the best setting, whether it is worth the change, and the rows of its table."""

from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.core.units import three_digits
from workbench.core.verdict import Verdict
from workbench.questions.tuning.rows import SettingResult, TuneChoice

SETTING_HEAD = ("Setting", f"goodput {Provenance.MEASURED.mark} / {Provenance.SIMULATED.mark}", "loads")


def verdict(run: Run) -> Verdict:
    """Return the best setting and its gain over the default."""
    choice = run.row(TuneChoice)
    if choice is None:
        return Verdict(headline="No setting was measured.", evidence="", objection="Press Run.")
    return Verdict(headline=f"{choice.name} is best.", evidence="", objection="", best=choice.name)


def setting_rows(run: Run) -> list[tuple[str, ...]]:
    """Return the cells of ``SETTING_HEAD``, the best first."""
    rows = sorted(run.rows(SettingResult), key=lambda r: -(r.goodput_per_s or 0.0))
    return [(r.name, three_digits(r.goodput_per_s), str(r.n_loads)) for r in rows]
