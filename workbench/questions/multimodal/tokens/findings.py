"""Tokens of an image, and the estimated cost of a request with images: the verdict, and the rows of the tables."""

from functools import lru_cache

from workbench.catalog.models import catalog_models
from workbench.catalog.prices import median_price
from workbench.catalog.tables import devices
from workbench.catalog.vision import vision_model, vision_models
from workbench.catalog.vision_spec import ImageTokens
from workbench.core.errors import WorkbenchError
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.units import shown_bytes, shown_duration, shown_percent
from workbench.core.verdict import Verdict
from workbench.estimate.device_calibration import machine_of
from workbench.estimate.image_cost import ImageRequest, image_request
from workbench.estimate.image_time import Asked, encoder_work
from workbench.estimate.image_tokens import image_tokens
from workbench.estimate.weights import weight_bytes
from workbench.questions.multimodal.spec import size_of
from workbench.questions.multimodal.tokens.spec import ALL, ImageCostSpec, ImageTokensSpec

COST_HEAD = (gettext("Quantity"), gettext("estimated {mark}").format(mark=Provenance.ESTIMATED.mark))
MODEL_HEAD = (
    gettext("Model"),
    gettext("image tokens"),
    gettext("encoder input, pixels"),
    gettext("patches"),
    gettext("encoder work, TFLOP"),
)
SIDES = tuple(range(112, 2017, 56))
"""Sides of square images whose tokens are drawn."""


def tokens_of(spec: ImageTokensSpec) -> dict[str, ImageTokens]:
    """Return the tokens of the image by model; raises ``WorkbenchError`` for a model or an image that is refused."""
    names = list(vision_models()) if spec.model == ALL else [spec.model]
    return {name: _tokens(name, spec.size) for name in names}


def _tokens(model: str, size: str) -> ImageTokens:
    height_px, width_px = size_of(size)
    return image_tokens(vision_model(model), height_px=height_px, width_px=width_px)


@lru_cache(maxsize=64)
def tokens_by_side(model: str) -> tuple[int, ...]:
    """Return the tokens of square images with the sides of ``SIDES``."""
    return tuple(_tokens(model, f"{side}x{side}").n_tokens for side in SIDES)


def model_row(name: str, t: ImageTokens) -> tuple[str, ...]:
    """Return the cells of ``MODEL_HEAD``."""
    seen = f"{t.n_squares} × ({t.height_px} × {t.width_px})"
    tflop = encoder_work(vision_model(name), t).flop / 1e12
    return name, f"{t.n_tokens:,}", seen, f"{t.n_patches:,}", f"{tflop:.2f}"


def model_rows(size: str) -> list[tuple[str, ...]]:
    """Return a row for every model; for one that refuses the image its name and the reason."""
    rows: list[tuple[str, ...]] = []
    for name in vision_models():
        try:
            rows.append(model_row(name, _tokens(name, size)))
        except WorkbenchError as error:
            rows.append((name, error.cause))
    return rows


def price_of(spec: ImageCostSpec) -> tuple[float | None, str]:
    """Return the price of an hour of the device and its source; None where no price is listed."""
    if spec.usd_per_hour is not None:
        return spec.usd_per_hour, gettext("own price")
    price = median_price(spec.device)
    return (None, "") if price is None else (price.usd_per_gpu_hour, price.label)


def cost_of(spec: ImageCostSpec) -> ImageRequest:
    """Return the cost of the request; raises ``WorkbenchError`` for a model, image or device that is refused."""
    height_px, width_px = size_of(spec.size)
    return image_request(
        vision_model(spec.model),
        Asked(height_px=height_px, width_px=width_px, n_images=spec.n_images, text_tokens=spec.text_tokens),
        model=catalog_models().get(spec.model),
        machine=machine_of(spec.device)[0],
        usd_per_hour=price_of(spec)[0],
    )


def verdict(spec: ImageCostSpec) -> Verdict:
    """Return the tokens of an image and of the prompt, and the share of image tokens."""
    t, cost = _tokens(spec.model, spec.size), cost_of(spec)
    share = shown_percent(spec.n_images * t.n_tokens / cost.prompt_tokens)
    _, _, seen, patches, tflop = model_row(spec.model, t)
    limits = beyond_limits(spec, cost)
    headline = gettext(
        "One image takes {n_tokens:,} tokens; the prompt has {prompt_tokens:,} tokens, {share} of them image tokens."
    ).format(n_tokens=t.n_tokens, prompt_tokens=cost.prompt_tokens, share=share)
    return Verdict(
        headline=gettext("This request cannot be served: {limits}. {headline}").format(
            limits=gettext("; ").join(limits), headline=headline
        )
        if limits
        else headline,
        evidence=gettext(
            "{size} pixels are processed as {seen} pixels, which the encoder reads as {patches} patches ({tflop} "
            "TFLOP)."
        ).format(size=spec.size.replace("x", " × "), seen=seen, patches=patches, tflop=tflop),
        scope=gettext(
            "The number of tokens follows the defaults of the processor; a service that limits pixels needs fewer."
        ),
        answer="no" if limits else "yes",
        provenance=Provenance.ESTIMATED,
    )


def beyond_limits(spec: ImageCostSpec, cost: ImageRequest) -> list[str]:
    """Return the limits that a request exceeds: the context of the model, and the memory of the device beside the weights."""
    limits, model = list[str](), catalog_models().get(spec.model)
    if model is None:
        return limits
    if model.max_context_tokens and cost.prompt_tokens > model.max_context_tokens:
        limits.append(
            gettext("its {prompt_tokens:,} tokens exceed the model's context of {max_context_tokens:,}").format(
                prompt_tokens=cost.prompt_tokens, max_context_tokens=model.max_context_tokens
            )
        )
    memory = devices()[spec.device].memory_bytes
    needed = weight_bytes(model, weight_bits=16) + (cost.kv_bytes or 0.0)
    if memory and needed > memory:
        limits.append(
            gettext("weights and KV cache take {needed}, the device has {memory}").format(
                needed=shown_bytes(needed), memory=shown_bytes(memory)
            )
        )
    return limits


def cost_rows(spec: ImageCostSpec) -> list[tuple[str, str]]:
    """Return memory, device time and price of the request, as far as they are known."""
    cost, (usd, source) = cost_of(spec), price_of(spec)
    is_beyond = bool(beyond_limits(spec, cost))
    rows = [(gettext("encoder and projector, bf16"), shown_bytes(cost.encoder_bytes))]
    if cost.kv_bytes is not None and cost.picture_kv_bytes is not None:
        rows.append((gettext("KV cache of the request, bf16"), shown_bytes(cost.kv_bytes)))
        rows.append((gettext("of which image tokens"), shown_bytes(cost.picture_kv_bytes)))
    if cost.parts is not None:
        times = [shown_duration(s) for s in (cost.parts.ttft_s, cost.parts.encoder_s)]
        rows.append(
            (
                gettext("device time until the first token, {device}").format(device=spec.device),
                gettext("{whole}, of which encoder {encoder}").format(whole=times[0], encoder=times[1]),
            )
        )
    if not is_beyond and (usd_per_thousand := cost.usd_per_thousand_requests) is not None:
        rows.append(
            (
                gettext("1,000 requests, at full utilization"),
                f"{usd_per_thousand:.3f} USD",
            )
        )
        rows.append((gettext("device price"), f"{usd:g} USD/h ({source})"))
    return rows
