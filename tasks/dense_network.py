"""The dense network among the stages: left by ``baseline``, read by those after it; and the one pruned from it.

A file may be forged, and a factory is code that runs: only the factory that ``params.yaml`` names is called, with the
arguments that stand there.
"""

import json
from pathlib import Path

import torch
from torch import nn

from eyas.config import PipelineParams
from eyas.errors import CheckpointError
from eyas.networks.answers import record_answers, require_answers
from eyas.networks.architecture_record import ARCHITECTURE, read_record
from eyas.networks.architectures import Architecture, find_architecture
from eyas.networks.pruned_architecture import dense_architecture
from eyas.networks.saved_network import Network, load, load_network, save_network
from eyas.pruning.output_paths import output_path
from eyas.pruning.plan import PruningPlan
from eyas.pruning.space import SearchSpace


def load_dense(params: PipelineParams, artifacts: Path) -> Network:
    """The network that ``baseline`` left.

    Raises:
        CheckpointError: it is missing, was changed, is not the one that ``params.baseline`` names, or was trained by
            another output.
    """
    folder, section = artifacts / "baseline", params.baseline
    record = read_record(folder)
    dense = dense_architecture(record.architecture, record.arguments)
    named = find_architecture(section.architecture, section.arguments, dense.arguments.get("num_classes", 0))
    _require(folder, dense, Architecture(named.factory, json.loads(json.dumps(named.arguments))), "params.yaml names")
    network = load_network(folder, allowed=(record.architecture, dense.factory))
    if params.output is not None:
        with torch.inference_mode():
            output = output_path(network.model(network.example(2)), params.output)
        if output != network.output:
            msg = (
                f"the network in {folder} was trained by output {network.output!r}, params.yaml says {output!r}: "
                "choose it by baseline.output, which runs baseline again"
            )
            raise CheckpointError(msg)
    return network


def save_as_loaded(
    network: Network, folder: Path, *, pruned_to: tuple[SearchSpace, PruningPlan] | None = None
) -> None:  # fmt: skip
    """:func:`save_network`; what a later stage loads has to answer as ``network`` does.

    Raises:
        CheckpointError: it answers otherwise, or cannot be loaded.
    """
    save_network(network, folder, pruned_to=pruned_to)
    innermost = dense_architecture(network.architecture, network.arguments).factory
    loaded = load_network(folder, allowed=(network.architecture, innermost))
    require_answers(loaded.model, record_answers(network.model, ((network.example(2),), {})), str(folder))


def load_pruned(folder: Path, dense: Network) -> nn.Module:
    """The network that ``finetune`` left in ``folder``, in eval mode.

    Raises:
        CheckpointError: it is missing, was changed, or is not pruned from ``dense``.
    """
    record = read_record(folder)
    architecture = Architecture(dense.architecture, dense.arguments)
    _require(folder, Architecture(record.architecture, record.arguments), architecture, "the dense network is")
    innermost = dense_architecture(dense.architecture, dense.arguments).factory
    return load(folder, allowed=(dense.architecture, innermost)).eval()


def _require(folder: Path, told: Architecture, named: Architecture, who: str) -> None:
    """Refuse what a file tells if it is something else than the named architecture."""
    if told != named:
        msg = (
            f"{folder / ARCHITECTURE} tells of {told.factory} with {told.arguments}, but {who} {named.factory} with "
            f"{named.arguments}: nothing was built; run the stage that writes {folder} again"
        )
        raise CheckpointError(msg)
