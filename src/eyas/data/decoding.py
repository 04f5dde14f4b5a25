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
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from eyas.data.limits import DEFAULT_LIMITS, Limits
from eyas.data.payload import Payload
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
_WHITE = 65535  # of 16 bits
_BITS, _PHOTOMETRIC = 258, 262  # tags of TIFF (TIFF 6.0, section 8)


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
                _turn_upright(image)
                peak, stored = _peak(image), image.size
                pixels = np.asarray(fit(_colour(image, MODES[self.channels])))
        except DAMAGE as error:
            reason = "not an image" if isinstance(error, UnidentifiedImageError) else one_line(error)
            msg = f"{name} does not decode: {reason}"
            raise DataError(msg) from error
        return pixels.reshape(*pixels.shape[:2], self.channels), peak, stored

    def fit(self, image: Image.Image, how: Image.Resampling = Image.Resampling.BILINEAR) -> Image.Image:
        """Resize (antialiased, where ``how`` is) and crop to the network's size."""
        if self.resize is None:
            target = (self.size, self.size)
            return image if image.size == target else image.resize(target, how)
        width, height = image.size
        short = min(width, height)
        scaled = (self.resize * width // short, self.resize * height // short)
        self.limits.check_pixels(*scaled)
        if scaled != image.size:
            image = image.resize(scaled, how)
        left, top = round((scaled[0] - self.size) / 2), round((scaled[1] - self.size) / 2)
        return image.crop((left, top, left + self.size, top + self.size))


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


def _turn_upright(image: Image.Image) -> None:
    """Apply the EXIF orientation; a block of EXIF that is damaged tells none, and is no fault of the pixels."""
    image.load()
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (struct.error, SyntaxError, ValueError, TypeError, KeyError, IndexError, OSError):
        return
    if orientation in range(2, 9):
        ImageOps.exif_transpose(image, in_place=True)


def _colour(image: Image.Image, mode: str) -> Image.Image:
    """Convert the colour mode; grey of 16 bits or floats is scaled (Pillow would clip it)."""
    if image.mode == mode:
        return image
    if image.mode.startswith("I"):
        image = _scaled(image, _white(image))
    elif image.mode == "F":
        image = _scaled(image, 1)
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert(mode)


def _peak(image: Image.Image) -> int | None:
    """The largest value of an image of 16 bits."""
    return int(np.asarray(image).max()) if image.mode.startswith("I") and _white(image) == _WHITE else None


def _white(image: Image.Image) -> int:
    """The value of white in grey of more than 8 bits: a TIFF may say that it has 12."""
    return 4095 if _tiff_tag(image, _BITS) == (12,) else _WHITE


def _scaled(image: Image.Image, white: int) -> Image.Image:
    """Grey values from 0 to ``white`` as unsigned bytes; where a TIFF says that 0 is white, the other way round."""
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= white):  # also where there is a NaN
        msg = f"its values go from {low:g} to {high:g}; of its kind ({image.mode}) 0 to {white} are understood"
        raise ValueError(msg)
    if _tiff_tag(image, _PHOTOMETRIC) == 0:
        values = white - values
    scaled = values.astype(np.int32) * 255 // white if white > 1 else np.rint(values * 255)
    return Image.fromarray(scaled.astype(np.uint8))


def _tiff_tag(image: Image.Image, number: int) -> object:
    """A tag of a TIFF; None where it has none, or the image is no TIFF."""
    return getattr(image, "tag_v2", {}).get(number)
