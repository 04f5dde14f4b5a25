"""Weights that the forward code does not reach through the network they belong to.

A copy of the network would go on reading the original's, and a saved network would lack them.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from eyas.errors import TraceError
from eyas.pruning.space_json import Example
from eyas.pruning.surgery import scratch_copy
from eyas.pruning.tracing.capture import Captured
from eyas.pruning.tracing.state import named_tensors


def check_weights(model: nn.Module, example: Example, captured: Iterable[Captured]) -> None:
    """Refuse a network that reads weights as constants.

    Raises:
        TraceError: a parameter or buffer of ``model``, or a parameter of another module, is read so.
    """
    names = {_storage(tensor): name for name, tensor in named_tensors(model).items() if tensor.numel()}
    constants = [constant for graph in captured for constant in graph.constants if constant.numel()]
    read = [names[_storage(constant)] for constant in constants if _storage(constant) in names]
    if constants and not read:
        shapes = [tuple(parameter.shape) for parameter in _foreign_parameters(model, example)]
        read = [f"a parameter of shape {shape} that is not its own" for shape in shapes]
    if read:
        msg = (
            f"{type(model).__name__} reads {read[0]} through a global name, a cache or an object that cannot be "
            "copied, so that a pruned copy would go on reading the original's: make the layer an attribute of the "
            "network and reach it through self"
        )
        raise TraceError(msg)


def _storage(tensor: Tensor) -> tuple[torch.device, int]:
    return tensor.device, tensor.untyped_storage().data_ptr()


class _Reads(TorchFunctionMode):
    """Lists the parameters that functions are called with."""

    def __init__(self) -> None:
        super().__init__()
        self.parameters: dict[int, nn.Parameter] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = pytree.tree_leaves((args, kwargs))
        self.parameters.update({id(leaf): leaf for leaf in leaves if isinstance(leaf, nn.Parameter)})
        return func(*args, **(kwargs or {}))


def _foreign_parameters(model: nn.Module, example: Example) -> list[nn.Parameter]:
    """Parameters that the network reads and does not hold."""
    args, kwargs = example
    own = {id(parameter) for parameter in model.parameters()}
    with torch.no_grad(), torch.random.fork_rng(devices=[]), _Reads() as reads:
        scratch_copy(model).eval()(*args, **kwargs)
    return [parameter for number, parameter in reads.parameters.items() if number not in own]
