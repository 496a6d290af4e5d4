"""Variants of requests on one server, asked one after the other in rounds, and what a round says of each."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.core.errors import InvalidSpec, NotAvailable, system_message
from workbench.core.language import gettext
from workbench.core.statistics import Interval, median_over_rounds
from workbench.load.ask import Asker
from workbench.load.crowd import Call, Outcome
from workbench.load.prompts import PLAIN_WORDS, open_tokenizer, prompt_text, single_token_words
from workbench.load.spec import LoadSpec

PATIENCE_S = 120.0
ASK_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTimes:
    """Requests of one variant in one round, in the order in which they were due; None: not answered."""

    ttft_s: tuple[float | None, ...]
    """From when a request was due."""
    tpot_s: tuple[float | None, ...]
    """None for an answer of one token too."""
    output_tokens: int
    """Of all answers."""
    span_s: float
    """From the first due time to the last end."""
    failure: str | None = None
    """Why the first request failed that did."""

    @property
    def n_failed(self) -> int:
        """Return how many requests were not answered."""
        return sum(t is None for t in self.ttft_s)


def times_of(outcomes: Sequence[Outcome]) -> RoundTimes:
    """Return the times of a round from what became of its requests."""
    answered = [o for o in outcomes if o.error is None]
    first_due = min((o.due_s for o in outcomes), default=0.0)
    return RoundTimes(
        ttft_s=tuple(None if o.error else o.ttft_s for o in outcomes),
        tpot_s=tuple(None if o.error else o.tpot_s for o in outcomes),
        output_tokens=sum(o.n_tokens for o in answered),
        span_s=max((o.end_s or 0.0 for o in answered), default=first_due) - first_due,
        failure=next((o.error for o in outcomes if o.error), None),
    )


def median_ttft_s(times: RoundTimes) -> float | None:
    """Return the median TTFT of a round; None where nothing was answered."""
    return _median(times.ttft_s)


def median_tpot_s(times: RoundTimes) -> float | None:
    """Return the median TPOT of a round; None where nothing was answered."""
    return _median(times.tpot_s)


def tokens_per_s(times: RoundTimes) -> float | None:
    """Return the output tokens per second of a round; None where nothing was answered."""
    return times.output_tokens / times.span_s if times.span_s > 0 and times.output_tokens else None


def quantile_s(values: Sequence[float | None], q: float) -> float | None:
    """Return a quantile of the times of answered requests; None where there is none."""
    known = [v for v in values if v is not None]
    return float(np.quantile(known, q)) if known else None


def _median(values: Sequence[float | None]) -> float | None:
    return quantile_s(values, 0.5)


def ratio_over(
    own: Sequence[RoundTimes], base: Sequence[RoundTimes], figure: Callable[[RoundTimes], float | None]
) -> Interval | None:
    """Return a figure of a variant over that of another in the same rounds, with its 95 % interval; None where no round has both."""
    pairs = [(figure(a), figure(b)) for a, b in zip(own, base, strict=True)]
    ratios = [a / b for a, b in pairs if a is not None and b]
    return median_over_rounds(np.array(ratios)) if ratios else None


def poisson_due_s(n: int, *, rate_per_s: float, rng: random.Random) -> list[float]:
    """Return the due times of ``n`` requests of a Poisson process, the first at once."""
    due = [0.0]
    while len(due) < n:
        due.append(due[-1] + rng.expovariate(rate_per_s))
    return due


def calls_of(due_s: Sequence[float], bodies: Sequence[Mapping[str, object]]) -> list[Call]:
    """Return a call for each due time and body."""
    return [Call(client="", due_s=at, body=body) for at, body in zip(due_s, bodies, strict=True)]


def prompt_words(model: str) -> list[str]:
    """Return words that prompts are made of: of one token each where the model's folder has a tokenizer."""
    file = Path(model) / "tokenizer.json"
    return single_token_words(tokenizer) if file.exists() and (tokenizer := open_tokenizer(str(file))) else PLAIN_WORDS


def prompts_of(words: Sequence[str], n: int, *, n_tokens: int, rng: random.Random) -> list[str]:
    """Return prompts of random words, which share no beginning."""
    return [prompt_text(words, n_tokens, rng=rng) for _ in range(n)]


def read_prompts(path: str) -> list[str]:
    """Return the prompts of a file, one a line; raises ``InvalidSpec`` for a file without any."""
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InvalidSpec(
            gettext("The prompts in {path} cannot be read: {error}.").format(path=path, error=system_message(error)),
            remedy=gettext("Name a UTF-8 text file."),
        ) from error
    if not (found := [line for line in lines if line.strip()]):
        raise InvalidSpec(
            gettext("{path} holds no prompts.").format(path=path), remedy=gettext("Write one prompt a line.")
        )
    return found


def require_answer(url: str, body: Mapping[str, object], *, what: str) -> None:
    """Raise ``NotAvailable`` where a server refuses a request, with its own message.

    Args:
        url: Of the server.
        body: Of a completion.
        what: The server is asked for, in words.
    """
    try:
        with Asker(LoadSpec(url=url, model="-"), timeout_s=ASK_S) as asker:
            reply = asker.ask("POST", asker.address.versioned("/completions"), {**body, "stream": False})
            message = asker.redacted(reply.message())
    except (OSError, ValueError) as error:
        raise NotAvailable(
            gettext("No server answers at {url}: {error}.").format(url=url, error=system_message(error)),
            remedy=gettext("Start one, or correct the URL."),
        ) from error
    if reply.status != 200:
        raise NotAvailable(
            gettext("The server refuses {what} (HTTP {status}: {message}).").format(
                what=what, status=reply.status, message=message.rstrip(".")
            ),
            remedy=gettext("Choose another engine, or change what its message names."),
        )
