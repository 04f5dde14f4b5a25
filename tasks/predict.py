"""Classes of image files, by a registered version or the last run: read and answered as the device does it.

A version with a bundle answers by that, any other by its ONNX file and what its manifest says of the input.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from eyas.data.decoding import Preprocessing
from eyas.data.formats.image_files import is_image
from eyas.data.left_out import is_hidden
from eyas.deploy.bundle.classifier import Classifier
from eyas.deploy.bundle.contents import BUNDLE, check_contents
from eyas.deploy.bundle.mask_pictures import shares_of
from eyas.deploy.exported_model import ExportedModel
from eyas.errors import BadInputError, one_line
from eyas.operations.tracking import MlflowStore, Version, model_registry
from eyas.operations.tracking.model_registry import CANDIDATE, CHAMPION, PREVIOUS
from tasks.image_fit import image_warning
from tasks.status import what_is_known
from tasks.tracking_store import open_store
from tasks.workspace import Workspace

LAST_RUN = "run"
ALIASES = (CHAMPION, CANDIDATE, PREVIOUS)
Answer = Callable[[Path], NDArray[np.float32]]


@dataclass(frozen=True)
class Prediction:
    """What a network says of one image."""

    file: Path
    probabilities: dict[str, float]
    """By class, the likeliest first; of a network that answers each pixel, the class's share of the image."""


@dataclass(frozen=True)
class Predictions:
    """What a network says of several."""

    network: str
    """Which one, in words."""
    images: tuple[Prediction, ...]
    unreadable: dict[Path, str]
    """Why, by file."""
    warning: str = ""
    """What the images are and what the network takes, where these differ."""
    chosen_as: str = ""
    """Why this version answered, where no number was asked for."""


def predict(workspace: Workspace, places: Sequence[Path], version: str | None = None) -> Predictions:
    """Answer image files, and those in folders.

    Args:
        workspace: names the registered model, its store, and the last run.
        places: files and folders.
        version: a number, an alias or ``run``, what the last run exported; without one the champion, else the
            candidate, else the last run.

    Raises:
        BadInputError: there is no such version, or nothing that could answer.
        ChecksumError: its files are not what was made.
    """
    require_version_name(version)
    files = list_images(places)
    images, unreadable = [], {}
    with exported_files(workspace, version) as (name, folder):
        labels, answer = _opened(folder)
        warning = image_warning(workspace, name.partition(",")[0], folder, files)
        for file in files:
            try:
                probabilities = answer(file)
            except Exception as error:  # Pillow raises nearly anything for a damaged file
                unreadable[file] = _reason(file, error)
                continue
            order = np.argsort(-probabilities, kind="stable")
            images.append(Prediction(file, {labels[at]: float(probabilities[at]) for at in order}))
    return Predictions(name, tuple(images), unreadable, warning, chosen_as(workspace, version))


def chosen_as(workspace: Workspace, asked: str | None) -> str:
    """As what a version was taken, in words; empty where it was asked for by its number or as the last run."""
    if asked is not None:
        return "" if asked.isdigit() or asked == LAST_RUN else f"the {asked}"
    instead, options = instead_of_champion(workspace, None)
    if not instead:
        return "the champion"
    return "no version is registered" if LAST_RUN in options else "the candidate: there is no champion"


def instead_of_champion(workspace: Workspace, asked: str | None) -> tuple[str, tuple[str, ...]]:
    """What is taken as nothing was asked for and there is no champion, in words, and the option that names it.

    Empty where a version was asked for, or a champion is there.
    """
    if asked is not None:
        return "", ()
    store, model = open_store(workspace), workspace.params.register_.model
    if model_registry.get_alias(store, model, CHAMPION) is not None:
        return "", ()
    version = asked_version(store, model, None)
    if version is None:
        return f"{model} has no champion: the last run of {workspace.name} is taken", ("--version", LAST_RUN)
    taken = f"{model} has no champion: version {version.number}, the candidate, is taken"
    return taken, ("--version", version.number)


def list_images(places: Sequence[Path]) -> list[Path]:
    """The files, and the images anywhere below the folders.

    Raises:
        BadInputError: a folder holds none.
    """
    files: list[Path] = []
    for place in places:
        if not place.is_dir():
            files.append(place)
            continue
        below = sorted(path for path in place.rglob("*") if is_image(path.name) and path.is_file())
        below = [path for path in below if not is_hidden(str(path.relative_to(place)))]
        if not below:
            msg = f"{place} holds no image: name a folder of images, or image files"
            raise BadInputError(msg)
        files += below
    return files


def _reason(file: Path, error: Exception) -> str:
    if not file.exists():
        return "there is no such file"
    return "not an image" if isinstance(error, UnidentifiedImageError) else one_line(error).removeprefix(f"{file} ")


@contextmanager
def exported_files(workspace: Workspace, asked: str | None) -> Iterator[tuple[str, Path]]:
    """Which network it is, in words, and the folder of its verified files; ``asked`` as in :func:`predict`."""
    with tempfile.TemporaryDirectory() as scratch:
        if asked == LAST_RUN:
            yield _last_run(workspace)
            return
        store = open_store(workspace)
        version = asked_version(store, workspace.params.register_.model, asked)
        if version is None:
            yield _last_run(workspace)
            return
        name = ", ".join([str(version), *what_is_known(version)])
        yield name, model_registry.download(store, version, Path(scratch))


def asked_version(store: MlflowStore, model: str, asked: str | None) -> Version | None:
    """The version that is asked for; None for the last run, which is meant too where there is none and none is asked.

    Raises:
        BadInputError: there is no such version.
    """
    if asked == LAST_RUN:
        return None
    if asked is None:
        known = (model_registry.get_alias(store, model, alias) for alias in (CHAMPION, CANDIDATE))
        return next((version for version in known if version), None)
    if asked.isdigit():
        return model_registry.get_version(store, model, asked)
    version = model_registry.get_alias(store, model, asked)
    if version is None:
        numbers = ", ".join(known.number for known in model_registry.list_versions(store, model)) or "none"
        msg = f"{model} has no {asked}; registered versions: {numbers}"
        raise BadInputError(msg)
    return version


def require_version_name(asked: str | None) -> None:
    """Refuse what no version is called, before the store is asked.

    Raises:
        BadInputError: says what there is.
    """
    # a budget's candidate may have an alias of its own
    if (
        asked not in (None, LAST_RUN)
        and not asked.isdigit()
        and asked not in ALIASES
        and not asked.startswith(CANDIDATE)
    ):
        msg = f"--version {asked}: give a number, {', '.join(ALIASES)}, or {LAST_RUN} (what the last run exported)"
        raise BadInputError(msg)


def _last_run(workspace: Workspace) -> tuple[str, Path]:
    folder = workspace.artifacts / "export"
    if not (folder / "manifest.json").exists():
        msg = f"{workspace.name} has no version and no exported network yet: `{workspace.command}` makes both"
        raise BadInputError(msg)
    model_registry.read_manifest(folder)
    return f"the last run of {workspace.name}", folder


def _opened(folder: Path) -> tuple[Sequence[str], Answer]:
    if (folder / BUNDLE / "labels.json").exists():
        check_contents(folder / BUNDLE)
        classifier = Classifier(folder / BUNDLE, threads=1)

        def classify(file: Path) -> NDArray[np.float32]:
            answer = classifier(classifier.read(file))
            return np.asarray(shares_of(answer) if classifier.masks else answer, np.float32)

        return classifier.labels, classify
    model = ExportedModel.open(folder)
    channels, size, _ = model.shape
    read = Preprocessing(channels, size, model.resize)

    def answer(file: Path) -> NDArray[np.float32]:
        pixels_CHW = torch.from_numpy(read(file.read_bytes(), str(file)).copy())
        probabilities_K: NDArray[np.float32] = model.probabilities(pixels_CHW[None])[0]
        return probabilities_K

    return model.manifest["classes"], answer
