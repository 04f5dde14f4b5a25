"""The ATen operators that a network runs."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from eyas.calibration.batchnorm import evaluation_mode


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Collects the names of the operators that run inside."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket._qualified_op_name.removeprefix("aten::").rstrip("_"))
        return func(*args, **(kwargs or {}))


def operators_of(model: nn.Module, images: Tensor) -> frozenset[str]:
    """Names of the operators that ``model`` runs on ``images`` in eval mode, those in place like the others."""
    with evaluation_mode(model), torch.no_grad(), torch.random.fork_rng(devices=[]), _Operators() as operators:
        model(images)
    return frozenset(operators.names)
