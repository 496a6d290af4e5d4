"""Sleep mode of a vLLM server: its memory on the device is given back while the process stays (docs.vllm.ai, features/sleep_mode).

Level 1 keeps the weights in the memory of the host, level 2 reads them again from the files. The endpoints are there where vLLM was launched
with ``SLEEP_FLAGS`` and ``SLEEP_VARIABLES``.
"""

import http.client
import urllib.error
import urllib.request

import orjson

from workbench.core.errors import WorkbenchError, system_reason
from workbench.core.language import gettext, gettext_noop

SLEEP_FLAGS = ("--enable-sleep-mode",)
SLEEP_VARIABLES = {"VLLM_SERVER_DEV_MODE": "1"}
MOST_S = 300.0
"""Within which a server must fall asleep, or wake up."""
SEE_LOG = gettext_noop(
    "See its log; where memory ran out, leave more of the device free, or give the server less with its flags."
)


class SleepFailed(WorkbenchError):
    """A server does not fall asleep, or does not wake up."""


def fall_asleep(url: str, *, level: int, timeout_s: float = MOST_S) -> None:
    """Put a server to sleep; returns when it has given its memory back, and raises ``SleepFailed`` where it has no such mode."""
    _post(url, f"/sleep?level={level}", timeout_s=timeout_s)
    if not is_asleep(url, timeout_s=timeout_s):
        cause = gettext("{url} says after /sleep that it is awake.")
        raise SleepFailed(cause.format(url=url), remedy=gettext("See its log."))


def wake_up(url: str, *, level: int, timeout_s: float = MOST_S) -> None:
    """Wake a server from the level that it sleeps at; returns when it can answer.

    Raises:
        SleepFailed: It does not wake up, as where the memory of the device does not suffice any more.
    """
    if level == 1:
        _post(url, "/wake_up", timeout_s=timeout_s)
    else:
        _post(url, "/wake_up?tags=weights", timeout_s=timeout_s)
        reload_weights = {"method": "reload_weights"}
        _post(url, "/collective_rpc", reload_weights, timeout_s=timeout_s)
        _post(url, "/wake_up?tags=kv_cache", timeout_s=timeout_s)
        _post(url, "/reset_prefix_cache", timeout_s=timeout_s)
    if is_asleep(url, timeout_s=timeout_s):
        cause = gettext("{url} still sleeps after it was woken.")
        raise SleepFailed(cause.format(url=url), remedy=gettext("See its log."))


def is_asleep(url: str, *, timeout_s: float = MOST_S) -> bool:
    """Return whether a server sleeps; raises ``SleepFailed`` where it cannot say so."""
    answer = _asked(urllib.request.Request(url + "/is_sleeping"), timeout_s=timeout_s)  # noqa: S310
    try:
        return bool(orjson.loads(answer)["is_sleeping"])
    except (ValueError, KeyError, TypeError) as error:
        cause = gettext("{url}/is_sleeping gives no answer of vLLM's.")
        raise SleepFailed(cause.format(url=url), remedy=gettext("Check what answers there.")) from error


def _post(url: str, path: str, body: object = None, *, timeout_s: float) -> None:
    data = b"" if body is None else orjson.dumps(body)
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"}, method="POST")  # noqa: S310
    _asked(request, timeout_s=timeout_s)


def _asked(request: urllib.request.Request, *, timeout_s: float) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        if error.code in {404, 405}:
            raise SleepFailed(
                gettext("The server has no endpoint {path}.").format(path=request.selector.partition("?")[0]),
                remedy=gettext("Launch vLLM with {flags} and the variable {variable}.").format(
                    flags=" ".join(SLEEP_FLAGS), variable="VLLM_SERVER_DEV_MODE=1"
                ),
            ) from error
        said = error.read()[:200].decode(errors="replace").strip()
        raise SleepFailed(
            gettext("The server refuses {path}: HTTP {code} {said}").format(
                path=request.selector, code=error.code, said=said
            ),
            remedy=gettext(SEE_LOG),
        ) from error
    except (OSError, http.client.HTTPException) as error:
        inner = error.reason if isinstance(error, urllib.error.URLError) else error
        reason = system_reason(inner) if isinstance(inner, OSError) else str(inner)
        raise SleepFailed(
            gettext("The server does not answer {path}: {reason}.").format(path=request.selector, reason=reason),
            remedy=gettext(SEE_LOG),
        ) from error
