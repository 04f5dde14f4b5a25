"""Every image of a source decoded once, with its mask where it has one, so that all that is broken is told now."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from eyas.data.decoding import Preprocessing
from eyas.data.depth import check_depth
from eyas.data.image_reader import ImageLocation, ImageReader
from eyas.data.mask_decoding import ClassNumbers, decode_mask, require_same_size
from eyas.data.payload import Payload, content_hash
from eyas.data.tasks import IGNORED
from eyas.errors import DataError
from eyas.progress import Progress

_LOG = logging.getLogger(__name__)
_SHOWN = 100  # broken images that are named one by one


class VerifiedImage(NamedTuple):
    """What is known of an image that was decoded; all of a broken one is empty."""

    digest: str = ""
    """sha256 of the image as stored."""
    pixels: str = ""
    """sha256 of the pixels that a network sees."""
    mask: str = ""
    """sha256 of its mask as stored."""
    classes: tuple[int, ...] = ()
    """Those of the pixels that a network sees, where there is a mask."""


def verify_images(
    reader: ImageReader,
    locations: Sequence[ImageLocation],
    masks: Sequence[str],
    preprocessing: Preprocessing,
    *,
    skip_broken: int,
    progress: Progress,
) -> list[VerifiedImage]:
    """Decode every image and every mask.

    Args:
        reader: of the files.
        locations: of the images.
        masks: file of each image's mask; "" where it has none.
        preprocessing: how a network sees them.
        skip_broken: how many images may be broken.
        progress: told how far it is.

    Raises:
        DataError: more images than ``skip_broken`` do not decode, or those of 16 bits do not use them.
    """
    verified, broken = [VerifiedImage()] * len(locations), list[str]()
    mask_of, peaks = dict(zip(locations, masks, strict=True)), dict[str, int]()

    def check(location: ImageLocation, payload: Payload) -> tuple[VerifiedImage, int | None] | DataError:
        try:
            decoded = preprocessing.decode(payload, str(location))
            image = VerifiedImage(content_hash(payload), content_hash(decoded.pixels))
            if mask := mask_of[location]:
                data = reader.load(ImageLocation(mask, -1))
                numbers, stored = decode_mask(data, mask, preprocessing, reader.masks_of(mask))
                require_same_size(str(location), decoded.stored, mask, stored)
                image = image._replace(mask=content_hash(data), classes=_classes(numbers))
        except DataError as error:
            return error
        return image, decoded.peak

    step = max(len(locations) // 20, 1)
    for done, (position, result) in enumerate(reader.each(locations, check), 1):
        if isinstance(result, DataError):
            broken.append(str(result))
        else:
            verified[position], peak = result
            if peak is not None:
                part = locations[position].file.split("/", 1)[0]
                peaks[part] = max(peak, peaks.get(part, 0))
        if done % step == 0 or done == len(locations):
            progress(done, len(locations), "images verified")
    _tell_broken(broken, skip_broken)
    check_depth(peaks)
    return verified


def _classes(numbers: ClassNumbers) -> tuple[int, ...]:
    return tuple(np.unique(numbers[numbers != IGNORED]).tolist())


def _tell_broken(broken: Sequence[str], allowed: int) -> None:
    """Name the images that do not decode.

    Raises:
        DataError: there are more than are allowed.
    """
    more = [f"and {len(broken) - _SHOWN} more"] if len(broken) > _SHOWN else []
    names = "\n  ".join([*broken[:_SHOWN], *more])
    if len(broken) > allowed:
        them, count = "it" if len(broken) == 1 else "them", len(broken)
        way = f"repair or remove {them}, or let `skip_broken` leave out {count} (it is {allowed})"
        msg = f"1 image is broken, {names}; {way}" if count == 1 else f"{count} images are broken, {way}:\n  {names}"
        raise DataError(msg)
    if broken:
        noun = "broken image is" if len(broken) == 1 else "broken images are"
        _LOG.warning("%d %s left out:\n  %s", len(broken), noun, names)
