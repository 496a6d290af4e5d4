"""A rollout as the gateway's choice of versions, with a thread that compares both versions' next tokens."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from workbench.core.errors import InvalidSpec, WorkbenchError
from workbench.core.load import LoadSpec
from workbench.gateway.config import GatewayConfig
from workbench.gateway.routing import version_for
from workbench.load.probe import Asker
from workbench.release.canary import CanaryRule, Journal, Phase, Rollout


class CanaryVersions:
    """Implements the gateway's ``Versions`` with a ``Rollout``; it may be asked and told from several threads.

    Args:
        rollout: With its journal.
        salt: Of this rollout, so that it is not always the same users who see what is new.
    """

    def __init__(self, rollout: Rollout, *, salt: str) -> None:
        self._rollout, self._salt, self._lock = rollout, salt, threading.Lock()

    def choose(self, user: str) -> str | None:
        """The version that a user sees."""
        with self._lock:
            return version_for(user, self._rollout.shares, salt=self._salt)

    def ended(self, version: str, *, failed: bool, ttft_s: float | None, tpot_s: float | None) -> None:
        """A request that a version answered, or failed."""
        with self._lock:
            self._rollout.request(version, failed=failed, ttft_s=ttft_s, tpot_s=tpot_s)

    def answered(self, *, agrees: bool) -> Phase:
        """A question that both versions answered."""
        with self._lock:
            return self._rollout.answer(agrees=agrees)

    def told(self) -> dict[str, Any]:
        """Where it is."""
        with self._lock:
            r = self._rollout
            return {
                "phase": str(r.phase),
                "step": r.step,
                "shares": r.shares,
                "why": r.why,
                "requests_in_step": r.n_in_step,
                "evidence": r.judge.evidence,
                "answers": {"n": r.judge.answers.n, "differ": r.judge.answers.n_bad},
            }


class Comparison:
    """Asks both versions for the next token of the same texts, again and again, until the block ends or the rollout has.

    One token and not a whole answer: after the first difference everything differs, also between two ways to round the same model.

    Args:
        versions: Are told.
        urls: Of a server of each version, the old one first.
        model: Name under which both serve it.
        prompts: Texts.
        every_s: From one to the next.
    """

    def __init__(
        self, versions: CanaryVersions, urls: tuple[str, str], model: str, prompts: Sequence[str], *, every_s: float
    ) -> None:
        if not prompts or every_s <= 0:
            raise InvalidSpec("Nothing to compare.", remedy="Give prompts, and a time above zero.")
        self._versions, self._prompts, self._every_s = versions, prompts, every_s
        self._specs = [LoadSpec(url=url, model=model, timeout_s=20.0) for url in urls]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_round, daemon=True)

    def _go_round(self) -> None:
        askers = [Asker(spec) for spec in self._specs]
        n = 0
        while not self._over.wait(self._every_s):
            prompt = self._prompts[n % len(self._prompts)]
            n += 1
            texts = []
            for asker in askers:
                with suppress(WorkbenchError, OSError):
                    texts.append(asker.answered(prompt, max_tokens=1).get("text"))
            if len(texts) == 2 and None not in texts:
                phase = self._versions.answered(agrees=texts[0] == texts[1])
                if phase is not Phase.RUNNING:
                    break
        for asker in askers:
            asker.close()

    def __enter__(self) -> "Comparison":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=45.0)


def versions_of(config: GatewayConfig) -> CanaryVersions:
    """The rollout of a configuration, taken up where its journal says."""
    told = config.rollout
    assert told is not None
    rule = CanaryRule(
        steps=told.steps,
        least_requests=told.least_requests,
        alpha=told.alpha,
        late_ttft_s=told.late_ttft_s,
        late_tpot_s=told.late_tpot_s,
        disagreement=told.disagreement,
    )
    journal = Journal(Path(told.journal).expanduser())
    rollout = Rollout(journal, rule, versions=(told.stable, told.canary), set_shares=lambda shares: None)  # noqa: ARG005
    return CanaryVersions(rollout, salt=f"{told.stable} {told.canary}")


def comparison_of(config: GatewayConfig, versions: CanaryVersions) -> Comparison | None:
    """What compares answers, where questions were named."""
    told = config.rollout
    assert told is not None
    if told.gold is None:
        return None
    urls = {u.version: u.url for u in config.upstreams}
    return Comparison(
        versions,
        (urls[told.stable], urls[told.canary]),
        told.model,
        prompts_of(Path(told.gold)),
        every_s=told.gold_every_s,
    )


def prompts_of(file: Path) -> list[str]:
    """The prompts of a file of JSON lines; raises ``InvalidSpec`` with the line."""
    try:
        lines = file.expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSpec(f"{file} cannot be read: {error}.", remedy="Name a file of JSON lines.") from error
    made = []
    for number, line in enumerate(lines, start=1):
        try:
            told = orjson.loads(line)
            if not isinstance(told, Mapping) or not isinstance(told.get("prompt"), str) or not told["prompt"]:
                raise ValueError("no prompt")
        except ValueError as error:
            raise InvalidSpec(
                f"Line {number} of {file}: {error}.", remedy='Write lines like {"prompt": "The capital of"}.'
            ) from error
        made.append(told["prompt"])
    if not made:
        raise InvalidSpec(f"{file} has no prompts.", remedy="Write at least one line.")
    return made
