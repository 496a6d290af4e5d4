"""The load that would confirm a named cause, and its outcome.

A cause in the load is confirmed by sending the load as before: latency returns to normal. A cause in the server, its machine or the
network is confirmed by sending the healthy load again: latency stays high, and the diagnosis names the same cause.
"""

from dataclasses import dataclass, replace

from workbench.core.errors import NotAvailable
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.load.spec import LoadSpec
from workbench.questions.latency.findings import Diagnosis, diagnose
from workbench.questions.latency.findings.observation import observe
from workbench.questions.latency.rows import holds_requests

IN_THE_LOAD: dict[str, tuple[str, ...]] = {
    "surge": ("rate_per_s", "end_rate_per_s", "arrivals", "concurrency", "trace", "trace_speed"),
    "longer prompts": ("input_tokens", "input_cv", "trace"),
    "longer answers": ("output_tokens", "output_cv", "trace"),
    "prefix cache missed": ("shared_prefix_tokens", "unique_prefix"),
}
RECOVERED = 0.5  # of the change


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """A load to send, and its expected result."""

    cause: str
    spec: LoadSpec
    expects: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Result of the confirming load."""

    is_confirmed: bool | None
    """Whether it confirms the cause; None: not known."""
    text: str

    @property
    def verdict(self) -> str:
        """Outcome in words: confirmed, not confirmed or not tested."""
        words = {True: gettext("Confirmed"), False: gettext("Not confirmed"), None: gettext("Not tested")}
        return words[self.is_confirmed]


def confirmation(diagnosis: Diagnosis, baseline: Run, current: Run) -> Confirmation:
    """Return the load that would confirm the cause; raises ``NotAvailable`` when there is nothing to confirm."""
    if not diagnosis.alarm:
        raise NotAvailable(
            gettext("Users notice no change, so there is no cause to confirm."), remedy=gettext("Compare other loads.")
        )
    cause = diagnosis.causes[0].key
    before, now = (r.asked(LoadSpec) for r in (baseline, current))
    fields = IN_THE_LOAD.get(cause)
    if fields is None:
        spec = replace(before, url=now.url, server_pid=now.server_pid, seed=now.seed + 1)
        expects = gettext(
            "The healthy load is sent again: if the cause is not in the load, latency stays high and the same cause is named."
        )
        return Confirmation(cause=cause, spec=spec, expects=expects)
    changes = {f: (getattr(now, f), getattr(before, f)) for f in fields}
    spec = replace(now, **{f: healthy for f, (_, healthy) in changes.items()}, seed=now.seed + 1)
    what = ", ".join(f"{f} {odd} → {healthy}" for f, (odd, healthy) in changes.items() if odd != healthy)
    expects = gettext(
        "The load is sent as before ({changes}): if this is the cause, latency returns to normal."
    ).format(changes=what or gettext("nothing else"))
    return Confirmation(cause=cause, spec=spec, expects=expects)


def again(baseline: Run) -> LoadSpec:
    """Return the healthy load with other arrivals, to be sent now."""
    before = baseline.asked(LoadSpec)
    return replace(before, server_pid=None, seed=before.seed + 1)


def outcome(asked: Confirmation, baseline: Run, current: Run, confirming: Run) -> Outcome:
    """Return whether the confirming load confirms the cause."""
    if not holds_requests(confirming):
        cause = confirming.failures[0].cause if confirming.failures else gettext("No request was sent.")
        text = gettext("The confirming load did not run: {cause}").format(cause=cause)
        return Outcome(is_confirmed=None, text=text)
    if asked.cause not in IN_THE_LOAD:
        diagnosis = diagnose(baseline, confirming)
        top = diagnosis.causes[0]
        conclusion = gettext(top.title) if diagnosis.alarm else gettext("users notice no change")
        is_named_again = diagnosis.alarm and top.key == asked.cause
        text = gettext("Diagnosis of the healthy load that was sent again: {conclusion}.")
        return Outcome(is_confirmed=is_named_again, text=text.format(conclusion=conclusion))
    a, b, c = (observe(r).get("e2e_s") for r in (baseline, current, confirming))
    if a is None or b is None or c is None or b <= a:
        return Outcome(is_confirmed=None, text=gettext("Too few requests completed to compare their latencies."))
    recovered = (b - c) / (b - a)
    text = gettext(
        "The mean end-to-end latency was {healthy:.0f} ms in the healthy load, {odd:.0f} ms in the load in question and "
        "{confirming:.0f} ms in the confirming load: {recovered:.0f} % of the change is gone."
    ).format(healthy=1000 * a, odd=1000 * b, confirming=1000 * c, recovered=100 * recovered)
    return Outcome(is_confirmed=recovered >= RECOVERED, text=text)
