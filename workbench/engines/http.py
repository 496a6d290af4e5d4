"""Any OpenAI-compatible server as an engine."""

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from workbench.core.errors import WorkbenchError
from workbench.core.ports import Generation, TokenEvent


class EngineFailed(WorkbenchError):
    """An engine did not generate."""


class HttpEngine:
    """Streams completions of a model behind a URL.

    Args:
        url: Base URL with or without ``/v1``.
        model: Name under which it is served.
        api_key_env: Variable with the key, if one is needed; read at each request and never kept.
        timeout_s: Longest silence.
    """

    def __init__(self, url: str, model: str, *, api_key_env: str = "OPENAI_API_KEY", timeout_s: float = 120.0) -> None:
        self.url, self.model = url.rstrip("/").removesuffix("/v1"), model
        self._api_key_env, self._timeout_s = api_key_env, timeout_s

    def generate(self, wish: Generation) -> Iterator[TokenEvent]:
        """Events of the stream; raises ``EngineFailed`` when the server does not answer properly."""
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
                        event = _event(orjson.loads(line[6:]))
                        if event is not None:
                            yield event
        except urllib.error.HTTPError as error:
            raise EngineFailed(
                f"{self.url} answered HTTP {error.code}: {error.read()[:300].decode(errors='replace')}",
                remedy="Check the model's name and the server's log.",
            ) from error
        except (OSError, http.client.HTTPException, orjson.JSONDecodeError) as error:
            raise EngineFailed(f"{self.url} broke off: {error}.", remedy="Check that the server still runs.") from error

    def _open(self, path: str, body: bytes | None = None) -> Any:
        key = os.environ.get(self._api_key_env, "")
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        request = urllib.request.Request(self.url + path, body, headers)  # noqa: S310 - the reader names the URL
        return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=self._timeout_s)

    def models(self) -> list[str]:
        """Names of the models that the server lists; raises ``EngineFailed`` when it lists none."""
        try:
            with self._open("/v1/models") as answer:
                names = [str(m["id"]) for m in orjson.loads(answer.read())["data"]]
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            raise EngineFailed(
                f"{self.url}/v1/models gives no list of models: {error}.", remedy="Check the URL, or name the model."
            ) from error
        if not names:
            raise EngineFailed(f"{self.url} serves no model.", remedy="Load one into it.")
        return names

    def describe(self) -> Mapping[str, Any]:
        """What ``/version`` and the URL tell."""
        try:
            with self._open("/version") as answer:
                version = orjson.loads(answer.read()).get("version")
        except (OSError, orjson.JSONDecodeError, AttributeError):
            version = None
        return {"engine": "http", "url": self.url, "model": self.model, "version": version}

    def close(self) -> None:
        """Nothing is held."""


def _event(message: Mapping[str, Any]) -> TokenEvent | None:
    choices, usage = message.get("choices") or [], message.get("usage") or {}
    if message.get("error"):
        raise EngineFailed(f"The server reports: {message['error']}", remedy="See its log.")
    if not choices:
        return None
    choice = choices[0]
    return TokenEvent(
        at_s=time.perf_counter(),
        text=choice.get("text") or "",
        token_ids=tuple(choice.get("token_ids") or ()),
        n_input_tokens=usage.get("prompt_tokens"),
        n_output_tokens=usage.get("completion_tokens"),
        finish_reason=choice.get("finish_reason"),
    )
