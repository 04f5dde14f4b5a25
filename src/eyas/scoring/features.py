"""Features: what goes into the layer that makes the logits, for scorers that judge them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from eyas.batchnorm import evaluation_mode
from eyas.errors import DataError


def find_head(model: nn.Module, example: Tensor) -> str:
    """Name of the last linear layer that a forward pass calls.

    Raises:
        DataError: there is none.
    """
    called: list[str] = []

    def note(name: str) -> Any:
        return lambda *_: called.append(name)

    linear = ((name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear))
    handles = [module.register_forward_pre_hook(note(name)) for name, module in linear]
    try:
        with torch.inference_mode(), evaluation_mode(model):
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    if not called:
        msg = f"{type(model).__name__} has no torch.nn.Linear whose inputs could be judged: choose scorer cross_entropy"
        raise DataError(msg)
    return called[-1]


@contextmanager
def collecting(model: nn.Module, head: str | None) -> Iterator[list[Tensor]]:
    """The head's inputs of every batch that runs inside, in order; nothing without a head."""
    found: list[Tensor] = []
    if head is None:
        yield found
        return
    handle = model.get_submodule(head).register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    try:
        yield found
    finally:
        handle.remove()
