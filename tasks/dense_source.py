"""Where a dense network comes from: nowhere, a file anywhere, or the model registry."""

import json
import re
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from eyas.networks.saved_network import ARCHITECTURE, WEIGHTS

from eyas.config import BaselineParams, PipelineParams, RuntimeParams, expand
from eyas.errors import CheckpointError, ParameterError
from eyas.networks.architectures import find_architecture
from eyas.networks.pruned_architecture import FACTORY, describe
from eyas.operations.tracking import Store as TrackingStore
from eyas.operations.tracking import model_registry, open_store
from eyas.storage import Store
from eyas.storage.digests import json_sha256
from tasks.source_version import Signatures, address_signature, noted, require_same

SCHEME = "models:/"
_FORM = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<number>\d+))")
_CHECKOUT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Origin:
    """An architecture, and the file that holds its weights."""

    architecture: str
    """A name in ``models/``, or ``package.module:factory``."""
    arguments: dict[str, Any]
    weights: Path | None = None
    signatures: Signatures = field(default_factory=dict)
    """What the source said of the version that was brought, under ``checkpoint``."""


def find_origin(params: PipelineParams) -> Origin:
    """What ``params.baseline`` names, its weights brought to this machine and compared with their digest.

    Raises:
        CheckpointError: the registry has no such model, or holds one of another architecture.
        ChecksumError: the bytes are not those of ``checkpoint_sha256``.
        DataError: there is nothing at the address.
        StorageError: what the address holds changed while it was brought.
    """
    seen = noted(lambda: checkpoint_signatures(params))
    origin = _bring(params)
    require_same(seen, noted(lambda: checkpoint_signatures(params)))
    return replace(origin, signatures=seen)


def checkpoint_signatures(params: PipelineParams, base: Path = Path()) -> Signatures:
    """The present signature of the checkpoint, if one is named; of a registered one its number and its files.

    Raises:
        BadInputError: there is nothing at the address, or no such version.
        StorageError: the remote or the registry did not answer.
    """
    address = params.baseline.checkpoint
    if address is None:
        return {}
    if not expand(address).startswith(SCHEME):
        return {"checkpoint": address_signature(address, Store(params.runtime.storage), base)}
    version = _version(_registry(params.runtime), expand(address))
    return {"checkpoint": json_sha256([version.name, version.number, version.manifest_digest])}


def _bring(params: PipelineParams) -> Origin:
    given = params.baseline
    if given.checkpoint is None:
        return Origin(given.architecture, given.arguments)
    address, folder = expand(given.checkpoint), Path(params.runtime.state) / "checkpoint"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if address.startswith(SCHEME):
        return _from_registry(address, given, params.runtime, folder)
    target = folder / address.split("?")[0].rstrip("/").rsplit("/", 1)[-1]
    store = Store(params.runtime.storage, Path(params.runtime.state) / "downloads")
    store.download(address, target, given.checkpoint_sha256)
    return Origin(given.architecture, given.arguments, target)


def _from_registry(address: str, given: BaselineParams, runtime: RuntimeParams, folder: Path) -> Origin:
    """A registered version: the pruned network that it holds, to be adapted or pruned further."""
    store = _registry(runtime)
    files = model_registry.download(store, _version(store, address), folder)
    saved = json.loads((files / ARCHITECTURE).read_text())
    described = describe(files)
    named = find_architecture(given.architecture, given.arguments, saved["arguments"].get("num_classes", 0))
    first = _first(saved)
    if (named.factory, named.arguments) != first:
        msg = (
            f"{address} was pruned from {first[0]} with {first[1]}, but baseline.architecture and "
            f"baseline.arguments name {named.factory} with {named.arguments}: name the same network"
        )
        raise CheckpointError(msg)
    return Origin(FACTORY, described, files / WEIGHTS)


def _registry(runtime: RuntimeParams) -> TrackingStore:
    return open_store(_CHECKOUT, uri=runtime.tracking_uri, experiment=runtime.experiment)


def _first(saved: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The dense factory and its arguments, below however many rounds of pruning."""
    while saved["architecture"] == FACTORY:
        saved = saved["arguments"]
    return saved["architecture"], dict(saved["arguments"])


def _version(store: TrackingStore, address: str) -> model_registry.Version:
    """The version behind ``models:/name@alias`` or ``models:/name/number``."""
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
