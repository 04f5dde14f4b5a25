"""A class for every pixel as a picture: a PNG whose palette indices are class numbers, as masks to train on are."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING or __package__:  # within eyas
    from eyas.data.pixels import crop_box, edges_before_crop
else:  # in a bundle
    from pixels import crop_box, edges_before_crop

UNSEEN = 255
"""The number of pixels that the centre crop leaves out; what masks to train on ignore unless told otherwise."""


def picture_of(classes_HW: Any) -> Image.Image:
    """Class numbers as a picture in colours."""
    picture = Image.fromarray(classes_HW.astype(np.uint8))
    picture.putpalette(_colours())
    return picture


def picture_on(classes_HW: Any, edges: tuple[int, int], how: Mapping[str, Any]) -> Image.Image:
    """The same as wide and high as the image it was made for, by nearest neighbour.

    Args:
        classes_HW: of what the network saw.
        edges: width and height of the image.
        how: the preprocessing, by the names in ``preprocessing.json``.
    """
    whole = edges_before_crop(edges, how["size"], how["resize"])
    canvas = picture_of(np.full(whole[::-1], UNSEEN))
    canvas.paste(picture_of(classes_HW), crop_box(whole, how["size"]))
    return canvas.resize(edges, Image.Resampling.NEAREST)


def shares_of(probabilities_KHW: Any) -> Any:
    """The share of the pixels that each class is the likeliest of, ``(K,)``."""
    classes_HW = probabilities_KHW.argmax(0)
    return np.bincount(classes_HW.ravel(), minlength=len(probabilities_KHW)) / classes_HW.size


def _colours() -> list[int]:
    """256 colours that differ, as in PASCAL VOC's masks: bits of the number, three at a time, from the highest down."""
    return [sum(((n >> 3 * k + c) & 1) << 7 - k for k in range(8)) for n in range(256) for c in range(3)]
