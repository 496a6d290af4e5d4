"""The JSON of answers in the OpenAI interface."""

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from aiohttp import web

from workbench.core.ports import TokenEvent
from workbench.engines.openai_requests import Asked, StreamOptions


class Reply:
    """The JSON around the text of one request; each of its prompts is a choice."""

    def __init__(self, asked: Asked, *, name: str, chat: bool) -> None:
        self.chat = chat
        options = asked.stream_options or StreamOptions()
        self.usage_at_end = bool(options.include_usage)
        self._each = bool(options.continuous_usage_stats)
        self._ids = bool(asked.return_token_ids)
        kind = ("chat.completion" if chat else "text_completion") + (".chunk" if chat and asked.stream else "")
        prefix = "chatcmpl" if chat else "cmpl"
        self._frame = {"id": f"{prefix}-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": name}
        self._begun: set[int] = set()

    def chunk(self, index: int, event: TokenEvent) -> bytes:
        """Return an event of a stream."""
        choice: dict[str, object] = {"index": index, "finish_reason": event.finish_reason}
        if self.chat:
            role = {} if index in self._begun else {"role": "assistant"}
            choice["delta"] = role | {"content": event.text}
        else:
            choice["text"] = event.text
        self._begun.add(index)
        if self._ids:
            choice["token_ids"] = list(event.token_ids)
        message = {**self._frame, "choices": [choice]} | ({"usage": usage([event])} if self._each else {})
        return _event(message)

    def usage_chunk(self, last: Sequence[TokenEvent]) -> bytes:
        """Return the event after the last token, with the tokens of all choices."""
        return _event({**self._frame, "choices": [], "usage": usage(last)})

    def whole(self, answers: Sequence[Sequence[TokenEvent]]) -> dict[str, object]:
        """Return an answer that is not streamed."""
        choices = [self._choice(i, events) for i, events in enumerate(answers)]
        return {**self._frame, "choices": choices, "usage": usage([events[-1] for events in answers])}

    def _choice(self, index: int, events: Sequence[TokenEvent]) -> dict[str, object]:
        text = "".join(e.text for e in events)
        choice: dict[str, object] = {"index": index, "finish_reason": events[-1].finish_reason, "logprobs": None}
        choice |= {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        if self._ids:
            choice["token_ids"] = [i for e in events for i in e.token_ids]
        return choice


def _event(message: Mapping[str, object]) -> bytes:
    return b"data: " + json.dumps(message).encode() + b"\n\n"


def usage(last: Sequence[TokenEvent]) -> dict[str, int]:
    """Return the tokens of answers, from the last event of each."""
    n_in, n_out = sum(e.n_input_tokens or 0 for e in last), sum(e.n_output_tokens or 0 for e in last)
    return {"prompt_tokens": n_in, "completion_tokens": n_out, "total_tokens": n_in + n_out}


def error_body(status: int, text: str, field: str | None = None) -> dict[str, object]:
    """Return an error as vLLM words it."""
    kind = {400: "BadRequestError", 404: "NotFoundError"}.get(status, HTTPStatus(status).phrase.replace(" ", ""))
    return {"error": {"message": text, "type": kind, "param": field, "code": status}}


def error_reply(status: int, text: str, field: str | None = None) -> web.Response:
    """Return the response to a request that is refused."""
    return web.json_response(error_body(status, text, field), status=status)


def error_event(status: int, text: str) -> bytes:
    """Return an error inside a stream."""
    return _event(error_body(status, text))
