"""A registered version as the baseline's checkpoint: the flow asks the registry and leaves it here for the stage.

The stage knows neither MLflow nor the registry. What it reads is ``registered/checkpoint.json`` in the workspace's
state, and the files beside it, each checked against its sha256.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eyas.config import PipelineParams, expand
from eyas.errors import CheckpointError
from eyas.storage.digests import file_sha256

SCHEME = "models:/"
FOLDER = "registered"
RECORD = "checkpoint.json"
MADE_FROM = "eyas.made_from"
"""Tag of a version that was made from another one: its ``name/number``."""


@dataclass(frozen=True)
class RegisteredCheckpoint:
    """A version whose files are in the workspace."""

    address: str
    """What ``baseline.checkpoint`` says, such as ``models:/name@alias``."""
    version: str
    """Name and number of the version that the address meant."""
    source_version: str
    """Digest of name, number and files."""
    folder: str
    """Of the files, seen from the record."""
    files: Mapping[str, str]
    """sha256 by name."""
    data_set: str = ""
    """Digest of the data set that the version was made with."""
    comparability: Mapping[str, Any] = field(default_factory=dict)
    """Of the version on its own test images."""
    seen: tuple[str, ...] | None = None
    """sha256 of the images that the version was made with, the test images aside, and the keys of their pixels; None
    where nobody knows them."""

    def write(self, state: Path) -> None:
        """Leave the record in the workspace's state."""
        (state / FOLDER / RECORD).write_text(json.dumps(asdict(self), indent=2) + "\n")


def registered_address(params: PipelineParams) -> str | None:
    """``baseline.checkpoint`` if it names a registered version."""
    address = expand(params.baseline.checkpoint or "")
    return address if address.startswith(SCHEME) else None


def read_registered(state: Path, address: str) -> tuple[RegisteredCheckpoint, Path]:
    """What the flow left for an address, and the folder of the files.

    Raises:
        CheckpointError: it left nothing for this address, or a file was changed since.
    """
    record = state / FOLDER / RECORD
    content = json.loads(record.read_text()) if record.exists() else {}
    if content.get("address") != address:
        way = "`eyas run`, not `dvc repro`, with the options of this profile"
        msg = f"{address} is in the model registry, which a flow asks and no stage does: {way}"
        raise CheckpointError(msg)
    checkpoint = RegisteredCheckpoint(**content)
    folder = record.parent / checkpoint.folder
    for name, sha256 in checkpoint.files.items():
        if not (folder / name).is_file() or file_sha256(folder / name) != sha256:
            msg = f"{folder / name} is not the file of {checkpoint.version} any more: run the profile to bring it again"
            raise CheckpointError(msg)
    return checkpoint, folder
