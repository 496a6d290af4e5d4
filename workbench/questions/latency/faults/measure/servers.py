"""The server of a fault suite: one at a time, started with the options of an episode."""

import time
from dataclasses import replace
from pathlib import Path

from workbench.catalog.paths import located
from workbench.engines.server import ServerCard, ServerRoom, free_port
from workbench.engines.serving import launch_for, with_random_weights
from workbench.load.spec import LoadSpec
from workbench.measuring.envelope import run
from workbench.questions.latency.faults.measure.fault_making import ServerOptions, Stage
from workbench.questions.latency.faults.spec import FaultsSpec
from workbench.telemetry.metrics_source import MetricsSource
from workbench.telemetry.sampler import SourceLost

NAME = "model"
START_TIMEOUT_S, WARM_UP_S, DRAIN_S = 600.0, 3.0, 15.0
# Threads that spin while they wait turn a little competition for cores into a standstill.
VARIABLES = {"OMP_WAIT_POLICY": "PASSIVE"}
OWN_SERVER, SLOW_SERVER = "workbench.engines.openai_server", f"{__package__}.slow_tokenizer_server"


class Servers:
    """Starts and stops the servers of a suite, one at a time.

    Args:
        spec: The engine, its model and its limits.
        folder: Folder of the server's cards, logs and converted models.
        is_gpu: Whether the engine computes on a GPU.
    """

    def __init__(self, spec: FaultsSpec, folder: Path, *, is_gpu: bool) -> None:
        self._spec, self._models, self._is_gpu = spec, folder / "models", is_gpu
        self._room = ServerRoom(folder)
        self._card: ServerCard | None = None
        self._options: ServerOptions | None = None
        self.port = free_port()
        self.version: str | None = None

    def with_options(self, options: ServerOptions | None, load: LoadSpec) -> Stage:
        """Return a warm server with these options; a server that already runs with them is kept."""
        if self._card is None or options is not self._options or not self._is_drained():
            self.stop()
            self._options, self._card = options, self._start(options or ServerOptions())
            run(replace(load, duration_s=WARM_UP_S, telemetry_hz=0.0, seed=load.seed + 7919))
        return Stage(port=self.port, pid=self._card.pid, load=load, is_gpu=self._is_gpu)

    def _start(self, options: ServerOptions) -> ServerCard:
        spec, model = self._spec, self._spec.model
        if options.random_weights:
            model = str(with_random_weights(Path(located(model)), cache=self._models, tell=lambda _: None))
        extra = ["--max-num-seqs", str(options.max_num_seqs or spec.max_num_seqs)]
        if options.other_precision:  # than the engine's default
            is_float32 = spec.engine == "torch" and not self._is_gpu
            extra += ["--dtype", "bfloat16" if is_float32 else "float16"]
        kv_tokens = int(spec.kv_tokens * options.kv_factor)
        extra += _vllm_limits(spec, kv_tokens) if spec.engine == "vllm" else ["--kv-tokens", str(kv_tokens)]
        launch = launch_for(
            spec.engine,
            model,
            name=NAME,
            port=self.port,
            device="cuda" if self._is_gpu else "cpu",
            cache=self._models,
            tell=lambda _: None,
            extra=extra,
        )
        command, self.version = list(launch.command), launch.version
        if options.slow_tokenizer_s:
            at = command.index(OWN_SERVER)
            command[at : at + 1] = [SLOW_SERVER, str(options.slow_tokenizer_s)]
        return self._room.start(
            command,
            engine=spec.engine,
            model=model,
            port=self.port,
            environment={**launch.variables, **VARIABLES},
            timeout_s=START_TIMEOUT_S,
            tell=lambda _: None,
            ends_with_us=True,
        )

    def _is_drained(self) -> bool:
        """Return whether the requests of earlier loads complete within ``DRAIN_S``."""
        page, deadline = MetricsSource(f"http://127.0.0.1:{self.port}"), time.monotonic() + DRAIN_S
        try:
            while time.monotonic() < deadline:
                counters = page.read()
                if not sum(counters.get(f"engine.num_requests_{state}", 0.0) for state in ("running", "waiting")):
                    return True
                time.sleep(0.2)
        except SourceLost:
            pass
        finally:
            page.close()
        return False

    def stop(self) -> None:
        """Stop the server, if one runs."""
        if self._card is not None:
            self._room.stop(self._card)
            self._card = None


def _vllm_limits(spec: FaultsSpec, kv_tokens: int) -> list[str]:
    block = 128 if spec.device == "cpu" else 16
    longest = 6 * (spec.input_tokens + spec.output_tokens)
    blocks = max(kv_tokens // block, -(-longest // block))
    return [
        *("--max-model-len", str(longest), "--block-size", str(block), "--num-gpu-blocks-override", str(blocks)),
        "--enable-prefix-caching",
    ]
