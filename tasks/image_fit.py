"""Whether image files are of the kind that a network was trained on; others are read, too, and answers mean little."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from eyas.config import load_params
from eyas.data import open_dataset
from eyas.data.decoding import DAMAGE, open_image
from eyas.data.manifest import MANIFEST
from eyas.data.payload import Payload
from eyas.deploy.exported_model import ExportedModel
from eyas.errors import EyasError
from eyas.operations.tracking.model_registry import CANDIDATE, CHAMPION, get_alias
from tasks.given_places import path_from_here
from tasks.next_command import profile_options
from tasks.profile_name import DEFAULT
from tasks.tracking_store import is_unused, open_store
from tasks.workspace import Workspace, open_workspace
from tasks.workspace_files import recorded_arguments

LOOKED_AT = 32
"""Files, at most."""
SCALED = 2.0
"""A side that is so many times as long as the network's, or as short, is another one."""
COLOURED = 32
"""Difference of a pixel's channels from which on it is coloured: grey JPEGs of three channels have less."""
IN_COLOUR = " in colour"
OFFERED = 2
"""Profiles, at most."""
COLOURS = {1: "grey", 3: "colour", 4: "colour"}
"""By number of channels."""


def image_warning(workspace: Workspace, network: str, folder: Path, files: Sequence[Path]) -> str:
    """What images are and what the network takes, where these differ, with options for such images; else nothing.

    Sizes count for nothing where the version's own training images, if they are there, have others as well.

    Args:
        workspace: the profile that is used.
        network: in words.
        folder: of its exported files.
        files: images; the first 32 are looked at.
    """
    exported = ExportedModel.open(folder)
    for file in files[:LOOKED_AT]:
        if file.is_file() and (unlike := _difference(exported, file.read_bytes())):
            if not unlike.endswith(IN_COLOUR) and _trained_on_other_sizes(workspace, exported):
                return ""
            channels, height, width = exported.shape
            takes = f"{network} takes {width} x {height} in {COLOURS.get(channels, f'{channels} channels')}"
            others = _options_for(workspace, file.read_bytes())
            options = " or ".join(others[:OFFERED])
            more = f" ({len(others) - OFFERED} more: eyas status)" if len(others) > OFFERED else ""
            there = f"; for such images give {options}{more}" if others else ""
            return f"warning: {path_from_here(file)} is {unlike}, {takes}: its answers may mean little{there}"
    return ""


def _difference(exported: ExportedModel, payload: Payload) -> str:
    """What an image is, where that is another kind than the network takes; nothing of what does not decode."""
    channels, *_ = exported.shape
    try:
        with open_image(payload) as image:
            edges, coloured = image.size, channels == 1 and _is_coloured(image)
    except DAMAGE:
        return ""
    return f"{edges[0]} x {edges[1]}{IN_COLOUR * coloured}" if coloured or _is_scaled(exported, edges) else ""


def _is_scaled(exported: ExportedModel, edges: tuple[int, int]) -> bool:
    """Whether an image of such edges becomes much larger or smaller, or loses its aspect."""
    if exported.resize:  # a crop of photographs, which are larger and of any aspect
        return min(edges) * SCALED <= exported.resize
    size = exported.shape[1]
    return edges[0] != edges[1] or not size / SCALED < edges[0] < size * SCALED


def _is_coloured(image: Image.Image) -> bool:
    if image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I"):
        return False
    return int(np.ptp(np.asarray(image.convert("RGB")), axis=2).max()) >= COLOURED


def _trained_on_other_sizes(workspace: Workspace, exported: ExportedModel) -> bool:
    """Whether the first training image, if any profile here has it, was resized as much."""
    for folder in (workspace.folder, *_folders(workspace).values()):
        fetched = folder / "artifacts" / "fetch"
        if not (fetched / MANIFEST).exists():
            continue
        dataset = open_dataset(fetched)
        if dataset.digest == exported.manifest.get("dataset"):
            height, width, _ = dataset.split("train").upright(1)[0].shape
            return _is_scaled(exported, (width, height))
    return False


def _folders(workspace: Workspace) -> dict[str, Path]:
    """Of every profile in the checkout, by name."""
    others = {path.name: path for path in sorted((workspace.root / "workspaces").glob("*"))}
    return {DEFAULT: workspace.root} | others


def _options_for(workspace: Workspace, payload: Payload) -> list[str]:
    """The options of other profiles whose exported network takes such an image, the shortest that answer by one."""
    fit = []
    for name, folder in _folders(workspace).items():
        export = folder / "artifacts" / "export"
        if name == workspace.name or not (export / "manifest.json").exists():
            continue
        if not _difference(ExportedModel.open(export), payload):
            made = replace(workspace, name=name, folder=folder, arguments=recorded_arguments(folder))
            fit.append(profile_options(_by_its_file(made)) or "no --params")
    return list(dict.fromkeys(fit))


def _by_its_file(made: Workspace) -> Workspace:
    """The profile of the parameter file alone, where that names the same model and a version would answer."""
    if made.arguments and (made.folder / "params.yaml").exists():
        with suppress(EyasError):
            alone = open_workspace(made.root, made.root / made.arguments[1])
            model = load_params(made.folder / "params.yaml").register_.model
            if alone.params.register_.model == model and _answers(alone, model):
                return alone
    return made


def _answers(workspace: Workspace, model: str) -> bool:
    """Whether a version is taken where none is named."""
    if is_unused(workspace):
        return False
    store = open_store(workspace)
    return any(get_alias(store, model, alias) for alias in (CHAMPION, CANDIDATE))
