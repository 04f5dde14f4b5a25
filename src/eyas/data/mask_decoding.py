"""From a stored mask to the class number of each pixel a network sees.

H height, W width; a pixel without a class is ``IGNORED``.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyas.data.decoding import DAMAGE, Preprocessing, open_image
from eyas.data.formats.masks import Masks
from eyas.data.payload import Payload
from eyas.data.tasks import IGNORED
from eyas.errors import DataError, one_line

ClassNumbers = NDArray[np.int16]
"""A decoded mask, (H, W)."""
_SHOWN = 5


def decode_mask(payload: Payload, name: str, how: Preprocessing, masks: Masks) -> tuple[ClassNumbers, tuple[int, int]]:
    """Decode one mask as its image is, but by nearest neighbour; and how large it is as stored, (width, height).

    Args:
        payload: a PNG.
        name: says which in errors.
        how: its image was decoded.
        masks: the classes, and the number of pixels to ignore.

    Raises:
        DataError: it is no such PNG, holds colours or numbers that are no class, or nothing but pixels to ignore.
    """
    try:
        with open_image(payload) as image:
            how.limits.check_pixels(*image.size)
            numbers, stored, mode, kind = np.asarray(image), image.size, image.mode, image.format
    except DAMAGE as error:
        msg = f"{name} does not decode: {one_line(error)}"
        raise DataError(msg) from error
    assert isinstance(payload, bytes)
    is_grey = kind == "PNG" and payload[25] == 0  # of the header (ISO/IEC 15948, section 11.2.2), depth before it
    if kind != "PNG" or mode not in {"L", "P", "1"} or (is_grey and payload[24] in {2, 4}):
        what = f"grey of {payload[24]} bits" if is_grey else f"a {kind} in colours ({mode})"
        msg = (
            f"{name} is {what}: a mask is a PNG of one class number per pixel, as grey of 8 bits or as the indices of "
            "a palette; convert it"
        )
        raise DataError(msg)
    classes = Image.fromarray(_classes(numbers.astype(np.int32), name, masks))
    pixels = np.asarray(how.fit(classes, Image.Resampling.NEAREST)).astype(np.int16)
    if (pixels == IGNORED).all():
        msg = f"{name} holds nothing but pixels to ignore ({masks.ignore}): remove it and its image"
        raise DataError(msg)
    return pixels, stored


def require_same_size(image: str, size: tuple[int, int], mask: str, mask_size: tuple[int, int]) -> None:
    """Refuse a mask of another size than its image.

    Args:
        image: its name.
        size: width and height, turned upright.
        mask: its name.
        mask_size: width and height.

    Raises:
        DataError: they differ.
    """
    if size != mask_size:
        sizes = [f"{width} x {height}" for width, height in (mask_size, size)]
        msg = f"{mask} has {sizes[0]} pixels and {image} {sizes[1]}: a mask is as large as its image, turned upright"
        raise DataError(msg)


def _classes(numbers_HW: NDArray[np.int32], name: str, masks: Masks) -> NDArray[np.int32]:
    """Class numbers, ``IGNORED`` where there is none.

    Raises:
        DataError: a number is that of no class.
    """
    ignored = numbers_HW == (-1 if masks.ignore is None else masks.ignore)
    count = len(masks.classes)
    wrong = np.unique(numbers_HW[~ignored & (numbers_HW >= count)])
    if len(wrong):
        shown = ", ".join(map(str, wrong[:_SHOWN].tolist())) + (", ..." if len(wrong) > _SHOWN else "")
        others = "" if masks.ignore is None else f", and {masks.ignore} for pixels to ignore (`ignore`)"
        msg = f"{name} holds {shown}, where {count} classes are numbered from 0 to {count - 1}{others}"
        raise DataError(msg)
    return np.where(ignored, IGNORED, numbers_HW).astype(np.int32)
