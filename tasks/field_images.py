"""Images of the field: brought from an address, decoded as the device decodes them, each once, known by its sha256."""

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from eyas.config import PipelineParams, expand
from eyas.data.class_names import class_of_number
from eyas.data.decoding import Preprocessing
from eyas.data.formats import Listing
from eyas.data.image_reader import ImageLocation, ImageReader
from eyas.data.manifest import list_files
from eyas.data.partitions import ListedSource, list_source
from eyas.data.payload import Payload, content_hash
from eyas.data.sources import BUILTIN, fetch_files
from eyas.errors import DataError, one_line
from eyas.parallel import cores, share_threads
from eyas.storage import Store, redact
from eyas.storage.addresses import parse
from eyas.storage.digests import json_sha256
from tasks.dated_images import names_within, rows_within
from tasks.field_copies import drawn_order, first_copies

log = logging.getLogger(__name__)
FIELD = "field"
"""Folder that the images are brought to, and so their name in messages."""
UNLABELLED = "unlabelled"


@dataclass(frozen=True)
class FieldImages:
    """N images of where the network works."""

    pixels: Tensor
    """Unsigned bytes, ``(N, C, H, W)``."""
    sha256: tuple[str, ...]
    """Of each image as it is stored."""
    labels: Tensor | None = None
    """Classes of the network, ``(N,)``, where they are known."""
    dates: str = ""
    """The range that they were taken from, in words; "" for all that are there."""
    copies: int = 0
    """How many more were there and left out, since each image counts once."""

    def __len__(self) -> int:
        return len(self.sha256)

    @property
    def digest(self) -> str:
        """Of all images in their order."""
        return json_sha256(self.sha256)


def read_field(
    address: str,
    params: PipelineParams,
    decode: Preprocessing,
    *,
    classes: Sequence[str] | None = None,
    store: Store,
    base: Path = Path(),
) -> FieldImages:
    """Bring and decode the images at an address, each once; what is left out, as one that does not decode, is told.

    Args:
        address: a file or folder, ``https://`` or ``s3://``.
        params: ``adapt`` says the files' format, of which dates images are taken, and how many at most, by chance
            (``adapt.seed``), in the order of their names; ``fetch.limits`` hold.
        decode: what the network gets of an image.
        classes: of the network, where the images' labels shall be read: in a format that training data may have.
        store: reads remotes.
        base: where relative paths start.

    Raises:
        DataError: there is no image, none of the dates, none decodes, or a label is none of ``classes``, or each image
            has copies with other labels.
    """
    section, limits = params.adapt, params.fetch.limits
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / FIELD
        place, dates = _absolute(address, base), section.dates
        by_file = names_within(dates, store, place) if dates and section.date_column is None else None
        fetch_files(place, folder, partial(store.bring, names=by_file), {}, limits)
        if not any(list_files(folder)):
            msg = f"{redact(address)} holds no image"
            raise DataError(msg)
        source = list_field(folder, params, labelled=classes is not None)
        listing = source.listing
        within = np.arange(len(listing.rows))
        if section.date_column:
            within = rows_within(dates, section.date_column, listing, folder)
        files = [f"{FIELD}/{listing.files[at]}" for at in listing.file_indices[within]]
        places = [ImageLocation(*place) for place in zip(files, listing.rows[within].tolist(), strict=True)]
        labels = None if classes is None else labels_of(listing, classes)[within]
        reader = ImageReader(
            folder.parent, {FIELD: source.format}, share_threads(cores(), wanted=params.runtime.threads)
        )
        digests = [digest for _, digest in sorted(reader.each(places, lambda _, payload: content_hash(payload)))]
        different = first_copies(digests, None if labels is None else labels.tolist(), places)
        order = drawn_order([digests[at] for at in different], section.seed)
        chosen = [different[at] for at in sorted(order[: section.max_images])]
        read = _decoded(reader, [places[at] for at in chosen], decode, None if labels is None else labels[chosen])
        return replace(read, dates=str(dates), copies=len(digests) - len(set(digests)))


def list_field(folder: Path, params: PipelineParams, *, labelled: bool) -> ListedSource:
    """Format and images of the files in a folder.

    Raises:
        DataError: there is no image; or labels are asked for, and nothing says any.
    """
    section, limits = params.adapt, params.fetch.limits
    if not labelled:
        return list_source(folder, section.format, limits, UNLABELLED)
    try:
        return list_source(folder, section.format, limits)
    except DataError as error:
        try:
            list_source(folder, section.format, limits, UNLABELLED)
        except DataError:  # no images at all, or a damaged file
            raise error from None
        msg = (
            f"no labels can be read of the images ({one_line(error).partition(': expected')[0]}): leave out --labels, "
            "or give a folder per class, or files that hold labels, such as Parquet"
        )
        raise DataError(msg) from error


def labels_of(listing: Listing, classes: Sequence[str]) -> Tensor:
    """The labels of images as positions in a network's classes, ``(N,)``.

    Raises:
        DataError: a label is none of them.
    """
    if listing.named:
        position_of = {name: position for position, name in enumerate(classes)}
        unknown = [name for name in listing.classes if name not in position_of]
        positions = [position_of.get(name, -1) for name in listing.classes]
    else:
        positions = class_of_number(classes)
        unknown = [str(number) for number in range(len(positions), len(listing.classes))]
    if unknown:
        known = ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
        msg = f"the labels do not fit: {unknown[0]!r} is no class of the network, which knows {known}"
        raise DataError(msg)
    return torch.tensor(positions)[torch.from_numpy(listing.labels)]


def _absolute(address: str, base: Path) -> str:
    """The address with its variables, a relative path seen from ``base``."""
    expanded = expand(address)
    if expanded.startswith(BUILTIN) or parse(expanded).scheme != "file":
        return expanded
    return str(base / parse(expanded).key)


def _decoded(
    reader: ImageReader, places: Sequence[ImageLocation], decode: Preprocessing, labels: Tensor | None
) -> FieldImages:
    """Pixels and digests of the images that decode, in the order of ``places``."""

    def read(place: ImageLocation, payload: Payload) -> tuple[str, Tensor] | DataError:
        try:
            return content_hash(payload), torch.from_numpy(decode(payload, str(place)).copy())
        except DataError as error:
            return error

    results = [result for _, result in sorted(reader.each(places, read), key=lambda pair: pair[0])]
    broken = [result for result in results if isinstance(result, DataError)]
    whole = [at for at, result in enumerate(results) if not isinstance(result, DataError)]
    if broken:
        log.warning("%d of %d images are left out; the first: %s", len(broken), len(places), broken[0])
    if not whole:
        msg = f"none of the {len(places)} images can be used; the first: {broken[0]}"
        raise DataError(msg)
    images = [result for result in results if not isinstance(result, DataError)]
    pixels = torch.stack([pixels_CHW for _, pixels_CHW in images])
    return FieldImages(pixels, tuple(digest for digest, _ in images), labels[whole] if labels is not None else None)
