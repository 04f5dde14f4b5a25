"""Features: what goes into the layer that makes the logits, for scorers that judge them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from eyas.errors import DataError
from eyas.scoring.outputs import example_output


@dataclass
class _LayerCalls:
    """Inputs and outputs of a linear layer, once per call."""

    inputs: list[Any] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)

    def record(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        self.inputs.append(args[0] if len(args) == 1 and not kwargs else None)
        self.outputs.append(output)

    def returned(self, judged: Tensor) -> bool:
        """Whether a call returned what is judged."""
        return any(output is judged for output in self.outputs)

    def returned_equal(self, judged: Tensor) -> bool:
        """Whether a call returned something equal to what is judged, which reached the end through views or copies."""
        return any(torch.equal(output.to(judged.dtype), judged) for output in self.outputs)

    def is_readable(self) -> bool:
        """Whether it was called once, with one row of features per image."""
        return len(self.inputs) == 1 and isinstance(self.inputs[0], Tensor) and self.inputs[0].ndim == 2


def find_head(model: nn.Module, example: Tensor, choice: int | str | None = None) -> str:
    """Name of the linear layer whose output is the one that is judged.

    Args:
        model: the network.
        example: a few images.
        choice: which output is judged where there are several.

    Raises:
        DataError: no linear layer makes that output alone, called once with one row of features per image.
    """
    calls = {name: _LayerCalls() for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    handles = [
        model.get_submodule(name).register_forward_hook(call.record, with_kwargs=True) for name, call in calls.items()
    ]
    try:
        judged = example_output(model, example, choice)
    finally:
        for handle in handles:
            handle.remove()
    heads: list[str] = [name for name, call in calls.items() if call.returned(judged)]
    heads = heads or [name for name, call in calls.items() if call.returned_equal(judged)]
    if len(heads) != 1 or not calls[heads[0]].is_readable():
        msg = (
            f"the judged output of {type(model).__name__} is not what one torch.nn.Linear makes, called once with one "
            f"row of features per image (found: {', '.join(heads) or 'none'}), so its inputs cannot be judged: choose "
            "`scorer` cross_entropy, or dense_kl without labels"
        )
        raise DataError(msg)
    return heads[0]


@contextmanager
def collect_features(model: nn.Module, head: str | None) -> Iterator[list[Tensor]]:
    """The head's inputs of every batch that runs inside, in order; nothing without a head."""
    features: list[Tensor] = []
    if head is None:
        yield features
        return
    handle = model.get_submodule(head).register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    try:
        yield features
    finally:
        handle.remove()
