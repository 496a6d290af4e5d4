"""How an LMDeploy server is started."""

from collections.abc import Sequence

from workbench.engines.environments import EngineEnvironment


def lmdeploy_command(
    environment: EngineEnvironment, model: str, *, name: str, port: int, extra: Sequence[str] = ()
) -> list[str]:
    """Return the launch command, with the PyTorch backend unless another is named: it needs no CUDA 12 libraries."""
    backend = [] if "--backend" in extra else ["--backend", "pytorch"]
    command = [str(environment.python), "-m", "lmdeploy", "serve", "api_server", model, "--model-name", name]
    return [*command, "--server-name", "127.0.0.1", "--server-port", str(port), *backend, *extra]
