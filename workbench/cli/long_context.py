"""Commands about long contexts."""

from typing import Annotated, Any

import typer

from workbench.catalog.models import model_spec_from
from workbench.cli.follow import measured
from workbench.cli.precision import AsJson, Model, printed
from workbench.cli.readable import ReadableErrors, numbers
from workbench.core.attention import TECHNIQUES, AttentionSpec
from workbench.core.context_quality import ContextQualitySpec
from workbench.core.long_context import CACHES, LongContextSpec, RingSpec
from workbench.experiments.context_limits import check_fits, check_lengths
from workbench.telemetry.devices import chosen_device

Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def long_context(
    model: Model,
    lengths: Annotated[str, typer.Option(help="Comma-separated tokens; default: up to the model's limit.")] = "",
    chunks: Annotated[str, typer.Option(help="Tokens of a prompt that are read together.")] = "2048,8192",
    served: Annotated[str, typer.Option(help="vLLM too: default, fp8-kv, chunk:TOKENS (comma-separated).")] = "",
    caches: Annotated[str, typer.Option(help="Caches of transformers: " + ", ".join(CACHES))] = ",".join(CACHES),
    search: Annotated[bool, typer.Option(help="Find the longest context that fits (GPU).")] = True,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Read and continue long prompts, compare caches, and find the longest context that fits."""
    with ReadableErrors():
        limit = model_spec_from(model).max_context_tokens
        default = [n for n in (1024, 4096, 16384, 65536, 131072) if not limit or n < limit]
        spec = LongContextSpec(
            model=model,
            lengths=numbers(lengths, int) if lengths else tuple(default or [512]),
            chunks=numbers(chunks, int),
            served=_names(served),
            caches=_names(caches),
            search=search,
            device=device,  # type: ignore[arg-type]
        )
        check_fits(spec, model_spec_from(model), chosen_device(device))
        run = measured("long_context", spec.to_dict(), can_resume=True)
        columns = (
            "part",
            "label",
            "cache",
            "length_tokens",
            "chunk_tokens",
            "ttft_s",
            "ttft_prefix_s",
            "step_p50_s",
            "kv_held_bytes",
            "kv_predicted_bytes",
            "predicted_tokens",
            "found_tokens",
            "status",
        )
        printed(run, columns, as_json=as_json)


def attention(
    model: Model,
    techniques: Annotated[str, typer.Option(help="Comma-separated: " + ", ".join(TECHNIQUES))] = "",
    lengths: Annotated[str, typer.Option(help="Comma-separated tokens.")] = "1024,4096,16384",
    window: Annotated[int, typer.Option(help="Tokens of sliding windows.")] = 4096,
    rounds: Annotated[int, typer.Option(help="Timed calls of each cell.")] = 9,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Time attention techniques over length with a model's heads: prefill and decoding, memory, energy, error."""
    with ReadableErrors():
        chosen: dict[str, Any] = {"techniques": _names(techniques)} if techniques else {}
        spec = AttentionSpec(
            model=model,
            lengths=numbers(lengths, int),
            window=window,
            rounds=rounds,
            device=device,  # type: ignore[arg-type]
            **chosen,
        )
        model_spec_from(model)
        run = measured("attention", spec.to_dict(), can_resume=True)
        columns = (
            "label",
            "phase",
            "length_tokens",
            "p50_s",
            "ceiling_fraction",
            "flop_per_s",
            "peak_bytes",
            "energy_j",
            "max_error",
            "distance_from_full",
            "status",
        )
        printed(run, columns, as_json=as_json)


def context_quality(
    model: Annotated[str, typer.Argument(help="Folder of the model, or of the tokenizer of a server.")],
    variants: Annotated[str, typer.Option(help="full, window:N, sink-window:N, block-sparse:N, kv:FORMAT ...")] = "",
    tasks: Annotated[str, typer.Option(help="single, multi-key, multi-value, variable-tracking.")] = "single,multi-key",
    lengths: Annotated[str, typer.Option(help="Comma-separated tokens.")] = "512,1024,2048",
    depths: Annotated[int, typer.Option(help="Places of a fact in the text.")] = 5,
    per_cell: Annotated[int, typer.Option(help="Questions of each task, length and depth.")] = 10,
    windows: Annotated[int, typer.Option(help="Windows for divergence by position; 0: none.")] = 2,
    window_tokens: Annotated[int, typer.Option(help="Tokens of such a window.")] = 2048,
    text: Annotated[str | None, typer.Option(help="UTF-8 file of the text around.")] = None,
    url: Annotated[str | None, typer.Option(help="Ask a server instead of loading the model.")] = None,
    served_model: Annotated[str | None, typer.Option(help="Its name there.")] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Hide facts in long texts and ask for them, under attention techniques and cache formats or from a server."""
    with ReadableErrors():
        chosen: dict[str, Any] = {"variants": _names(variants)} if variants else {}
        spec = ContextQualitySpec(
            model=model,
            tasks=_names(tasks),
            lengths=numbers(lengths, int),
            n_depths=depths,
            n_per_cell=per_cell,
            n_windows=windows,
            window_tokens=window_tokens,
            text=text,
            url=url,
            served_model=served_model,
            device=device,  # type: ignore[arg-type]
            **chosen,
        )
        check_lengths(spec)
        run = measured("context_quality", spec.to_dict(), can_resume=True)
        columns = (
            "part",
            "label",
            "variant",
            "task",
            "length_tokens",
            "depth_fraction",
            "right_fraction",
            "right_fraction_low",
            "right_fraction_high",
            "mean_kl_nat_per_token",
            "mcnemar_p",
        )
        printed(run, columns, as_json=as_json)


def ring_attention(
    model: Model,
    lengths: Annotated[str, typer.Option(help="Comma-separated tokens.")] = "65536,262144",
    worlds: Annotated[str, typer.Option(help="Numbers of devices, or of processes on a CPU.")] = "1,2",
    rounds: Annotated[int, typer.Option(help="Timed calls.")] = 7,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Time attention over a sequence that is spread over several devices."""
    with ReadableErrors():
        model_spec_from(model)
        spec = RingSpec(
            model=model,
            lengths=numbers(lengths, int),
            worlds=numbers(worlds, int),
            rounds=rounds,
            device=device,  # type: ignore[arg-type]
        )
        run = measured("ring_attention", spec.to_dict(), can_resume=True)
        printed(
            run, ("world", "length_tokens", "p50_s", "speedup", "max_error", "peak_bytes", "status"), as_json=as_json
        )
