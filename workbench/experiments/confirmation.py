"""The experiment that would confirm a named cause, and what its outcome says.

A cause that lies in what is sent is confirmed by sending it as before: the wait goes back. A cause that lies in the server, its machine or
the way to it is confirmed by sending the healthy load again: the wait stays, and the same cause is named.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from workbench.core.errors import NotAvailable
from workbench.core.load import LoadSpec
from workbench.core.runs import Run
from workbench.experiments.diagnosis import Diagnosis, diagnose
from workbench.experiments.observation import observe

IN_THE_LOAD: dict[str, tuple[str, ...]] = {
    "surge": ("rate_per_s", "end_rate_per_s", "arrivals", "concurrency", "trace", "trace_speed"),
    "longer prompts": ("input_tokens", "input_cv", "trace"),
    "longer answers": ("output_tokens", "output_cv", "trace"),
    "prefix cache missed": ("shared_prefix_tokens", "unique_prefix"),
}
GONE_BACK = 0.5  # of the change


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """A load to send, and what is expected of it."""

    cause: str
    spec: LoadSpec
    expects: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the confirming load said."""

    is_confirmed: bool | None
    """None: it could not be told."""
    text: str

    @property
    def verdict(self) -> str:
        """In words."""
        return {True: "Confirmed", False: "Not confirmed", None: "Not tested"}[self.is_confirmed]


def confirmation(diagnosis: Diagnosis, baseline: Run, current: Run) -> Confirmation:
    """What to send next; raises ``NotAvailable`` when there is nothing to confirm."""
    if not diagnosis.alarm:
        raise NotAvailable("Users notice no change, so there is no cause to confirm.", remedy="Compare other loads.")
    cause = diagnosis.causes[0].key
    before, now = (LoadSpec.from_dict(_known(r.spec)) for r in (baseline, current))
    fields = IN_THE_LOAD.get(cause)
    if fields is None:
        spec = replace(before, url=now.url, server_pid=now.server_pid, seed=now.seed + 1)
        return Confirmation(
            cause=cause,
            spec=spec,
            expects="The healthy load is sent again: if the cause is not in the load, waits stay long and it is named again.",
        )
    spec = replace(now, **{f: getattr(before, f) for f in fields}, seed=now.seed + 1)
    what = ", ".join(
        f"{f} {getattr(now, f)} → {getattr(before, f)}" for f in fields if getattr(now, f) != getattr(before, f)
    )
    return Confirmation(
        cause=cause,
        spec=spec,
        expects=f"Sent as before ({what or 'nothing else'}): if this is the cause, waits go back.",
    )


def again(baseline: Run) -> LoadSpec:
    """The healthy load with other arrivals, to be sent now."""
    before = LoadSpec.from_dict(_known(baseline.spec))
    return replace(before, server_pid=None, seed=before.seed + 1)


def _known(spec: Mapping[str, Any]) -> dict[str, Any]:
    names = LoadSpec.__dataclass_fields__
    return {k: v for k, v in spec.items() if k in names}


def outcome(asked: Confirmation, baseline: Run, current: Run, confirming: Run) -> Outcome:
    """Whether the confirming load speaks for the cause."""
    if asked.cause not in IN_THE_LOAD:
        found = diagnose(baseline, confirming)
        again = found.alarm and found.causes[0].key == asked.cause
        said = found.causes[0].title.lower() if found.alarm else "nothing that users notice"
        return Outcome(is_confirmed=again, text=f"With the healthy load the diagnosis says: {said}.")
    a, b, c = (observe(r).get("e2e_s") for r in (baseline, current, confirming))
    if a is None or b is None or c is None or b <= a:
        return Outcome(is_confirmed=None, text="There are too few whole answers to compare.")
    back = (b - c) / (b - a)
    text = f"Whole answers took {1000 * a:.0f}, then {1000 * b:.0f}, and now {1000 * c:.0f} ms: {100 * back:.0f} % of the change is gone."
    return Outcome(is_confirmed=back >= GONE_BACK, text=text)
