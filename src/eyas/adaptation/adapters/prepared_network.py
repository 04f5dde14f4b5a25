"""The copy of a network that an adaptation changes, and what no adapter can start from."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from eyas.calibration.batchnorm import named_batch_norms
from eyas.errors import DataError, ParameterError, one_line


def private_copy(model: nn.Module) -> nn.Module:
    """A copy in eval mode, whose tensors take gradients whatever mode the caller is in.

    Raises:
        ParameterError: there are layers that have no size yet, or tensors that cannot be copied.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    unsized = [name for name, tensor in tensors.items() if is_lazy(tensor)]
    if unsized:
        raise ParameterError(f"`model` has no size in {unsized[0]} yet: let it answer an image first")
    try:
        with torch.inference_mode(mode=False):
            return copy.deepcopy(model).eval()
    except (RuntimeError, TypeError) as error:
        msg = (
            f"`model` cannot be copied ({one_line(error)}): where torch.nn.utils.weight_norm computes its weights, fix "
            "them by remove_weight_norm, or compute them by torch.nn.utils.parametrizations.weight_norm"
        )
        raise ParameterError(msg) from error


def require_batch_norm(model: nn.Module) -> None:
    """Refuse a network that holds no statistics.

    Raises:
        ParameterError: it has no batch-norm with running statistics.
    """
    if not named_batch_norms(model):
        msg = (
            "`model` has no batch-norm with running statistics: there is nothing to adapt; where it was folded "
            "into the convolutions, give the network before that, or unfold it "
            "(eyas.networks.operated_network.operate)"
        )
        raise ParameterError(msg)


def require_numbers(model: nn.Module) -> None:
    """Refuse a network that can answer with no numbers, whatever it sees.

    Raises:
        DataError: a tensor of its state is not finite.
    """
    spoilt = [name for name, tensor in model.state_dict().items() if not _is_finite(tensor)]
    if spoilt:
        raise DataError(f"`model` has values in {spoilt[0]} that are not finite: load or train it again")


def _is_finite(value: object) -> bool:
    return not isinstance(value, Tensor) or bool(torch.isfinite(value).all())


def require_precision(model: nn.Module, kind: str) -> None:
    """Refuse weights that are too coarse for the steps of an optimiser.

    Raises:
        ParameterError: some have fewer than 32 bits.
    """
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and torch.finfo(parameter.dtype).bits < 32:
            msg = (
                f"`model` has {parameter.dtype} in {name}, too coarse for the small steps by which {kind} learns: give "
                "it in 32 bits (model.float()), or take alpha_bn"
            )
            raise ParameterError(msg)


def working_precision(tensor: Tensor) -> torch.dtype:
    """Of sums over a tensor's values: its own, and 32 bits at the least."""
    return torch.promote_types(tensor.dtype, torch.float32)
