"""Memory, work and price of a request with images, from shapes and a calibration alone."""

from dataclasses import dataclass

from workbench.catalog.model_spec import ModelSpec
from workbench.catalog.vision_spec import VisionSpec
from workbench.estimate.image_time import Asked, TtftParts, computed_parts, request_tokens
from workbench.estimate.kv_cache import kv_bytes_per_token
from workbench.estimate.machine import Machine

WEIGHT_BYTES = 2  # bf16


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """What a request with images needs; None where the language model or the device is not known."""

    prompt_tokens: int
    picture_tokens: int
    """Image tokens among them, with the marks around each image."""
    encoder_bytes: float
    """Weights of encoder and projector in bf16."""
    kv_bytes: float | None
    picture_kv_bytes: float | None
    parts: TtftParts | None
    """Device time until the first token; the host's part is zero here, since only a measurement knows it."""
    usd_per_thousand_requests: float | None
    """For that device time, if the device does nothing else."""


def image_request(
    vision: VisionSpec,
    asked: Asked,
    *,
    model: ModelSpec | None = None,
    machine: Machine | None = None,
    usd_per_hour: float | None = None,
) -> ImageRequest:
    """Return the cost of one request; the cache of the language model behind the encoder is counted in bf16."""
    tokens = request_tokens(vision, asked)
    pictures = tokens - asked.text_tokens
    each = None if model is None or not model.kv_elements_per_token else kv_bytes_per_token(model)
    parts = None
    if model is not None and machine is not None and each is not None:
        parts = computed_parts(vision, model, machine, asked, accept_s=0.0)
    return ImageRequest(
        prompt_tokens=tokens,
        picture_tokens=pictures,
        encoder_bytes=float(WEIGHT_BYTES * vision.n_params),
        kv_bytes=None if each is None else tokens * each,
        picture_kv_bytes=None if each is None else pictures * each,
        parts=parts,
        usd_per_thousand_requests=None
        if parts is None or usd_per_hour is None
        else parts.ttft_s * usd_per_hour / 3600 * 1000,
    )
