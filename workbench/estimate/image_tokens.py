"""Tokens of an image, by the rules that processors of vision models follow.

Each rule equals the processor of transformers 5.17 (tests compare them on random sizes): Qwen2-VL's ``smart_resize``,
GOT-OCR2's tiling that InternVL uses, LLaVA-NeXT's and Llama 4's grids, Gemma 4's budget, Pixtral's longest edge.
"""

import math
from collections.abc import Callable
from fractions import Fraction

from workbench.catalog.vision_spec import ImageTokens, VisionSpec
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext

MOST_ASPECT = 200  # Qwen2-VL's processor refuses longer images
LLAVA_NEXT_GRIDS = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))  # rows and columns, in its processor's order


def image_tokens(vision: VisionSpec, *, height_px: int, width_px: int) -> ImageTokens:
    """Return what an image of this size becomes; raises ``InvalidSpec`` for one that the processor refuses."""
    if height_px < 1 or width_px < 1:
        raise InvalidSpec(
            gettext("An image of {height} x {width} pixels has nothing in it.").format(
                height=height_px, width=width_px
            ),
            remedy=gettext("Give sides above 0."),
        )
    return _RULES[vision.rule](vision, height_px, width_px)


def _patches(v: VisionSpec, height: int, width: int) -> ImageTokens:
    assert v.min_pixels is not None
    assert v.max_pixels is not None
    if max(height, width) > MOST_ASPECT * min(height, width):
        raise InvalidSpec(
            gettext("The sides {height} x {width} are more than {most} to 1; {model}'s processor refuses that.").format(
                height=height, width=width, most=MOST_ASPECT, model=v.model
            ),
            remedy=gettext("Cut the image."),
        )
    unit = v.patch_px * v.merge
    high, wide = round(height / unit) * unit, round(width / unit) * unit
    if high * wide > v.max_pixels:
        shrink = math.sqrt(height * width / v.max_pixels)
        high, wide = (max(unit, math.floor(side / shrink / unit) * unit) for side in (height, width))
    elif high * wide < v.min_pixels:
        grow = math.sqrt(v.min_pixels / (height * width))
        high, wide = (math.ceil(side * grow / unit) * unit for side in (height, width))
    return _whole(v, high, wide)


def _whole(v: VisionSpec, high: int, wide: int) -> ImageTokens:
    n = (high // v.patch_px) * (wide // v.patch_px)
    return ImageTokens(height_px=high, width_px=wide, n_squares=1, n_patches=n, n_tokens=n // v.merge**2)


def _square(v: VisionSpec) -> int:
    assert v.square_px is not None
    return v.square_px


def _fixed(v: VisionSpec, _height: int, _width: int) -> ImageTokens:
    return _whole(v, _square(v), _square(v))


def _squares(v: VisionSpec, n: int, *, n_tokens: int) -> ImageTokens:
    side = _square(v)
    return ImageTokens(
        height_px=side, width_px=side, n_squares=n, n_patches=n * (side // v.patch_px) ** 2, n_tokens=n_tokens
    )


def _any_resolution(v: VisionSpec, height: int, width: int) -> ImageTokens:
    side, across = _square(v), _square(v) // v.patch_px

    def loss(grid: tuple[int, int]) -> tuple[int, int]:
        high, wide = grid[0] * side, grid[1] * side
        scale = min(wide / width, high / height)
        used = min(int(width * scale) * int(height * scale), width * height)
        return -used, high * wide - used

    rows, columns = min(LLAVA_NEXT_GRIDS, key=loss)
    high, wide = rows * across, columns * across
    if width / height > wide / high:
        high -= (high - int(round(height * (wide / width), 7))) // 2 * 2
    else:
        wide -= (wide - int(round(width * (high / height), 7))) // 2 * 2
    # The grid without its padding and a mark at the end of each row, and the whole image as one square.
    return _squares(v, rows * columns + 1, n_tokens=high * wide + high + across**2)


def _tiles(v: VisionSpec, height: int, width: int) -> ImageTokens:
    assert v.most is not None
    side = _square(v)
    sides = range(1, v.most + 1)
    grids = sorted(((w, h) for w in sides for h in sides if w * h <= v.most), key=math.prod)
    best, least = (1, 1), math.inf
    for columns, rows in grids:
        off = abs(width / height - columns / rows)
        # Of grids that fit alike the larger one, while it is not more than twice the image.
        if off < least or (off == least and height * width > 0.5 * side * side * columns * rows):
            best, least = (columns, rows), off
    n = best[0] * best[1]
    n += n > 1  # the whole image beside its tiles
    return _squares(v, n, n_tokens=n * (side // v.patch_px // v.merge) ** 2 + 2)  # with marks before and after


def _canvas(v: VisionSpec, height: int, width: int) -> ImageTokens:
    assert v.most is not None
    side = _square(v)

    def scale(grid: tuple[int, int]) -> Fraction:
        return min(Fraction(grid[0] * side, height), Fraction(grid[1] * side, width))

    grids = [(n // k, k) for n in range(v.most, 0, -1) for k in range(1, n + 1) if n % k == 0]
    scales = [scale(g) for g in grids]
    wanted = min((s for s in scales if s >= 1), default=max(scales))
    rows, columns = min((g for g, s in zip(grids, scales, strict=True) if s == wanted), key=math.prod)
    n = rows * columns
    tokens_each = (side // v.patch_px) ** 2 // v.merge**2
    marks = 3 + (rows * columns if n > 1 else 0)  # begin, whole image and end; between tiles and after each row
    n += n > 1
    return _squares(v, n, n_tokens=n * tokens_each + marks)


def _budget(v: VisionSpec, height: int, width: int) -> ImageTokens:
    assert v.most is not None
    unit = v.patch_px * v.merge
    grow = math.sqrt(v.most * unit**2 / (height * width))
    high, wide = (math.floor(grow * side / unit) * unit for side in (height, width))
    if not high:
        high, wide = unit, min(width // height, v.most) * unit
    elif not wide:
        high, wide = min(height // width, v.most) * unit, unit
    return _whole(v, high, wide)


def _longest_edge(v: VisionSpec, height: int, width: int) -> ImageTokens:
    too_large = max(height, width) / _square(v)
    if too_large > 1:
        height, width = math.floor(height / too_large), math.floor(width / too_large)
    unit = v.patch_px * v.merge
    rows, columns = (max(0, side - 1) // unit + 1 for side in (height, width))
    n = rows * columns * v.merge**2
    return ImageTokens(
        height_px=rows * unit, width_px=columns * unit, n_squares=1, n_patches=n, n_tokens=(columns + 1) * rows
    )


_RULES: dict[str, Callable[[VisionSpec, int, int], ImageTokens]] = {
    "patches": _patches,
    "fixed": _fixed,
    "any-resolution": _any_resolution,
    "tiles": _tiles,
    "canvas": _canvas,
    "budget": _budget,
    "longest-edge": _longest_edge,
}
