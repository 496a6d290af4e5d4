"""Finished parts of a tuning run, kept in its folder so that none is measured twice."""

import hashlib
from dataclasses import dataclass

from workbench.engines.vllm_settings import VllmSetting
from workbench.questions.tuning.rows import RequestTimes, TuneTrial


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What a launch of a setting left behind."""

    startup_s: float
    """Of all its launches together."""
    n: int = 1
    failure: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """A closed loop on the default setting."""

    users: int
    times: RequestTimes
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredLoad:
    """A trial with its requests."""

    trial: TuneTrial
    times: RequestTimes
    output_tokens_per_s: float


def key_of(setting: VllmSetting) -> str:
    """Return a name for files, different for each setting."""
    return hashlib.sha256(repr(setting).encode()).hexdigest()[:10]
