"""A new version takes over step by step, and goes back as soon as it is seen to be worse; every step is written down before it is taken."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from workbench.core.errors import InvalidSpec, StoreError
from workbench.release.sequential import MoreThanAllowed, WorseThanBaseline


class Phase(StrEnum):
    """Where a rollout is."""

    RUNNING = "running"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryRule:
    """How a version is judged."""

    steps: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)
    """Shares of the users that it serves, one after the other."""
    least_requests: int = 200
    """Of the new version in each step, before the next."""
    alpha: float = 0.01
    """Chance of rolling a version back that is no worse, over all measures and the whole rollout."""
    late_ttft_s: float = 1.0
    """A first token after that is late; take the baseline's 95th percentile."""
    late_tpot_s: float = 0.05
    disagreement: float = 0.05
    """Share of answers to the gold set that may differ from the baseline's."""

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.steps, self.steps[1:], strict=False))
        if not self.steps or not rising or not 0 < self.steps[0] <= 1 or self.steps[-1] != 1:
            raise InvalidSpec(f"Steps {self.steps}.", remedy="Give rising shares that end at 1.")
        if self.least_requests < 1 or not 0 < self.alpha < 1:
            raise InvalidSpec(
                f"{self.least_requests} requests, alpha {self.alpha}.", remedy="Give one or more, and a chance below 1."
            )


MEASURES = ("failures", "late first tokens", "slow tokens", "disagreement")


@dataclass(slots=True)
class Judge:
    """Everything that is compared, each at its part of alpha (Bonferroni)."""

    rule: CanaryRule
    failures: WorseThanBaseline = field(default_factory=WorseThanBaseline)
    late: WorseThanBaseline = field(default_factory=WorseThanBaseline)
    slow: WorseThanBaseline = field(default_factory=WorseThanBaseline)
    answers: MoreThanAllowed = field(init=False)

    def __post_init__(self) -> None:
        self.answers = MoreThanAllowed(self.rule.disagreement)

    def request(
        self, *, is_canary: bool, share: float, failed: bool, ttft_s: float | None = None, tpot_s: float | None = None
    ) -> None:
        """A request that ended."""
        if failed:
            self.failures.event(is_canary=is_canary, share=share)
        if ttft_s is not None and ttft_s > self.rule.late_ttft_s:
            self.late.event(is_canary=is_canary, share=share)
        if tpot_s is not None and tpot_s > self.rule.late_tpot_s:
            self.slow.event(is_canary=is_canary, share=share)

    def answer(self, *, agrees: bool) -> None:
        """An answer of the new version to a question of the gold set, beside the baseline's."""
        self.answers.outcome(is_bad=not agrees)

    @property
    def evidence(self) -> dict[str, float]:
        """By measure."""
        found = (self.failures.evidence, self.late.evidence, self.slow.evidence, self.answers.evidence)
        return dict(zip(MEASURES, found, strict=True))

    @property
    def worse_in(self) -> str | None:
        """The measure in which the new version is seen to be worse, if any."""
        limit = len(MEASURES) / self.rule.alpha
        worst = max(self.evidence.items(), key=lambda pair: pair[1])
        return worst[0] if worst[1] >= limit else None


class Journal:
    """Lines that are on the disk before what they say is done; a line that was cut off is none.

    Args:
        file: One JSON object a line.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows: list[dict[str, Any]] = []
        if file.exists():
            raw = file.read_bytes()
            whole = raw[: raw.rfind(b"\n") + 1]
            try:
                self.rows = [json.loads(line) for line in whole.splitlines()]
            except ValueError as error:
                raise StoreError(
                    f"{file} is no journal: {error}.", remedy="Restore it, or begin another rollout."
                ) from error
            if len(whole) < len(raw):
                os.truncate(file, len(whole))

    def write(self, row: dict[str, Any]) -> None:
        """Add a line; when this returns, it is on the disk."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("ab") as out:
            out.write(json.dumps(row, sort_keys=True).encode() + b"\n")
            out.flush()
            os.fsync(out.fileno())
        self.rows.append(row)


class Rollout:
    """One rollout, which any process can take up again where the journal says.

    Args:
        journal: Of this rollout.
        rule: How the new version is judged; an old journal's rule is kept.
        versions: Digests of the old and the new version.
        set_shares: Gives the versions their shares of users; doing it twice does no harm. Called again after a crash.
    """

    def __init__(
        self,
        journal: Journal,
        rule: CanaryRule,
        *,
        versions: tuple[str, str],
        set_shares: Callable[[dict[str, float]], None],
    ) -> None:
        self._journal, self._set_shares = journal, set_shares
        begun = next((r for r in journal.rows if r["what"] == "begin"), None)
        if begun is not None:
            if tuple(begun["versions"]) != versions:
                raise InvalidSpec(
                    f"The journal is of {begun['versions']}.",
                    remedy="A version that changes in the middle is another rollout.",
                )
            rule = CanaryRule(**begun["rule"] | {"steps": tuple(begun["rule"]["steps"])})
        self.rule, self.versions = rule, versions
        self.judge = Judge(rule)
        self.phase, self.step, self.why = Phase.RUNNING, 0, ""
        self.n_in_step = 0
        for row in journal.rows:
            self._replay(row)
        if begun is None:
            told = {f: getattr(rule, f) for f in rule.__dataclass_fields__}
            journal.write({"what": "begin", "versions": list(versions), "rule": told | {"steps": list(rule.steps)}})
        self._apply()

    def _replay(self, row: dict[str, Any]) -> None:
        if row["what"] == "step":
            self.step, self.n_in_step = row["step"], 0
        elif row["what"] == "end":
            self.phase, self.why = Phase(row["phase"]), row["why"]

    @property
    def shares(self) -> dict[str, float]:
        """Of the users, by version, the old one first."""
        old, new = self.versions
        share = {Phase.PROMOTED: 1.0, Phase.ROLLED_BACK: 0.0}.get(self.phase, self.rule.steps[self.step])
        return {old: 1 - share, new: share}

    def _apply(self) -> None:
        self._set_shares(self.shares)

    def request(self, version: str, *, failed: bool, ttft_s: float | None = None, tpot_s: float | None = None) -> Phase:
        """A request that a version answered, or failed; where the rollout is after it."""
        if self.phase is not Phase.RUNNING:
            return self.phase
        is_canary = version == self.versions[1]
        self.n_in_step += is_canary
        share = self.shares[self.versions[1]]
        self.judge.request(is_canary=is_canary, share=share, failed=failed, ttft_s=ttft_s, tpot_s=tpot_s)
        return self._decide()

    def answer(self, *, agrees: bool) -> Phase:
        """An answer to the gold set; where the rollout is after it."""
        if self.phase is Phase.RUNNING:
            self.judge.answer(agrees=agrees)
            return self._decide()
        return self.phase

    def _decide(self) -> Phase:
        worse = self.judge.worse_in
        if worse is not None:
            self._end(Phase.ROLLED_BACK, f"worse in {worse} (evidence {self.judge.evidence[worse]:.3g})")
        elif self.n_in_step >= self.rule.least_requests:
            if self.step + 1 < len(self.rule.steps):
                self._journal.write({"what": "step", "step": self.step + 1})
                self.step, self.n_in_step = self.step + 1, 0
                self._apply()
            else:
                self._end(Phase.PROMOTED, "no measure is worse")
        return self.phase

    def roll_back(self, why: str) -> None:
        """By hand."""
        if self.phase is Phase.RUNNING:
            self._end(Phase.ROLLED_BACK, why)

    def _end(self, phase: Phase, why: str) -> None:
        self._journal.write({"what": "end", "phase": str(phase), "why": why})
        self.phase, self.why = phase, why
        self._apply()


def verified_shares(seen: Sequence[str], shares: dict[str, float], *, tolerance: float = 0.02) -> bool:
    """Whether the versions that really answered fit the shares that were set: a rollback that did not happen is none."""
    if not seen:
        return False
    return all(
        abs(sum(v == name for v in seen) / len(seen) - share) <= tolerance + 1e-9 for name, share in shares.items()
    )
