"""Servers with given settings: launched with the flags, changed while they run, restarted by the reader's command, or left as they are."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Protocol

import platformdirs

from workbench.catalog.paths import located
from workbench.core.errors import NotAvailable, WorkbenchError
from workbench.core.language import gettext
from workbench.engines.server import ServerCard, ServerFailed, ServerRoom, free_port, healthy
from workbench.engines.serving import launch_for, with_random_weights
from workbench.engines.vllm_settings import VllmSetting
from workbench.load.ask import the_model
from workbench.load.spec import LoadSpec
from workbench.questions.tuning.measure.space import constant_flags
from workbench.questions.tuning.spec import TuneSpec

STARTUP_LIMIT_S = 900.0
RESTART_LIMIT_S = 1800.0
SCHEDULER = "workbench.engines.inside_vllm.live_limits.LiveScheduler"
PACKAGE_PARENT = Path(__file__).parents[4]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server with a setting."""

    url: str
    model: str
    """Name under which it serves the model."""
    startup_s: float | None
    """Time of its launch; None where none was needed."""


class Servers(Protocol):
    """Where settings are measured: something that serves the model with given flags."""

    changes_live: bool
    """Whether limits are changed while the server runs."""
    version: str | None

    def group(self, setting: VllmSetting) -> Hashable:
        """Return what settings share that need no launch between them."""

    def served(self, setting: VllmSetting) -> Served:
        """Return a server with a setting; raises ``WorkbenchError`` where it does not start or cannot have it."""

    def stop(self) -> None:
        """End all servers that were started."""


class Launched:
    """vLLM on this machine, launched anew for each setting."""

    changes_live = False

    def __init__(self, spec: TuneSpec, folder: Path, *, device: str) -> None:
        self.spec, self.device, self.room = spec, device, ServerRoom(folder)
        self.version: str | None = None
        self._card: ServerCard | None = None
        self._setting: VllmSetting | None = None
        self.room.clean()

    def group(self, setting: VllmSetting) -> Hashable:
        """Return the setting itself: each needs its launch."""
        return setting

    def served(self, setting: VllmSetting) -> Served:
        """Return a server with a setting."""
        if self._card is not None and self.group(setting) == self._setting:
            return self._reached(setting, None)
        self.stop()
        started = time.monotonic()
        self._card = self._start(setting)
        self._setting = self.group(setting)  # type: ignore[assignment]
        return self._reached(setting, time.monotonic() - started)

    def _reached(self, setting: VllmSetting, startup_s: float | None) -> Served:  # noqa: ARG002
        assert self._card is not None
        return Served(url=self._card.url, model="model", startup_s=startup_s)

    def _start(self, setting: VllmSetting, *more: str, variables: dict[str, str] | None = None) -> ServerCard:
        cache = Path(platformdirs.user_cache_dir("inference-workbench"))
        model, port = setting.checkpoint or self.spec.model, free_port()
        if self.spec.random_weights:
            model = str(with_random_weights(Path(located(model)), cache=cache / "random", tell=lambda _: None))
        launch = launch_for(
            "vllm",
            model,
            name="model",
            port=port,
            device=self.device,
            cache=cache / "onnx",
            tell=lambda _: None,
            extra=(*setting.flags, *constant_flags(self.spec), *more),
        )
        self.version = launch.version
        return self.room.start(
            launch.command,
            engine="vllm",
            model="model",
            port=port,
            environment={**launch.variables, **(variables or {})},
            timeout_s=STARTUP_LIMIT_S,
            tell=lambda _: None,
            ends_with_us=True,
        )

    def stop(self) -> None:
        """End the server that runs, if one does."""
        if self._card is not None:
            self.room.stop(self._card)
        self._card = self._setting = None


class Live(Launched):
    """vLLM on this machine with a scheduler whose limits follow a file: for grids, not for what is recommended.

    ``largest`` are the limits of each launch.
    """

    changes_live = True

    def __init__(
        self, spec: TuneSpec, folder: Path, *, device: str, largest_tokens: int, largest_sequences: int
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(spec, folder, device=device)
        self._file = folder / "limits.json"
        self._largest = (largest_tokens, largest_sequences)

    def group(self, setting: VllmSetting) -> Hashable:
        """Return the setting with the largest limits, which the launch has."""
        tokens, sequences = self._largest
        return replace(
            setting,
            max_num_batched_tokens=tokens,
            max_num_seqs=sequences,
            prefix_caching=True,
            long_prefill_token_threshold=0,
        )

    def _start(self, setting: VllmSetting, *more: str, variables: dict[str, str] | None = None) -> ServerCard:
        self._write(setting)
        path = os.pathsep.join(filter(None, (str(PACKAGE_PARENT), os.environ.get("PYTHONPATH"))))
        live = {"WORKBENCH_LIVE_LIMITS": str(self._file), "PYTHONPATH": path} | (variables or {})
        largest = self.group(setting)
        assert isinstance(largest, VllmSetting)
        return super()._start(largest, "--scheduler-cls", SCHEDULER, *more, variables=live)

    def _reached(self, setting: VllmSetting, startup_s: float | None) -> Served:
        self._write(setting)
        return super()._reached(setting, startup_s)

    def _write(self, setting: VllmSetting) -> None:
        limits = {
            "max_num_batched_tokens": setting.max_num_batched_tokens,
            "max_num_seqs": setting.max_num_seqs,
            "long_prefill_token_threshold": setting.long_prefill_token_threshold,
            "prefix_caching": setting.prefix_caching,
        }
        unfinished = self._file.with_suffix(".part")
        unfinished.write_text(json.dumps(limits))
        os.replace(unfinished, self._file)


class Several:
    """Live servers that run beside each other, one for each launch: for grids on a device with room for all of them.

    Threads may launch several at once.
    """

    changes_live = True

    def __init__(self, make: Callable[[Path], Live], folder: Path) -> None:
        self._make, self._folder = make, folder
        self._creating = Lock()
        self._by_group: dict[Hashable, Live] = {}
        self._any = make(folder / "0")
        self.version: str | None = None

    def group(self, setting: VllmSetting) -> Hashable:
        """Return what settings share that need no launch between them."""
        return self._any.group(setting)

    def served(self, setting: VllmSetting) -> Served:
        """Return a server with a setting, launched beside the others where it is the first of its kind."""
        group = self.group(setting)
        with self._creating:
            if group not in self._by_group:
                self._by_group[group] = self._make(self._folder / str(len(self._by_group)))
        served = self._by_group[group].served(setting)
        self.version = self._by_group[group].version
        return served

    def stop(self) -> None:
        """End the servers of all groups."""
        for server in self._by_group.values():
            server.stop()


class Running:
    """A server that runs at a URL: as it is, or restarted by the reader's command."""

    changes_live = False

    def __init__(self, spec: TuneSpec, *, default: VllmSetting) -> None:
        assert spec.url is not None
        self.spec, self.default, self.url = spec, default, spec.url
        self.version: str | None = None
        self._setting: VllmSetting = default

    def group(self, setting: VllmSetting) -> Hashable:
        """Return the setting itself: each needs its restart."""
        return setting

    def served(self, setting: VllmSetting) -> Served:
        """Return the server with a setting."""
        startup_s = None
        if setting != self._setting:
            if self.spec.restart is None:
                raise NotAvailable(
                    gettext("The server at {url} cannot be restarted with other flags from here.").format(url=self.url),
                    remedy=gettext(
                        "Give --restart with the command that restarts it, or leave --url out to launch one here."
                    ),
                )
            startup_s = self._restart(setting)
        name = the_model(LoadSpec(url=self.url, model="-"))
        return Served(url=self.url, model=name, startup_s=startup_s)

    def _restart(self, setting: VllmSetting) -> float:
        started = time.monotonic()
        command = str(self.spec.restart).replace("{flags}", " ".join((*setting.flags, *constant_flags(self.spec))))
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)  # noqa: S602 - the reader's own command
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1][-300:]
            raise ServerFailed(
                gettext("The restart command ended with code {code}: {reason}.").format(
                    code=done.returncode, reason=last
                ),
                remedy=gettext("Correct it."),
            )
        while not healthy(self.url):
            if time.monotonic() - started > RESTART_LIMIT_S:
                raise ServerFailed(
                    gettext("{url} did not answer within {seconds} s.").format(
                        url=self.url, seconds=f"{RESTART_LIMIT_S:g}"
                    ),
                    remedy=gettext("Look at the server's log."),
                )
            time.sleep(0.5)
        self._setting = setting
        return time.monotonic() - started

    def stop(self) -> None:
        """Leave the server as it is, with its first flags where it was restarted."""
        if self._setting != self.default and self.spec.restart is not None:
            try:
                self._restart(self.default)
            except WorkbenchError:
                return
