"""Time to the first token of a request with images: floating-point work of the encoder, and costs learnt from cells.

The parts are added: the processor on the host (decoding is left out), encoder, projector, and the prompt's own
prefill with the images' tokens in it. A part on the device takes what the host needs to launch it or what the device needs to do
it, whichever is longer. Where a calibration of the device exists, the device's work is predicted before anything was measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workbench.catalog.model_spec import ModelSpec
from workbench.catalog.vision_spec import ImageTokens, VisionSpec
from workbench.estimate.image_tokens import image_tokens
from workbench.estimate.linear_layers import one_precision
from workbench.estimate.machine import Machine
from workbench.estimate.step_time import prompt_s

Floats = npt.NDArray[np.float64]
MEETING = 3.0  # power by which launching and work are added: at their meeting 1.26 times either, as measured on an H200
KNEES = np.geomspace(2e5, 4e6, 40)
"""Pixels of a request from which on each costs more, tried in turn. On one H200's host it lay at 1.3 million: 32 MB of float32 patches,
from which on glibc maps fresh pages for every array (its largest ``M_MMAP_THRESHOLD``)."""
FRAMES = 2  # Qwen's patches hold two frames, an image twice (temporal_patch_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderWork:
    """Floating-point operations of images in the encoder, and of their projection."""

    linear_flop: float
    attention_flop: float
    projector_flop: float

    @property
    def flop(self) -> float:
        """Operations of all parts together."""
        return self.linear_flop + self.attention_flop + self.projector_flop


def encoder_work(vision: VisionSpec, tokens: ImageTokens) -> EncoderWork:
    """Return the work for one image: two operations for each weight and patch, four for each pair of positions and channel."""
    each = tokens.n_patches / tokens.n_squares
    whole = vision.n_layers if vision.window_px is None else (vision.n_whole_layers or 0)
    window = each if vision.window_px is None else min(each, (vision.window_px / vision.patch_px) ** 2)
    pairs = tokens.n_patches * (whole * each + (vision.n_layers - whole) * window)
    first = FRAMES * 3 * vision.patch_px**2 * vision.hidden
    merged = tokens.n_patches / vision.merge**2
    return EncoderWork(
        linear_flop=2.0 * tokens.n_patches * (vision.n_layers * vision.layer_weights + first),
        attention_flop=4.0 * vision.hidden * pairs,
        projector_flop=2.0 * merged * vision.projector_weights * vision.n_projectors,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The images of a request, all alike, and its words."""

    height_px: int
    width_px: int
    n_images: int
    text_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TtftParts:
    """Seconds from sending to the first token."""

    accept_s: float
    """Processor, tokenizer and hash, on the host."""
    encoder_s: float
    projector_s: float
    prompt_s: float
    """Reading the prompt, and whatever else the engine does until the first token."""

    @property
    def ttft_s(self) -> float:
        """Sum of all parts of the time."""
        return self.accept_s + self.encoder_s + self.projector_s + self.prompt_s


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCost:
    """A part that the device works on while the host launches it: the longer of the two, rounded where they meet."""

    floor_s: float
    """Time of the launch alone."""
    each_s: tuple[float, ...]
    """For one of what is counted."""

    def seconds(self, counts: Sequence[float]) -> float:
        """Return the time of this part of a request; 0 where nothing is counted."""
        if not any(counts):
            return 0.0
        work = float(np.dot(self.each_s, counts))
        return float((self.floor_s**MEETING + work**MEETING) ** (1 / MEETING))


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCosts:
    """What was learnt on a machine."""

    accept_s: tuple[float, float, float, float]
    """On the host: a request, an image, a pixel, and what a pixel costs more beyond ``knee_pixels`` of a request."""
    knee_pixels: float
    encoder: DeviceCost
    """Counts operations of products and of attention."""
    projector: DeviceCost
    """Cost of the projector, which counts operations."""
    prompt: DeviceCost
    """Counts tokens and pairs of tokens."""


def _host_counts(vision: VisionSpec, a: Asked, knee_pixels: float) -> list[float]:
    t = image_tokens(vision, height_px=a.height_px, width_px=a.width_px)
    pixels = a.n_images * float(max(a.height_px * a.width_px, t.n_squares * t.height_px * t.width_px))
    return [1.0, float(a.n_images), pixels, max(0.0, pixels - knee_pixels)]


def _device_counts(vision: VisionSpec, a: Asked) -> tuple[list[float], list[float]]:
    t = image_tokens(vision, height_px=a.height_px, width_px=a.width_px)
    work, n = encoder_work(vision, t), a.n_images
    return [n * work.linear_flop, n * work.attention_flop], [n * work.projector_flop]


def _prompt_counts(tokens: float) -> list[float]:
    return [float(tokens), float(tokens) ** 2]


def request_tokens(vision: VisionSpec, a: Asked, *, marks: int = 2) -> int:
    """Return the prompt tokens of a request: text, images, and the marks around each image that the prompt itself holds."""
    t = image_tokens(vision, height_px=a.height_px, width_px=a.width_px)
    return a.text_tokens + a.n_images * (t.n_tokens + marks)


def _fitted_host(counts: Floats, seconds: Floats) -> tuple[Floats, float]:
    """Return non-negative costs with the least sum of squared relative errors, and that sum's root."""
    from scipy.optimize import nnls

    scale = np.maximum(counts.max(axis=0), 1e-30)
    found, off = nnls(counts / scale / seconds[:, None], np.ones(len(seconds)))
    return found / scale, float(off)


def _fitted_device(counts: Sequence[Sequence[float]], seconds: Sequence[float]) -> DeviceCost:
    """Return the floor and the costs with the least sum of squared relative errors."""
    from scipy.optimize import least_squares

    x, y = np.array(counts, np.float64), np.array(seconds, np.float64)
    scale = x.max(axis=0)
    width = x.shape[1]

    def errors(theta: Floats) -> Floats:
        work = (x / scale) @ np.exp(theta[1:])
        return np.asarray((np.exp(theta[0] * MEETING) + work**MEETING) ** (1 / MEETING) / y - 1)

    start = np.log([y.min(), *[y.max() / width] * width])
    theta = np.exp(least_squares(errors, start).x)
    return DeviceCost(floor_s=float(theta[0]), each_s=tuple(float(v) for v in theta[1:] / scale))


def learnt(vision: VisionSpec, cells: Sequence[tuple[Asked, TtftParts, int]]) -> ImageCosts:
    """Return costs fitted to measured cells: what was asked, the parts (medians), and the tokens of the prompt."""
    seen = [(_device_counts(vision, a), p) for a, p, _ in cells if a.n_images]
    seconds = np.array([p.accept_s for _, p, _ in cells])

    def host(knee: float) -> tuple[Floats, float]:
        return _fitted_host(np.array([_host_counts(vision, a, knee) for a, _, _ in cells]), seconds)

    knee = min(KNEES, key=lambda k: host(float(k))[1])
    costs = host(float(knee))[0]
    return ImageCosts(
        accept_s=(float(costs[0]), float(costs[1]), float(costs[2]), float(costs[3])),
        knee_pixels=float(knee),
        encoder=_fitted_device([c[0] for c, _ in seen], [p.encoder_s for _, p in seen]),
        projector=_fitted_device([c[1] for c, _ in seen], [p.projector_s for _, p in seen]),
        prompt=_fitted_device([_prompt_counts(n) for _, _, n in cells], [p.prompt_s for _, p, _ in cells]),
    )


def predicted_parts(vision: VisionSpec, costs: ImageCosts, asked: Asked) -> TtftParts:
    """Return the predicted parts of a request that was not measured."""
    encoder, projector = _device_counts(vision, asked)
    return TtftParts(
        accept_s=float(np.dot(costs.accept_s, _host_counts(vision, asked, costs.knee_pixels))),
        encoder_s=costs.encoder.seconds(encoder),
        projector_s=costs.projector.seconds(projector),
        prompt_s=costs.prompt.seconds(_prompt_counts(request_tokens(vision, asked))),
    )


def computed_parts(
    vision: VisionSpec, model: ModelSpec, machine: Machine, asked: Asked, *, accept_s: float
) -> TtftParts:
    """Return parts computed from a calibration of the device, before any request with an image was measured.

    The encoder runs at the share of the peak that bf16 products reach, its attention at that of prompts; the host's part
    is not computed: ``accept_s`` is given.
    """
    t = image_tokens(vision, height_px=asked.height_px, width_px=asked.width_px)
    work, k, peak = encoder_work(vision, t), machine.known, machine.ceilings.flop_per_s[16]
    products = k.curves["bf16"].flop_fraction * peak
    one = np.ones(1)
    plan = one_precision(model, "bf16")
    return TtftParts(
        accept_s=accept_s,
        encoder_s=asked.n_images * (work.linear_flop / products + work.attention_flop / (k.attention_fraction * peak)),
        projector_s=asked.n_images * work.projector_flop / products,
        prompt_s=float(prompt_s(model, plan, machine, batch=one, context=one * request_tokens(vision, asked))[0]),
    )


def break_even_hit_rate(*, missed_s: float, hit_s: float, without_s: float) -> float | None:
    """Return the share of requests that must find their image in a cache for it to be no slower than none.

    Mean times of images that are new to the cache, that it holds, and without one. 0 where even misses are no
    slower, None where hits are no faster.
    """
    if missed_s <= without_s:
        return 0.0
    if hit_s >= without_s:
        return None
    return (missed_s - without_s) / (missed_s - hit_s)
