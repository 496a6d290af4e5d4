"""Any OpenAI-compatible server as an engine."""

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping

import msgspec
import orjson

from workbench.core.errors import WorkbenchError, system_message
from workbench.core.language import gettext
from workbench.core.ports import Generation, TokenEvent


class EngineFailed(WorkbenchError):
    """An engine did not generate."""


class EngineStopped(EngineFailed):
    """An engine that answers no request any more."""


class _Choice(msgspec.Struct):
    text: str | None = None
    token_ids: list[int] | None = None
    finish_reason: object = None


class _Usage(msgspec.Struct):
    prompt_tokens: float | None = None  # some servers count in floats
    completion_tokens: float | None = None


class _Event(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: object = None


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


class _Version(msgspec.Struct):
    version: str | None = None


class HttpEngine:
    """Streams completions of a model behind a base URL with or without ``/v1``; ``timeout_s`` is the longest silence.

    ``api_key_env`` is the variable with the key, if one is needed; it is read at each request and never kept.
    """

    def __init__(self, url: str, model: str, *, api_key_env: str = "OPENAI_API_KEY", timeout_s: float = 120.0) -> None:
        self.url, self.model = url.rstrip("/").removesuffix("/v1"), model
        self._api_key_env, self._timeout_s = api_key_env, timeout_s

    def generate(self, wish: Generation) -> Iterator[TokenEvent]:
        """Yield the events of the stream; raises ``EngineFailed`` when the server does not answer properly."""
        body = {
            "model": self.model,
            "prompt": wish.prompt if isinstance(wish.prompt, str) else list(wish.prompt),
            "max_tokens": wish.max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
            "return_token_ids": True,
            **({"ignore_eos": True} if wish.ignore_eos else {}),
        }
        try:
            with self._open("/v1/completions", orjson.dumps(body)) as answer:
                for line in answer:
                    if line.startswith(b"data: ") and line.strip() != b"data: [DONE]":
                        event = _event(msgspec.json.decode(line[6:], type=_Event))
                        if event is not None:
                            yield event
        except urllib.error.HTTPError as error:
            raise EngineFailed(
                gettext("{url} answered HTTP {code}: {text}").format(
                    url=self.url, code=error.code, text=error.read()[:300].decode(errors="replace")
                ),
                remedy=gettext("Check the model's name and the server's log."),
            ) from error
        except msgspec.ValidationError as error:
            raise EngineFailed(
                gettext("{url} sent an event that is none of OpenAI's: {error}.").format(url=self.url, error=error),
                remedy=gettext("Check what answers there."),
            ) from error
        except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
            raise EngineFailed(
                gettext("{url} broke off: {error}.").format(url=self.url, error=system_message(error)),
                remedy=gettext("Check that the server still runs."),
            ) from error

    def _open(self, path: str, body: bytes | None = None) -> http.client.HTTPResponse:
        key = os.environ.get(self._api_key_env, "").strip()
        if not key.isprintable():
            raise EngineFailed(
                gettext(
                    "The key in {variable} holds a line break or another character that no HTTP header can carry."
                ).format(variable=self._api_key_env),
                remedy=gettext("Set {variable} again.").format(variable=self._api_key_env),
            )
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        request = urllib.request.Request(self.url + path, body, headers)  # noqa: S310 - the reader names the URL
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        answer: http.client.HTTPResponse = opener.open(request, timeout=self._timeout_s)
        return answer

    def models(self) -> list[str]:
        """Return the names of the models that the server lists; raises ``EngineFailed`` when it lists none."""
        try:
            with self._open("/v1/models") as answer:
                names = [m.id for m in msgspec.json.decode(answer.read(), type=_Models).data]
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise EngineFailed(
                gettext("{url}/v1/models gives no list of models: {error}.").format(
                    url=self.url, error=system_message(error)
                ),
                remedy=gettext("Check the URL, or name the model."),
            ) from error
        if not names:
            raise EngineFailed(
                gettext("{url} serves no model.").format(url=self.url), remedy=gettext("Load one into it.")
            )
        return names

    def describe(self) -> Mapping[str, str | None]:
        """Return engine, URL, model, and the version of ``/version``."""
        try:
            with self._open("/version") as answer:
                version = msgspec.json.decode(answer.read(), type=_Version).version
        except (OSError, msgspec.DecodeError):
            version = None
        return {"engine": "http", "url": self.url, "model": self.model, "version": version}

    def close(self) -> None:
        """Do nothing: the engine holds no connection."""


def _event(message: _Event) -> TokenEvent | None:
    if message.error:
        raise EngineFailed(
            gettext("The server reports: {error}").format(error=message.error), remedy=gettext("See its log.")
        )
    if not message.choices:
        return None
    choice, usage = message.choices[0], message.usage or _Usage()
    is_length = choice.finish_reason == "length"
    return TokenEvent(
        at_s=time.perf_counter(),
        text=choice.text or "",
        token_ids=tuple(choice.token_ids or ()),
        n_input_tokens=None if usage.prompt_tokens is None else int(usage.prompt_tokens),
        n_output_tokens=None if usage.completion_tokens is None else int(usage.completion_tokens),
        finish_reason="length" if is_length else "stop" if choice.finish_reason else None,
    )
