"""Registered versions as checkpoints: a flow asks the registry here, before DVC sees any stage."""

import re
import shutil
from dataclasses import asdict
from pathlib import Path

from eyas.config import PipelineParams
from eyas.errors import CheckpointError, ParameterError
from eyas.networks.architecture_record import ARCHITECTURE, PLAN, WEIGHTS
from eyas.operations.tracking import MlflowStore, Version, model_registry
from eyas.storage.digests import file_sha256, json_sha256
from tasks import dense_source
from tasks.registered_checkpoint import (
    FOLDER,
    MADE_FROM,
    RegisteredCheckpoint,
    read_registered,
    registered_address,
)
from tasks.seen_images import DATA_SET, images_seen, own_comparability
from tasks.source_version import SourceVersions
from tasks.tracking_store import open_store, open_store_of
from tasks.workspace import Workspace

_FORM = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<number>\d+))")


def bring_checkpoint(workspace: Workspace) -> str | None:
    """Bring the registered version that ``baseline.checkpoint`` names, if it names one, to where the stage reads it.

    Call it inside the workspace's lock.

    Returns:
        name, number and digest of the version, whatever alias it has.

    Raises:
        CheckpointError: no version has that alias.
        BadInputError: there is no version of that number.
        ChecksumError: its files are not what was registered.
    """
    address = registered_address(workspace.params)
    if address is None:
        return None
    store = open_store(workspace)
    version = find_version(store, address)
    source_version = _source_version(version)
    if not _is_here(workspace.state, address, version):
        _download(store, version, address, workspace.state)
    return f"{version}, {source_version}"


def checkpoint_versions(params: PipelineParams, root: Path) -> SourceVersions:
    """The present version of the checkpoint, registered or not, if one is named; relative paths start at ``root``.

    Raises:
        BadInputError: there is nothing at the address, or no such version.
        StorageError: the remote or the registry did not answer.
    """
    address = registered_address(params)
    if address is None:
        return dense_source.checkpoint_versions(params, root)
    return {"checkpoint": _source_version(find_version(open_store_of(params, root), address))}


def find_version(store: MlflowStore, address: str) -> Version:
    """The version behind ``models:/name@alias`` or ``models:/name/number``.

    Raises:
        ParameterError: the address has another form.
        CheckpointError: no version has that alias.
        BadInputError: there is no version of that number.
    """
    match = _FORM.fullmatch(address)
    if match is None:
        msg = f"baseline.checkpoint {address!r}: give models:/name@alias or models:/name/number"
        raise ParameterError(msg)
    if match["number"]:
        return model_registry.get_version(store, match["name"], match["number"])
    version = model_registry.get_alias(store, match["name"], match["alias"])
    if version is None:
        numbers = ", ".join(known.number for known in model_registry.list_versions(store, match["name"])) or "none"
        msg = f"{address}: no version has that alias; registered versions: {numbers}"
        raise CheckpointError(msg)
    return version


def _source_version(version: Version) -> str:
    return json_sha256([version.name, version.number, version.manifest_digest])


def _is_here(state: Path, address: str, version: Version) -> bool:
    """Whether the version was brought before, and is whole."""
    try:
        here = read_registered(state, address)[0]
    except CheckpointError:
        return False
    return (here.source_version, here.data_set) == (_source_version(version), version.tags.get(DATA_SET, ""))


def _download(store: MlflowStore, version: Version, address: str, state: Path) -> None:
    """Bring the version's files, in the place of what was brought before, and leave the record."""
    folder = state / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    files = model_registry.download(store, version, folder / f"{version.name}-{version.number}")
    seen = images_seen(store, version)
    RegisteredCheckpoint(
        address=address,
        version=str(version),
        source_version=_source_version(version),
        folder=str(files.relative_to(folder)),
        files={name: file_sha256(files / name) for name in (WEIGHTS, PLAN, ARCHITECTURE)},
        data_set=version.tags.get(DATA_SET, ""),
        comparability=asdict(own_comparability(version, files)),
        seen=None if seen is None else tuple(sorted(seen)),
    ).write(state)


def made_from(workspace: Workspace) -> dict[str, str]:
    """The tag of what is registered from this workspace, if its baseline was a registered version."""
    address = registered_address(workspace.params)
    if address is None:
        return {}
    name, _, number = read_registered(workspace.state, address)[0].version.rpartition(" version ")
    return {MADE_FROM: f"{name}/{number}"}
