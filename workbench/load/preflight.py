"""One small request before a load tells whether the server answers, and which fields it knows."""

import http.client
import socket
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

import orjson

from workbench.core.errors import WorkbenchError
from workbench.core.load import LoadSpec
from workbench.load.process import api_headers, strip
from workbench.load.prompts import body

OPTIONAL = (("stream_options.continuous_usage_stats",), ("ignore_eos",), ("stream_options",))
PROBE_TIMEOUT_S = 60.0
FLAKY_TRIES = 5


class ServerProblem(WorkbenchError):
    """The server cannot be measured as asked."""


def known_fields(spec: LoadSpec) -> tuple[str, ...]:
    """Fields that this server refuses, found by asking for two tokens.

    Raises:
        ServerProblem: nobody answers, the model is unknown, a key is missing, or anything else but an answer.
    """
    without: tuple[str, ...] = ()
    for more in ((), *OPTIONAL):
        without = (*without, *more)
        try:
            _ask_again(spec, without)
            return without
        except urllib.error.HTTPError as error:
            text = _message(error)
            if error.code not in {400, 422} or more == OPTIONAL[-1]:
                raise _problem(spec, error.code, text) from error
        except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
            raise _unreachable(spec, error) from error
    raise AssertionError("the last set of fields either works or raises")


def _ask_again(spec: LoadSpec, without: Sequence[str]) -> None:
    """Ask until a server that fails some requests answers one: how many it fails is for the load to find."""
    for _ in range(FLAKY_TRIES - 1):
        try:
            _ask(spec, without)
            return
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:
                raise
            error.close()
    _ask(spec, without)


def _open(request: urllib.request.Request, timeout_s: float) -> Any:
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout_s)


def _ask(spec: LoadSpec, without: Sequence[str]) -> None:
    asked = body(spec, "Hello there", output_tokens=2)
    strip(asked, without)
    path = "/v1/chat/completions" if spec.endpoint == "chat" else "/v1/completions"
    headers = {"Content-Type": "application/json", **api_headers(spec)}
    request = urllib.request.Request(spec.base_url + path, orjson.dumps(asked), headers)  # noqa: S310 - checked by the spec
    with _open(request, min(spec.timeout_s, PROBE_TIMEOUT_S)) as answer:
        answer.read()


def _message(error: urllib.error.HTTPError) -> str:
    try:
        data = orjson.loads(error.read())
        inner = data.get("error", data)
        return str(inner.get("message", inner) if isinstance(inner, dict) else inner)[:300]
    except (orjson.JSONDecodeError, OSError, AttributeError):
        return str(error.reason)


def served_models(spec: LoadSpec) -> list[str]:
    """Names that ``/v1/models`` lists; empty when it cannot be read."""
    request = urllib.request.Request(spec.base_url + "/v1/models", headers=api_headers(spec))  # noqa: S310
    try:
        with _open(request, 5.0) as answer:
            return [str(m["id"]) for m in orjson.loads(answer.read())["data"]]
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return []


def _problem(spec: LoadSpec, status: int, text: str) -> ServerProblem:
    if status in {401, 403}:
        return ServerProblem(
            f"{spec.base_url} refuses the request without a valid key (HTTP {status}: {text}).",
            remedy=f"Put the key into the environment variable {spec.api_key_env}.",
        )
    models = served_models(spec)
    if models and spec.model not in models:
        return ServerProblem(
            f"{spec.base_url} does not serve the model {spec.model!r} (HTTP {status}).",
            remedy=f"It serves: {', '.join(models)}.",
        )
    if status == 404:
        return ServerProblem(
            f"{spec.base_url} has no OpenAI-compatible {spec.endpoint} route (HTTP 404: {text}).",
            remedy="Check the URL, and try the other endpoint.",
        )
    return ServerProblem(f"{spec.base_url} answered HTTP {status}: {text}.", remedy="The server's log has the details.")


def _unreachable(spec: LoadSpec, error: Exception) -> ServerProblem:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError | socket.timeout):
        return ServerProblem(
            f"{spec.base_url} took the request but did not answer within {min(spec.timeout_s, PROBE_TIMEOUT_S):g} s.",
            remedy="Check the server's log, or raise the timeout.",
        )
    if isinstance(reason, ConnectionResetError | http.client.HTTPException):
        return ServerProblem(
            f"{spec.base_url} closed the connection before its answer was complete.",
            remedy="The server's log should say why.",
        )
    return ServerProblem(
        f"No server answers at {spec.base_url}: {getattr(reason, 'strerror', None) or reason}.",
        remedy="Start one (`workbench serve MODEL`), or correct the URL.",
    )
