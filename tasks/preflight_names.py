"""Looking before a run at what parameters name, by names alone: no network is built, and torch is seldom needed."""

import importlib.util
import re
from pathlib import Path

from eyas.config import PipelineParams
from eyas.errors import MissingExtraError, ParameterError

_NAMED = re.compile(r"^@architecture\ndef (\w+)\(", re.MULTILINE)


def architecture_names() -> list[str]:
    """What ``models.names()`` says, as the source does: importing it takes torch."""
    spec = importlib.util.find_spec("models")
    folders = map(Path, (spec and spec.submodule_search_locations) or ())
    files = [file for folder in folders for file in folder.glob("*.py")]
    return sorted(name for file in files for name in _NAMED.findall(file.read_text()))


def check_factory(params: PipelineParams, root: Path, artifacts: Path) -> None:
    """The architecture is one of ``models/``, or its package can be found."""
    name = params.baseline.architecture
    package = name.partition(":")[0].partition(".")[0]
    if ":" not in name and name not in (names := architecture_names()):
        available = ", ".join(names)
        msg = f"{name!r} is not in models/ ({available}), and is no package.module:factory"
        raise ParameterError(msg)
    if ":" in name and (not package or importlib.util.find_spec(package) is None):
        msg = no_package(name)
        raise ParameterError(msg)


def no_package(architecture: str) -> str:
    """What to do where the package of ``package.module:factory`` cannot be found."""
    package = architecture.partition(":")[0].partition(".")[0]
    return (
        f"{architecture!r}: there is no package {package!r} on PYTHONPATH: install it, or start eyas with the folder "
        f"that holds {package}.py or {package}/, as PYTHONPATH=FOLDER eyas ..."
    )


def check_dense_recipe(params: PipelineParams, root: Path, artifacts: Path) -> None:
    """What the dense network's recipe names of the user's own is here."""
    params.baseline.recipe.check()


def check_recipe(params: PipelineParams, root: Path, artifacts: Path) -> None:
    """The same of the winner's."""
    params.finetune.recipe.check()


def check_exporters(params: PipelineParams, root: Path, artifacts: Path) -> None:
    """What the exporters need is installed, and knows what is asked of it."""
    for exporter in params.export.chosen.values():
        exporter.check()


def check_cluster(params: PipelineParams, root: Path, artifacts: Path) -> None:
    """Ray is installed where a cluster is named."""
    if params.runtime.cluster and importlib.util.find_spec("ray") is None:
        msg = "ray is not installed: pip install 'eyas[ray]'"
        raise MissingExtraError(msg)


def check_shared_batches(params: PipelineParams, root: Path, artifacts: Path) -> None:
    """Several processes, where they are asked for, can train together; imports torch then."""
    if params.runtime.processes * params.runtime.nodes > 1:
        from tasks import preflight_network

        preflight_network.check_shared_batches(params)


def check_device(params: PipelineParams, root: Path, artifacts: Path) -> None:
    """The device that is asked for is there."""
    if params.runtime.device != "cuda":
        return
    import torch

    if not torch.cuda.is_available():
        msg = "cuda was asked for, and torch finds no CUDA device here: take auto, or install its driver and build"
        raise ParameterError(msg)
