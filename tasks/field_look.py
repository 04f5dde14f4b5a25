"""A look at images of the field before anything is loaded: what would refuse them later."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from eyas.adaptation.fewest_images import FEWEST_IN_WINDOW
from eyas.config import PipelineParams, expand
from eyas.data.archives import is_archive
from eyas.data.decoding import Preprocessing
from eyas.data.formats.image_files import is_image
from eyas.data.image_reader import ImageLocation, ImageReader
from eyas.data.manifest import list_files
from eyas.data.payload import Payload, content_hash
from eyas.data.sources import BUILTIN
from eyas.errors import DataError
from eyas.storage.addresses import parse
from tasks.dated_images import files_within
from tasks.field_images import FIELD, list_field

_ANY = Preprocessing(3, 32)
"""How an image is decoded to see whether it is one."""


def images_here(address: str, base: Path) -> list[Path]:
    """Image files at an address on this machine, in order; none of what is elsewhere, packed, or built in."""
    place = expand(address)
    if place.startswith(BUILTIN) or parse(place).scheme != "file":
        return []
    path = (base / parse(place).key).resolve()
    files = [path / name for name in list_files(path)] if path.is_dir() else [path]
    return [file for file in files if is_image(file.name) and file.is_file()]


def look_at_field(address: str, params: PipelineParams, base: Path, *, labelled: bool) -> None:
    """See that the images at an address on this machine can be used; what is elsewhere, or packed, waits until then.

    Args:
        address: of the images.
        params: as for :func:`tasks.field_images.read_field`.
        base: where relative paths start.
        labelled: whether they shall say what they show.

    Raises:
        DataError: there are none, too few, none that decodes, or no labels where they shall have some.
    """
    place = expand(address)
    if place.startswith(BUILTIN) or parse(place).scheme != "file":
        return
    path = (base / parse(place).key).resolve()
    if not path.exists():
        msg = f"{address}: there is no such file or folder"
        raise DataError(msg)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / FIELD
        if path.is_dir():
            folder.symlink_to(path, target_is_directory=True)
        else:
            folder.mkdir()
            (folder / path.name).symlink_to(path)
        names = list(list_files(folder))
        if any(map(is_archive, names)):
            return
        dates = params.adapt.dates
        if dates and params.adapt.date_column is None:
            files_within(dates, [folder / name for name in names], address)
        if not names:
            msg = f"{address} holds no image: name a folder of images, or a file that holds some"
            raise DataError(msg)
        source = list_field(folder, params, labelled=labelled)
        listing = source.listing
        files = [f"{FIELD}/{listing.files[at]}" for at in listing.file_indices]
        places = [ImageLocation(*one) for one in zip(files, listing.rows.tolist(), strict=True)]
        reader = ImageReader(folder.parent, {FIELD: source.format}, 1)
        require_readable((str(one), reader.load(one)) for one in places)


def require_readable(images: Iterable[tuple[str, Payload]]) -> None:
    """See that enough different images decode for a window; the rest of them is not looked at.

    Args:
        images: each with its name.

    Raises:
        DataError: they are too few, or too few decode; names the first that does not.
    """
    readable: set[str] = set()
    count, copies, reason = 0, 0, ""
    for name, payload in images:
        digest = content_hash(payload)
        if digest in readable:
            copies += 1
            continue
        count += 1
        try:
            _ANY(payload, name)
        except DataError as error:
            reason = reason or str(error)
            continue
        readable.add(digest)
        if len(readable) == FEWEST_IN_WINDOW:
            return
    refuse_few(len(readable), count, reason, copies)


def refuse_few(readable: int, count: int, reason: str = "", copies: int = 0) -> NoReturn:
    """Refuse so few images of ``count``, of which one has a ``reason`` not to be read, and ``copies`` beside them.

    Raises:
        DataError: always.
    """
    told = f", {copies} more repeat another" if copies else ""
    told += f"; {reason}" if reason else ""
    msg = f"{readable} of {count} images can be read{told}: a window needs at least {FEWEST_IN_WINDOW}"
    raise DataError(msg)
