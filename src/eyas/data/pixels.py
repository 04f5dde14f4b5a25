"""What happens to an image before a network sees it: it is turned upright, and gets the network's colours and size.

A bundle carries this file, so that a device reads images as training did; it needs numpy and Pillow alone.
"""

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps

WHITE = 65535  # of 16 bits
_BITS, _PHOTOMETRIC = 258, 262  # tags of TIFF (TIFF 6.0, section 8)


def turn_upright(image: Image.Image) -> None:
    """Apply the EXIF orientation; a block of EXIF that is damaged tells none, and is no fault of the pixels."""
    image.load()
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (struct.error, SyntaxError, ValueError, TypeError, KeyError, IndexError, OSError):
        return
    if orientation in range(2, 9):
        ImageOps.exif_transpose(image, in_place=True)


def in_colours(image: Image.Image, mode: str) -> Image.Image:
    """Convert to Pillow's ``mode``; grey of 16 bits or floats is scaled (Pillow would clip it).

    Raises:
        ValueError: grey of more than 8 bits has values outside the range that is known of its kind.
    """
    if image.mode == mode:
        return image
    if image.mode.startswith("I"):
        image = _scaled(image, white_of(image))
    elif image.mode == "F":
        image = _scaled(image, 1)
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert(mode)


def edges_before_crop(edges: tuple[int, int], size: int, resize: int | None) -> tuple[int, int]:
    """Width and height that an image is resized to: the shorter one is ``resize``; without it both are ``size``."""
    return (resize * edges[0] // min(edges), resize * edges[1] // min(edges)) if resize else (size, size)


def crop_box(edges: tuple[int, int], size: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the centre of ``size`` by ``size``."""
    left, top = round((edges[0] - size) / 2), round((edges[1] - size) / 2)
    return left, top, left + size, top + size


def network_input(image: Image.Image, how: Mapping[str, Any]) -> Any:
    """Normalised floats ``(1, C, size, size)`` of an upright image in the network's colours.

    ``how`` is what ``preprocessing.json`` says: ``size``, ``resize``, ``mean`` and ``std``.
    """
    size, edges = how["size"], edges_before_crop(image.size, how["size"], how["resize"])
    image = image.resize(edges, Image.Resampling.BILINEAR).crop(crop_box(edges, size))
    values = (np.asarray(image).reshape(1, size, size, -1) / 255 - how["mean"]) / how["std"]
    return values.transpose(0, 3, 1, 2).astype(np.float32)


def white_of(image: Image.Image) -> int:
    """The value of white in grey of more than 8 bits: a TIFF may say that it has 12."""
    return 4095 if _tiff_tag(image, _BITS) == (12,) else WHITE


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
