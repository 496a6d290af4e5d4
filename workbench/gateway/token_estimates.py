"""Tokens of requests whose usage the server did not report: its own tokenizer is asked, and else they are estimated from earlier answers."""

from collections.abc import Mapping
from dataclasses import dataclass

from workbench.core.rows import Json
from workbench.gateway.endpoints import CHAT, COMPLETION, EMBEDDING
from workbench.gateway.upstreams import Upstreams
from workbench.gateway.usage import Usage, UsageMeter
from workbench.gateway.validation import CheckedRequest

FIRST_BYTES_PER_TOKEN = 4.0
WEIGHT = 0.1
"""Weight of the newest answer in the running means."""
TOKENIZED = ("model", "messages", "tools", "chat_template", "chat_template_kwargs", "add_generation_prompt")
"""Fields of a request on which the number of its prompt tokens depends."""


@dataclass(slots=True)
class _Means:
    bytes_per_token: float = FIRST_BYTES_PER_TOKEN
    tokens_per_s: float | None = None
    """Answer tokens per second of a whole answer; None before one was seen."""


class TokenEstimates:
    """Tokens of prompt and answer, from the best source there is."""

    def __init__(self, upstreams: Upstreams) -> None:
        self._upstreams = upstreams
        self._means: dict[str | None, _Means] = {}

    def learn(self, model: str | None, usage: Usage, meter: UsageMeter, *, took_s: float | None) -> None:
        """Learn from an answer whose usage is known; ``took_s`` is the duration of a whole answer."""
        if not usage.answer:
            return
        means = self._means.setdefault(model, _Means())
        if n_bytes := sum(len(t.encode("utf-8", "replace")) for t in meter.texts):
            means.bytes_per_token += WEIGHT * (n_bytes / usage.answer - means.bytes_per_token)
        if took_s:
            rate = usage.answer / took_s
            known = means.tokens_per_s
            means.tokens_per_s = rate if known is None else known + WEIGHT * (rate - known)
        if len(self._means) > 1000:
            del self._means[next(iter(self._means))]

    async def completed(
        self, asked: CheckedRequest, meter: UsageMeter, *, version: str | None, unanswered_s: float | None
    ) -> Usage:
        """Return the usage of a request, completed where the server did not report it.

        ``unanswered_s`` is how long a server had computed a whole answer when its client left; None where the answer was delivered.
        """
        usage, prompt, answer = meter.usage, meter.usage.prompt, meter.usage.answer
        if prompt is None:
            prompt = await self._prompt(asked, version)
        if not asked.n_answer_tokens:
            answer = 0
        elif unanswered_s is not None and usage.answer is None:
            rate = self._of(asked).tokens_per_s
            most = asked.n_answer_tokens
            answer = most if rate is None else min(most, round(rate * unanswered_s))
        elif answer is None:
            answer = await self._answer(asked, meter, version)
        return Usage(prompt=prompt, answer=answer)

    def _of(self, asked: CheckedRequest) -> _Means:
        return self._means.get(asked.request.model, _Means())

    async def _prompt(self, asked: CheckedRequest, version: str | None) -> int:
        if not asked.endpoint.is_charged:
            return 0
        body: dict[str, Json] = {}
        if asked.endpoint is CHAT:
            body = {name: asked.body[name] for name in TOKENIZED if name in asked.body}
        elif asked.endpoint in (COMPLETION, EMBEDDING) and len(asked.texts) == 1:
            body = {"model": asked.request.model, "prompt": asked.texts[0]}
        n = await self._upstreams.n_tokens(body, version=version) if body else None
        return asked.n_prompt_tokens if n is None else n

    async def _answer(self, asked: CheckedRequest, meter: UsageMeter, version: str | None) -> int:
        total = 0
        for text in meter.texts:
            body: Mapping[str, Json] = {"model": asked.request.model, "prompt": text, "add_special_tokens": False}
            n = await self._upstreams.n_tokens(body, version=version)
            if n is None:
                estimate = sum(len(t.encode("utf-8", "replace")) for t in meter.texts) / self._of(asked).bytes_per_token
                return max(meter.n_pieces, round(estimate))
            total += n
        return total
