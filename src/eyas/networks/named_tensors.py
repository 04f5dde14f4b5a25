"""Parameters and buffers of a network by name, where some may be tied."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def unique_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, tied ones under their first name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def first_names(model: nn.Module) -> dict[int, str]:
    """The first name of each parameter and buffer, by the tensor's ``id``."""
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {id(tensor): name for name, tensor in reversed(named)}


def state_names(model: nn.Module) -> set[str]:
    """Names of the state dict, tied tensors once."""
    return unique_tensors(model).keys() & model.state_dict().keys()


def state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict to write: contiguous, on the CPU, tied tensors once."""
    unique = unique_tensors(model)
    return {name: unique[name].detach().cpu().contiguous() for name in sorted(state_names(model))}


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hex digest of named tensors: their names, types, shapes and values, in whatever order they come."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
