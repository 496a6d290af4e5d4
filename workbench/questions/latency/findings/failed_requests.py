"""The clue of requests that a server failed, without those that clients gave up and those that it refused because there were too many."""

from workbench.core.language import gettext_noop
from workbench.questions.latency.findings.causes import Reading, more_requests, strength
from workbench.questions.latency.findings.observation import GAVE_UP, Observation

SURELY_MORE = 0.5  # evidence of more requests
OVERLOAD = ("429", "503")


def failures_grew(a: Observation, b: Observation) -> Reading | None:
    """Return evidence from the share of requests that the server failed; clients that gave up are evidence of waiting only.

    A server that refuses requests because there are more of them (429, 503) does what it should: that is no evidence of errors.
    """
    before, after = _refused_fraction(a), _refused_fraction(b)
    if before is None or after is None:
        return None
    refusals = [e for e in b.errors if not e.startswith(GAVE_UP)]
    counts = {t: sum(t in e for e in refusals) for t in ("HTTP 5", "HTTP 429", "no connection")}
    kinds = ", ".join(f"{n} × {t}" for t, n in counts.items() if n) or ", ".join(sorted(set(refusals))[:1])
    shares = {"before": 100 * before, "after": 100 * after}
    text = (
        gettext_noop("requests that the server failed {before:.1f} % → {after:.1f} % ({kinds})").format(
            **shares, kinds=kinds
        )
        if kinds
        else gettext_noop("requests that the server failed {before:.1f} % → {after:.1f} %").format(**shares)
    )
    if after - before <= 0.005:
        return -1.0, text
    more = more_requests(a, b)
    if more is not None and more[0] > SURELY_MORE and all(any(t in e for t in OVERLOAD) for e in refusals):
        return 0.0, gettext_noop("{text}, while there are more requests").format(text=text)
    return strength(after - before, 0.0, 0.02), text


def _refused_fraction(o: Observation) -> float | None:
    """Return the share of the requests that the server failed, without those that clients gave up; None where it is not known."""
    failed = o.get("failed_fraction")
    if failed is None or not o.errors:
        return failed
    return failed * sum(not e.startswith(GAVE_UP) for e in o.errors) / len(o.errors)
