"""Generated images to send: smooth colours with noise, as JPEG, of the size in bytes and the decoding time of photographs."""

import base64
import io
import random

import numpy as np

from workbench.core.errors import NotAvailable
from workbench.core.language import gettext
from workbench.load.spec import image_buckets

QUALITY = 85
COARSE = 8  # squares of colour along a side


def jpeg(height_px: int, width_px: int, *, rng: random.Random) -> bytes:
    """Return an image that no other draw of the generator gives."""
    try:
        from PIL import Image
    except ImportError as error:
        raise NotAvailable(
            gettext("Images are made with Pillow, which is not installed."), remedy=gettext("pip install pillow")
        ) from error

    draws = np.random.default_rng(rng.randrange(2**32))
    coarse = Image.fromarray(draws.integers(0, 256, (COARSE, COARSE, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width_px, height_px)), np.int16)
    noisy = (smooth + draws.integers(-12, 13, smooth.shape, dtype=np.int16)).clip(0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(noisy).save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


class Pictures:
    """Draws the images of requests by the shares of their sizes; a fraction of them was sent before."""

    def __init__(self, buckets: str, *, hit_fraction: float, rng: random.Random) -> None:
        self._buckets = image_buckets(buckets)
        self._hit_fraction, self._rng = hit_fraction, rng
        self._sent: dict[tuple[int, int], str] = {}

    def part(self) -> dict[str, object]:
        """Return one image as a part of a chat message."""
        size = self._rng.choices([s for s, _ in self._buckets], [share for _, share in self._buckets])[0]
        seen = self._sent.get(size)
        if seen is None or self._rng.random() >= self._hit_fraction:
            seen = "data:image/jpeg;base64," + base64.b64encode(jpeg(*size, rng=self._rng)).decode()
            self._sent.setdefault(size, seen)
        return {"type": "image_url", "image_url": {"url": seen}}
