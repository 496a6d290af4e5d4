"""Commands of pictures: tokens of one, and what it costs in vLLM."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from workbench.catalog.models import catalog_models
from workbench.catalog.vision import vision_model, vision_models
from workbench.cli.follow import measured
from workbench.cli.precision import AsJson
from workbench.cli.readable import ReadableErrors
from workbench.core.images import CACHES, ImagesSpec, size_of
from workbench.core.units import shown_bytes, shown_duration
from workbench.estimate.image_cost import image_request
from workbench.estimate.image_time import Asked, encoder_work
from workbench.estimate.image_tokens import image_tokens
from workbench.experiments.device_calibration import machine_of

app = typer.Typer(help="What pictures cost.", no_args_is_help=True)
out = Console()
DEFAULTS = ImagesSpec()


@app.command()
def tokens(
    model: Annotated[str, typer.Argument(help='Row of data/vision.csv, or "all".')],
    size: Annotated[str, typer.Argument(help="Height x width in pixels, such as 896x1344.")],
    as_json: AsJson = False,
) -> None:
    """Tokens that a picture takes in a prompt, as the model's processor counts them."""
    with ReadableErrors():
        high, wide = size_of(size)
        names = list(vision_models()) if model == "all" else [model]
        found = {name: image_tokens(vision_model(name), height_px=high, width_px=wide) for name in names}
        if as_json:
            print(json.dumps({name: asdict(t) for name, t in found.items()}, indent=1))
            return
        shown = Table("model", "tokens", "encoder sees", "patches", "TFLOP")
        for name, t in found.items():
            seen = f"{t.n_squares} × ({t.height_px} × {t.width_px})"
            shown.add_row(
                name,
                f"{t.n_tokens:,}",
                seen,
                f"{t.n_patches:,}",
                f"{encoder_work(vision_model(name), t).flop / 1e12:.2f}",
            )
        out.print(shown)


@app.command()
def cost(
    model: Annotated[str, typer.Argument(help="Row of data/vision.csv.")],
    size: Annotated[str, typer.Argument(help="Height x width in pixels.")],
    images: Annotated[int, typer.Option(help="Pictures in a request.")] = 1,
    text_tokens: Annotated[int, typer.Option(help="Words beside them.")] = 64,
    device: Annotated[str, typer.Option(help="Row of data/hardware.csv.")] = "h200-sxm",
    usd_per_hour: Annotated[float | None, typer.Option(help="Price of the device.")] = None,
    as_json: AsJson = False,
) -> None:
    """Estimate memory, device time and price of a request with pictures."""
    with ReadableErrors():
        high, wide = size_of(size)
        found = image_request(
            vision_model(model),
            Asked(height_px=high, width_px=wide, n_images=images, text_tokens=text_tokens),
            model=catalog_models().get(model),
            machine=machine_of(device)[0],
            usd_per_hour=usd_per_hour,
        )
        if as_json:
            print(json.dumps({"model": model, "device": device, "provenance": "estimated"} | asdict(found), indent=1))
            return
        out.print(
            f"◌ {found.prompt_tokens:,} tokens, of which pictures {found.picture_tokens:,}; encoder and projector {shown_bytes(found.encoder_bytes)}",
            highlight=False,
        )
        if found.kv_bytes is not None:
            out.print(f"KV cache {shown_bytes(found.kv_bytes)}", highlight=False)
        if found.parts is not None:
            out.print(
                f"{shown_duration(found.parts.ttft_s)} of {device} until the first token, encoder {shown_duration(found.parts.encoder_s)}; the host's "
                "processor comes before (`workbench images measure`)",
                highlight=False,
            )
        if found.usd_per_thousand_requests is not None:
            out.print(f"{found.usd_per_thousand_requests:.3f} USD a thousand requests", highlight=False)


@app.command()
def measure(
    model: Annotated[
        str, typer.Argument(help="Folder with config.json and preprocessor_config.json.")
    ] = DEFAULTS.model,
    vision: Annotated[str, typer.Option(help="Row of data/vision.csv.")] = DEFAULTS.vision,
    repeats: Annotated[int, typer.Option(help="Requests of each size and number.")] = DEFAULTS.repeats,
    hit_size: Annotated[str, typer.Option(help="Picture of the caches.")] = DEFAULTS.hit_size,
    as_json: AsJson = False,
) -> None:
    """Time to the first token with pictures in vLLM on this GPU, by part, and what caches save."""
    with ReadableErrors():
        spec = ImagesSpec(model=model, vision=vision, repeats=repeats, hit_size=hit_size)
        run = measured("images", spec.to_dict(), can_resume=False)
        if as_json:
            told = {"id": run.id, "spec": dict(run.spec), "results": list(run.results), "failures": list(run.failures)}
            print(json.dumps(told, indent=1))
            return
        shown = Table("pictures", "processor", "encoder", "language model", "TTFT p50", "predicted", "error")
        for r in run.results:
            if r["part"] == "cell":
                parts = (
                    shown_duration(r[k])
                    for k in ("accept_s", "encoder_s", "prompt_s", "ttft_p50_s", "predicted_ttft_s")
                )
                held = "" if r["held_out"] else " (learnt)"
                shown.add_row(
                    f"{r['n_images']} × {r['height_px']}×{r['width_px']}{held}",
                    *parts,
                    f"{100 * r['error_fraction']:+.1f} %",
                )
        out.print(shown)
        for r in run.results:
            if r["part"] == "break-even":
                rates = (
                    f"{100 * r[k]:.0f} %" if r[k] is not None else "never" for k in ("hit_rate", "predicted_hit_rate")
                )
                out.print(
                    "{}: pays from {} seen before (predicted {}).".format(CACHES[r["cache"]], *rates), highlight=False
                )
        for f in run.failures:
            out.print(f"{f['method']}: {f['cause']} {f['remedy']}", highlight=False)
