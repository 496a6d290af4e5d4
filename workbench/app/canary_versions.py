"""A rollout as the gateway's choice of versions, with a thread that compares the next tokens of both versions."""

import random
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from itertools import cycle
from pathlib import Path
from typing import Any

from workbench.core.errors import InvalidSpec, WorkbenchError
from workbench.gateway.config import GatewayConfig
from workbench.gateway.versions import Versions
from workbench.load.gold_set import read_lines
from workbench.load.probe import Asker
from workbench.load.spec import LoadSpec
from workbench.release.assignment import Assigner, Assignment, Ending
from workbench.release.canary import Rollout, RolloutState
from workbench.release.journal import Journal, Phase
from workbench.release.rule import CanaryRule


class CanaryVersions(Versions):
    """Implements the gateway's ``Versions`` with a rollout; it can be used from several threads.

    Args:
        assigner: Assigns requests to the versions of the rollout.
        silence_s: Time without any content after which a request counts as failed.
    """

    def __init__(self, assigner: Assigner, *, silence_s: float = Versions.silence_s) -> None:
        self._assigner, self._rollout, self._lock = assigner, assigner.rollout, threading.Lock()
        self.silence_s = silence_s
        self.patience_s = self._rollout.rule.late_ttft_s or Versions.patience_s

    def assign(self, user: str | None) -> Assignment:
        """Return the version that serves a request of a user, where one is known."""
        with self._lock:
            return self._assigner.assign(user)

    def record(self, assignment: Assignment, ending: Ending) -> None:
        """Record how a request ended."""
        with self._lock:
            self._assigner.record(assignment, ending)

    def record_answer(self, *, agrees: bool, is_answered: bool = True) -> Phase:
        """Record how the new version answered a prompt that the old one answered; return the phase after it."""
        with self._lock:
            return self._rollout.answer(agrees=agrees, is_answered=is_answered)

    def state(self) -> RolloutState:
        """Return the state of the rollout."""
        with self._lock:
            return self._rollout.state


class Comparison:
    """Asks both versions for the next token of the same texts, again and again, until the block ends or the rollout has.

    One token and not a whole answer: after the first difference everything differs, also between two ways to round the same model.

    Args:
        versions: Are settings.
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
        askers, prompts = [Asker(spec) for spec in self._specs], cycle(self._prompts)
        while not self._over.wait(self._every_s):
            prompt = next(prompts)
            old, new = (_next_token(asker, prompt) for asker in askers)
            if old is not None:
                phase = self._versions.record_answer(agrees=old == new, is_answered=new is not None)
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


def _next_token(asker: Asker, prompt: str) -> str | None:
    """Return the next token after a prompt; None where the server does not answer."""
    with suppress(WorkbenchError, OSError):
        return asker.answered(prompt, max_tokens=1).text
    return None


def versions_of(config: GatewayConfig) -> CanaryVersions:
    """Return the rollout of a configuration, resumed from its journal."""
    settings = config.rollout
    assert settings is not None
    rule = CanaryRule(**{f.name: getattr(settings, f.name) for f in fields(CanaryRule)})
    journal = Journal(Path(settings.journal).expanduser())
    rollout = Rollout(journal, rule, versions=(settings.stable, settings.canary), set_shares=lambda shares: None)  # noqa: ARG005
    assigner = Assigner(rollout, salt=f"{settings.stable} {settings.canary}", rng=random.Random())
    return CanaryVersions(assigner, silence_s=settings.silence_s)


def comparison_of(config: GatewayConfig, versions: CanaryVersions) -> Comparison | None:
    """Return the comparison of answers; None where no file of prompts is named."""
    settings = config.rollout
    assert settings is not None
    if settings.gold is None:
        return None
    by_version, prompts = {u.version: u.url for u in config.upstreams}, prompts_of(Path(settings.gold))
    urls = by_version[settings.stable], by_version[settings.canary]
    return Comparison(versions, urls, settings.model, prompts, every_s=settings.gold_every_s)


def prompts_of(file: Path) -> list[str]:
    """Return the prompts of a file of JSON lines; raises ``InvalidSpec`` with the line that is wrong."""
    return read_lines(file, _prompt, what="prompts", example='{"prompt": "The capital of"}')


def _prompt(line: Any) -> str:
    if not isinstance(line, Mapping) or not isinstance(line.get("prompt"), str) or not line["prompt"]:
        raise ValueError("no prompt")
    return str(line["prompt"])
