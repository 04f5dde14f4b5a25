"""A site's own images as the network sees them: read as the bundle says, labelled by the folders that they lie in."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from eyas.data.decoding import MODES, Preprocessing
from eyas.data.formats.image_files import is_image
from eyas.data.left_out import is_hidden
from eyas.deploy.bundle.preprocessing import PREPROCESSING, PreprocessingRecord
from eyas.errors import DataError, one_line
from eyas.storage.json_text import parse_json

log = logging.getLogger(__name__)
MOST_NAMED = 5
"""Images that cannot be read, by name."""


def read_images(folder: Path, bundle: Path) -> Tensor:
    """All images below a folder, normalised as the network was trained, float32 ``(N, C, H, W)``.

    One that cannot be read is left out, and told by a warning with its name.

    Raises:
        DataError: there is none, none can be read, or the bundle does not say how.
    """
    return torch.cat([*_read(_files(folder), bundle).values()])


def read_labelled_images(folder: Path, bundle: Path) -> tuple[Tensor, Tensor]:
    """Images from ``folder/<class>/...``, and the number ``(N,)`` that the bundle gives to each class.

    Raises:
        DataError: as above; or a folder is no class of the network.
    """
    labels = _json(bundle / "labels.json")
    number, files = {name: at for at, name in enumerate(labels)}, _files(folder)
    names = [file.relative_to(folder).parts[0] for file in files]
    unknown = next((name for name in names if name not in number), None)
    if unknown is not None:
        msg = f"{folder}: {unknown!r} is no class of the network; expected a folder for each of {', '.join(labels)}"
        raise DataError(msg)
    images = _read(files, bundle)
    label = dict(zip(files, names, strict=True))
    return torch.cat([*images.values()]), torch.tensor([number[label[file]] for file in images])


def _files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if is_image(path.name) and path.is_file())
    files = [path for path in files if not is_hidden(str(path.relative_to(folder)))]
    if not files:
        msg = f"{folder} holds no image"
        raise DataError(msg)
    return files


def _read(files: Sequence[Path], bundle: Path) -> dict[Path, Tensor]:
    """Each image that can be read, ``(1, C, H, W)``."""
    try:
        how = PreprocessingRecord.model_validate(_json(bundle / PREPROCESSING))
    except ValidationError as error:
        msg = f"{bundle / PREPROCESSING} does not say how images are read: {one_line(error)}"
        raise DataError(msg) from error
    channels = next(count for count, mode in MODES.items() if mode == how.mode)
    decode = Preprocessing(channels, how.size, how.resize)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (how.mean, how.std))
    images, broken = {}, []
    for file in files:
        try:
            pixels_CHW = torch.from_numpy(decode(file.read_bytes(), str(file)).copy())
        except (DataError, OSError) as error:
            broken.append(error)
            continue
        images[file] = ((pixels_CHW.float() / 255 - mean) / std)[None]
    if not images:
        msg = f"none of the {len(files)} images can be read; the first: {broken[0]}"
        raise DataError(msg)
    if broken:
        told = "; ".join(map(str, broken[:MOST_NAMED])) + ("; ..." if len(broken) > MOST_NAMED else "")
        log.warning("%d of %d images are left out: %s", len(broken), len(files), told)
    return images


def _json(path: Path) -> Any:
    try:
        return parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read ({one_line(error)}): name the bundle of the network, a folder"
        raise DataError(msg) from error
