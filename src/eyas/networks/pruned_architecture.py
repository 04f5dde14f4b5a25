"""A pruned network as an architecture of its own, so that it can be trained, or pruned, again.

What :func:`eyas.save` wrote is described by JSON values: the dense factory, the shapes that were left, and the
attributes that surgery set. :func:`build` makes a network of that form, whose weights are to be loaded.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eyas.errors import ParameterError
from eyas.networks.architecture_record import read_record
from eyas.networks.architectures import NESTING, Architecture, build_architecture, current_factory
from eyas.networks.named_tensors import first_names, unique_tensors
from eyas.networks.saved_network import load
from eyas.networks.saved_network_checks import branches_of, set_attributes
from eyas.pruning.surgery import rebuild

FACTORY = f"{__name__}:build"


def describe(folder: Path | str) -> dict[str, Any]:
    """Arguments of :func:`build` for the network in ``folder``, without ``num_classes``.

    Raises:
        CheckpointError: a file is missing or was changed.
    """
    small, record = load(folder), read_record(Path(folder)).model_dump(mode="json")
    pruning = record["pruning"] or {"attributes": [], "transient": {}}
    return {
        "architecture": record["architecture"],
        "arguments": record["arguments"],
        "shapes": {name: list(tensor.shape) for name, tensor in unique_tensors(small).items()},
        "attributes": pruning["attributes"],
        "transient": pruning["transient"],
    } | ({"dropped": pruning["dropped"]} if pruning.get("dropped") else {})


def dense_architecture(architecture: str, arguments: Mapping[str, Any]) -> Architecture:
    """The dense factory and its arguments, below however many rounds of pruning and surgeries of normalisation."""
    while current_factory(architecture) in NESTING:
        architecture, arguments = arguments["architecture"], arguments["arguments"]
    return Architecture(architecture, dict(arguments))


def build(
    *,
    architecture: str,
    arguments: Mapping[str, Any],
    shapes: Mapping[str, Sequence[int]],
    attributes: Sequence[tuple[str, str, int]],
    num_classes: int,
    transient: Mapping[str, Mapping[str, Sequence[int]]] | None = None,
    dropped: Sequence[tuple[Sequence[str], Sequence[str]]] = (),
    allowed: Sequence[str] | None = None,
) -> nn.Module:
    """A network with the structure of a pruned one; what it computes comes with the weights.

    Args:
        architecture: ``package.module:factory`` of the dense network, from an allowed package.
        arguments: the dense factory's.
        shapes: of every parameter and buffer.
        attributes: module, attribute and value that surgery set.
        transient: kept indices per dimension of buffers that no state dict holds.
        dropped: layers and tensors of the residual branches that were left out.
        num_classes: must be what the pruned network answers with.
        allowed: as :func:`eyas.load` takes it.

    Raises:
        ParameterError: the factory is not allowed or unknown, or has other tensors than ``shapes`` names.
    """
    answers = arguments.get("num_classes", num_classes)
    if answers != num_classes:
        msg = f"the pruned network answers with {answers} classes, the data has {num_classes}"
        raise ParameterError(msg)
    dense = build_architecture(architecture, arguments, allowed)
    names = first_names(dense)
    expected = set(names.values()).difference(*(tensors for _, tensors in dropped))
    if expected != set(shapes):
        differ = sorted(expected ^ set(shapes))
        msg = f"{architecture} with {dict(arguments)} has other tensors than the pruned network: {differ[:5]}"
        raise ParameterError(msg)

    def take(tensor: Tensor) -> Tensor:
        name = names[id(tensor)]
        return _form(tensor, shapes.get(name, tuple(tensor.shape)), (transient or {}).get(name, {}))

    small = rebuild(dense, take)
    for branch in branches_of(small, dropped):
        branch.take_out()
    set_attributes(small, attributes)
    return small


def _form(tensor: Tensor, shape: Sequence[int], kept: Mapping[str, Sequence[int]]) -> Tensor:
    """``tensor`` as it is, or its kept entries, or zeros in ``shape``."""
    for dim, indices in sorted(kept.items()):
        tensor = tensor.detach().index_select(int(dim), torch.tensor(indices))
    if tuple(tensor.shape) != tuple(shape):
        empty = torch.zeros(tuple(shape), dtype=tensor.dtype)
        return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
    return tensor
