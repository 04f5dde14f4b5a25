"""From a stored image to the pixels a network sees.

C channels, H height, W width; pixel values are unsigned bytes.
"""

import io
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from eyas.data.limits import DEFAULT_LIMITS, Limits
from eyas.data.payload import Payload
from eyas.data.pixels import WHITE, crop_box, edges_before_crop, in_colours, turn_upright, white_of
from eyas.errors import DataError, one_line

_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # none that starts another program
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's colour mode by number of channels."""
# What Pillow raises for bytes that are no image, of whatever kind.
DAMAGE = (
    *(Image.DecompressionBombError, OSError, SyntaxError, ValueError, TypeError, struct.error, EOFError),
    *(OverflowError, ArithmeticError, LookupError, AttributeError, RuntimeError, NotImplementedError),
)
"""What Pillow raises for bytes that are no image, of whatever kind."""
_PILLOWS_LIMIT = threading.Lock()


class Decoded(NamedTuple):
    """One image as a network gets it."""

    pixels: NDArray[np.uint8]
    """(C, H, W)."""
    peak: int | None
    """Largest value, as stored, of a grey image of 16 bits; None of all others."""
    stored: tuple[int, int]
    """Width and height before it was resized, turned upright."""


@dataclass(frozen=True)
class Preprocessing:
    """What happens to an image on its way to the network; no augmentation.

    Images are turned upright as their EXIF orientation says. Grey images of 16 bits are divided by 257, TIFFs that say
    12 bits by 4095 / 255, those of floats in [0, 1] multiplied by 255; values outside these ranges are refused.
    """

    channels: int
    """1 grey, 3 RGB, 4 RGBA; images of other colour modes are converted."""
    size: int
    """Height and width of the result."""
    resize: int | None = None
    """Shorter edge before a centre crop; without it images are resized to ``size`` directly."""
    limits: Limits = DEFAULT_LIMITS
    """How many pixels an image may have."""

    def __post_init__(self) -> None:
        if self.channels not in MODES:
            msg = f"images have 1, 3 or 4 channels, not {self.channels} (`channels`)"
            raise DataError(msg)
        if self.resize is not None and self.resize < self.size:
            msg = f"`resize` {self.resize} is smaller than `size` {self.size}: the crop would not fit"
            raise DataError(msg)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every decoded image."""
        return self.channels, self.size, self.size

    def __call__(self, payload: Payload, name: str) -> NDArray[np.uint8]:
        """Decode one image to shape (C, H, W); ``name`` says which in errors, which are the same as below."""
        return self.decode(payload, name).pixels

    def decode(self, payload: Payload, name: str) -> Decoded:
        """Decode one image, and say how large the values of 16 bits are that it holds.

        Raises:
            DataError: the bytes are no image, are cut short, or are more pixels than ``limits`` allow, which is told
                before they are decoded.
        """
        pixels_HWC, peak, stored = self._read(payload, name, self.fit)
        return Decoded(pixels_HWC.transpose(2, 0, 1), peak, stored)

    def upright(self, payload: Payload, name: str) -> NDArray[np.uint8]:
        """One image before it is resized, ``(H, W, C)``: upright, in the network's colours; errors as above."""
        return self._read(payload, name, lambda image: image)[0]

    def _read(
        self, payload: Payload, name: str, fit: Callable[[Image.Image], Image.Image]
    ) -> tuple[NDArray[np.uint8], int | None, tuple[int, int]]:
        """Pixels ``(H, W, C)``, the peak and the stored size of an image that ``fit`` brings to its size."""
        try:
            with open_image(payload) as image:
                self.limits.check_pixels(*image.size)
                turn_upright(image)
                peak, stored = _peak(image), image.size
                pixels = np.asarray(fit(in_colours(image, MODES[self.channels])))
        except DAMAGE as error:
            reason = "not an image" if isinstance(error, UnidentifiedImageError) else one_line(error)
            msg = f"{name} does not decode: {reason}"
            raise DataError(msg) from error
        return pixels.reshape(*pixels.shape[:2], self.channels), peak, stored

    def fit(self, image: Image.Image, how: Image.Resampling = Image.Resampling.BILINEAR) -> Image.Image:
        """Resize (antialiased, where ``how`` is) and crop to the network's size."""
        edges = edges_before_crop(image.size, self.size, self.resize)
        self.limits.check_pixels(*edges)
        if edges != image.size:
            image = image.resize(edges, how)
        return image if edges == (self.size, self.size) else image.crop(crop_box(edges, self.size))


def open_image(payload: Payload) -> Image.Image:
    """An image, of which no more than the header is read; how large it may be is not left to Pillow."""
    if isinstance(payload, bytes):
        with _PILLOWS_LIMIT:  # one for the process: without it, Pillow refuses what a limit of the user's would allow
            pillows, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                return Image.open(io.BytesIO(payload), formats=_FORMATS)
            finally:
                Image.MAX_IMAGE_PIXELS = pillows
    return Image.fromarray(np.ascontiguousarray(payload))


def _peak(image: Image.Image) -> int | None:
    """The largest value of an image of 16 bits."""
    return int(np.asarray(image).max()) if image.mode.startswith("I") and white_of(image) == WHITE else None
