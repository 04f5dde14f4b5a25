"""Where a dense network comes from: nowhere, a file anywhere, or a registered version that the flow has brought."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eyas.config import BaselineParams, PipelineParams, expand
from eyas.errors import CheckpointError
from eyas.networks.architecture_record import WEIGHTS, read_record
from eyas.networks.architectures import build_model, find_architecture
from eyas.networks.checkpoint import load_weights
from eyas.networks.class_count import classes_of_weights
from eyas.networks.pruned_architecture import FACTORY, dense_architecture, describe
from eyas.storage import Store
from tasks.registered_checkpoint import RegisteredCheckpoint, read_registered, registered_address
from tasks.source_version import SourceVersions, address_version, require_unchanged, versions_if_told


@dataclass(frozen=True)
class DenseSource:
    """An architecture, and the file that holds its weights."""

    architecture: str
    """A name in ``models/``, or ``package.module:factory``."""
    arguments: dict[str, Any]
    weights: Path | None = None
    versions: SourceVersions = field(default_factory=dict)
    """What the source said of the version that was brought, under ``checkpoint``."""
    registered: RegisteredCheckpoint | None = None
    """The registered version that it is, if it is one."""


def find_dense_source(params: PipelineParams) -> DenseSource:
    """What ``params.baseline`` names, its weights brought to this machine and compared with their digest.

    Raises:
        CheckpointError: a registered version was not brought by a flow, or holds a network of another architecture.
        ChecksumError: the bytes are not those of ``checkpoint_sha256``.
        DataError: there is nothing at the address.
        StorageError: what the address holds changed while it was brought.
    """
    baseline, registered = params.baseline, registered_address(params)
    if baseline.checkpoint is None:
        return DenseSource(baseline.architecture, baseline.arguments)
    if registered is not None:
        return _from_registry(registered, baseline, Path(params.runtime.state))
    before = versions_if_told(lambda: checkpoint_versions(params))
    weights = _download(expand(baseline.checkpoint), params)
    require_unchanged(before, versions_if_told(lambda: checkpoint_versions(params)))
    return DenseSource(baseline.architecture, baseline.arguments, weights, before)


def classes_of_network(known: int, source: DenseSource, key: str | None) -> int:
    """How many classes the dense network tells apart: by the data or, where that does not say, by its own making.

    Args:
        known: by the data; 0 where it does not say.
        source: of the network; ``arguments`` or weights tell.
        key: of its state dict among several.

    Raises:
        ParameterError: nothing tells.
    """
    dense = dense_architecture(source.architecture, source.arguments)
    known = known or dense.arguments.get("num_classes", 0)
    if known or source.weights is None:
        return known
    weights = load_weights(source.weights, key)
    return classes_of_weights(weights, lambda count: build_model(dense.factory, dense.arguments, count))


def checkpoint_versions(params: PipelineParams, base: Path = Path()) -> SourceVersions:
    """The present version of the checkpoint, if one is named; relative paths start at ``base``.

    Raises:
        BadInputError: there is nothing at the address.
        StorageError: the remote did not answer.
    """
    address = params.baseline.checkpoint
    if address is None:
        return {}
    return {"checkpoint": address_version(address, Store(params.runtime.storage), base)}


def _download(address: str, params: PipelineParams) -> Path:
    """The file at an address, in the workspace's state."""
    state = Path(params.runtime.state)
    shutil.rmtree(state / "checkpoint", ignore_errors=True)
    (state / "checkpoint").mkdir(parents=True)
    target = state / "checkpoint" / address.split("?", maxsplit=1)[0].rstrip("/").rsplit("/", 1)[-1]
    Store(params.runtime.storage, state / "downloads").download(address, target, params.baseline.checkpoint_sha256)
    return target


def _from_registry(address: str, baseline: BaselineParams, state: Path) -> DenseSource:
    """A registered version: the pruned network that it holds, to be adapted or pruned further."""
    checkpoint, files = read_registered(state, address)
    record = read_record(files)
    dense = dense_architecture(record.architecture, record.arguments)
    named = find_architecture(baseline.architecture, baseline.arguments, record.arguments.get("num_classes", 0))
    if named != dense:
        msg = (
            f"{address} was pruned from {dense.factory} with {dense.arguments}, but baseline.architecture and "
            f"baseline.arguments name {named.factory} with {named.arguments}: name the same network"
        )
        raise CheckpointError(msg)
    versions = {"checkpoint": checkpoint.source_version}
    return DenseSource(FACTORY, describe(files), files / WEIGHTS, versions, checkpoint)
