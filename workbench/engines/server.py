"""Servers that the workbench starts and ends: found again after a crash, and never left behind unseen."""

import ctypes
import json
import os
import random
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import psutil

from workbench.core.errors import WorkbenchError
from workbench.core.language import gettext

STOP_GRACE_S = 5.0
SERVER_PORTS = range(20_000, 30_000)
"""Below the ports that Linux gives to whoever asks for any, and to every connection."""
PR_SET_PDEATHSIG = 1  # prctl(2)
NOT_THE_CAUSE = ("Traceback", "raise ", "See root cause above")
"""In lines of a log that name an error: the last is what vLLM's server says after its engine's process has said why."""


class ServerFailed(WorkbenchError):
    """A server did not come up, or is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCard:
    """What is written down about a running server."""

    name: str
    engine: str
    model: str
    url: str
    pid: int
    created: float
    """Start time of the process, so that a reused pid is not taken for it."""
    command: tuple[str, ...]
    log: str


def free_port() -> int:
    """Return a TCP port that nobody listens on; none that the system itself gives away before the server has started."""
    for tried in (*random.SystemRandom().sample(SERVER_PORTS, 50), 0):
        with socket.socket() as s, suppress(OSError):
            s.bind(("127.0.0.1", tried))
            port: int = s.getsockname()[1]
            return port
    raise ServerFailed(
        gettext("No TCP port of this machine can be used."), remedy=gettext("Stop other servers, or allow sockets.")
    )


class ServerRoom:
    """The servers that were started under one folder."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "servers"

    def start(
        self,
        command: Sequence[str],
        *,
        engine: str,
        model: str,
        port: int,
        environment: Mapping[str, str],
        timeout_s: float,
        tell: Callable[[str], None],
        ends_with_us: bool = False,
    ) -> ServerCard:
        """Start a server in a session of its own, and return its card when ``/health`` answers.

        With ``ends_with_us`` the kernel ends it when this process is gone, also when that was killed (Linux).

        Raises:
            ServerFailed: the port is taken, the process ended, or the time is up; nothing is left running.
        """
        self.clean()
        _require_free(port)
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"{engine}-{port}"
        log = self._folder / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **environment},
                preexec_fn=_end_with_parent if ends_with_us else None,  # noqa: PLW1509 - one system call, no locks
            )
        card = ServerCard(
            name=name,
            engine=engine,
            model=model,
            url=f"http://127.0.0.1:{port}",
            pid=process.pid,
            created=psutil.Process(process.pid).create_time(),
            command=tuple(command),
            log=str(log),
        )
        (self._folder / f"{name}.json").write_text(json.dumps(asdict(card)))
        try:
            self._wait(card, process, timeout_s=timeout_s, tell=tell)
        except BaseException:
            self.stop(card)
            raise
        return card

    def _wait(
        self, card: ServerCard, process: subprocess.Popen[bytes], *, timeout_s: float, tell: Callable[[str], None]
    ) -> None:
        started = time.monotonic()
        reported_s = -1.0
        while time.monotonic() - started < timeout_s:
            if process.poll() is not None:
                raise ServerFailed(
                    gettext("{engine} ended with code {code} while starting: {error}").format(
                        engine=card.engine, code=process.returncode, error=last_error(Path(card.log))
                    ),
                    remedy=gettext("The whole log is {log}.").format(log=card.log),
                )
            if healthy(card.url):
                return
            waited = time.monotonic() - started
            if waited - reported_s >= 5:
                reported_s = waited
                tell(f"{card.engine} is starting, {waited:.0f} s")
            time.sleep(0.2)
        raise ServerFailed(
            gettext("{engine} did not answer within {seconds} s.").format(engine=card.engine, seconds=f"{timeout_s:g}"),
            remedy=gettext("Raise the limit; the log is {log}.").format(log=card.log),
        )

    def cards(self) -> list[ServerCard]:
        """Return the servers that still run."""
        found = [_read_card(path) for path in sorted(self._folder.glob("*.json"))]
        return [card for card in found if card is not None and _process(card) is not None]

    def get(self, name: str) -> ServerCard:
        """Return a running server by name; raises ``ServerFailed`` when there is none."""
        cards = {card.name: card for card in self.cards()}
        if name not in cards:
            raise ServerFailed(
                gettext("No server {name} runs.").format(name=repr(name)),
                remedy=gettext("Running: {names}.").format(names=", ".join(cards) or gettext("none")),
            )
        return cards[name]

    def stop(self, card: ServerCard) -> None:
        """End a server and all it started; returns when its processes are gone."""
        process = _process(card)
        family = [process, *process.children(recursive=True)] if process else []
        family += [p for p in _session_members(card.pid) if p not in family]
        _signal(card.pid, signal.SIGTERM)
        _, alive = psutil.wait_procs(family, timeout=STOP_GRACE_S)
        if alive:
            _signal(card.pid, signal.SIGKILL)
            for member in alive:
                with suppress(psutil.NoSuchProcess):
                    member.kill()
            psutil.wait_procs(alive, timeout=STOP_GRACE_S)
        (self._folder / f"{card.name}.json").unlink(missing_ok=True)

    def clean(self) -> list[str]:
        """End the processes that dead servers left behind, and return the names of those servers."""
        cleaned = []
        for path in sorted(self._folder.glob("*.json")):
            card = _read_card(path)
            if card is None:
                path.unlink(missing_ok=True)
            elif _process(card) is None:
                self.stop(card)
                cleaned.append(card.name)
        return cleaned


def healthy(url: str) -> bool:
    """Return whether ``/health`` answers with 200."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url + "/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def last_error(log: Path) -> str:
    """Return the line of a log that most likely says why its program ended."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line and not any(text in line for text in NOT_THE_CAUSE)]
    return (errors or lines or ["the log is empty"])[-1][-400:]


def _read_card(path: Path) -> ServerCard | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=ServerCard)
    except (OSError, msgspec.DecodeError):
        return None


def _process(card: ServerCard) -> psutil.Process | None:
    try:
        process = psutil.Process(card.pid)
        same = abs(process.create_time() - card.created) < 1.0
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _session_members(session: int) -> list[psutil.Process]:
    members = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == session:
                members.append(process)
    return members


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


def _end_with_parent() -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))


def _require_free(port: int) -> None:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError as error:
            raise ServerFailed(
                gettext("Port {port} is taken.").format(port=port), remedy=gettext("Choose another with --port.")
            ) from error
