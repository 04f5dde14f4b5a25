"""A registered version as a PyTorch network, held against the profile that adapts it."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from eyas.config import PipelineParams
from eyas.data import Dataset
from eyas.deploy.exported_model import ExportedModel
from eyas.errors import CheckpointError, DataError
from eyas.networks.architecture_record import read_record
from eyas.networks.architectures import find_architecture
from eyas.networks.pruned_architecture import dense_architecture
from eyas.networks.saved_network import Network, load_network
from eyas.operations.tracking import MlflowStore, Version, model_registry


@dataclass(frozen=True)
class RegisteredNetwork:
    """A version, its files and its network."""

    version: Version
    exported: ExportedModel
    network: Network

    @property
    def folder(self) -> Path:
        """Of the version's files."""
        return self.exported.folder


def open_registered(store: MlflowStore, version: Version, params: PipelineParams, scratch: Path) -> RegisteredNetwork:
    """Bring a version's files and build its network: only the factory that the profile names is called.

    Raises:
        CheckpointError: it has another architecture than the profile.
        ChecksumError: its files are not what was registered.
        DataError: it answers something else than one class per image.
    """
    folder = model_registry.download(store, version, scratch / version.number)
    exported, network = ExportedModel.open(folder), load_as_named(folder, params, str(version), _made_by(version))
    if exported.kind != "classification":
        msg = f"{version} is for {exported.kind}: adaptation knows networks that give one class to an image"
        raise DataError(msg)
    return RegisteredNetwork(version, exported, network)


def load_as_named(
    folder: Path, params: PipelineParams, title: str, made_by: str = "its --params, --set or --name"
) -> Network:
    """The network in a folder of a version's files; only the factory that the profile names is called.

    Raises:
        CheckpointError: it has another architecture than the profile.
        DataError: it answers with several outputs.
    """
    record = read_record(folder)
    dense = dense_architecture(record.architecture, record.arguments)
    section, classes = params.baseline, dense.arguments.get("num_classes", 0)
    named = find_architecture(section.architecture, section.arguments, classes)
    if (dense.factory, dict(dense.arguments)) != (named.factory, dict(named.arguments)):
        msg = (
            f"{title} is {dense.factory} with {dict(dense.arguments)}, the profile names {named.factory} with "
            f"{dict(named.arguments)}: give the profile that made it ({made_by})"
        )
        raise CheckpointError(msg)
    network = load_network(folder, allowed=(record.architecture, dense.factory))
    if network.output is not None:
        msg = (
            f"{title} answers with several outputs, of which baseline.output {network.output!r} is judged: drift and "
            "adaptation know networks that answer with their logits alone"
        )
        raise DataError(msg)
    return network


def _made_by(version: Version) -> str:
    """The options that open the profile in which a version was made, as the registry tells them."""
    options = shlex.split(version.tags.get("eyas.command", ""))[2:]
    return shlex.join(options) or "the project's own params.yaml"


def require_same_images(registered: RegisteredNetwork, dataset: Dataset) -> None:
    """The workspace's data is of the version's classes, and read as the version reads its images.

    Raises:
        DataError: it is not.
    """
    manifest = registered.exported.manifest
    here = {
        "shape": list(dataset.image_shape),
        "resize": dataset.manifest.image.resize,
        "mean": list(dataset.mean),
        "std": list(dataset.std),
    }
    differing = [name for name, value in here.items() if manifest["input"].get(name) != value]
    differing += ["classes"] if list(manifest["classes"]) != list(dataset.class_names) else []
    if differing:
        msg = (
            f"{registered.version} takes images of other {', '.join(differing)} than the data in {dataset.folder}: "
            f"give the profile that made it ({_made_by(registered.version)})"
        )
        raise DataError(msg)
