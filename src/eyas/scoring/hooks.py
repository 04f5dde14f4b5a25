"""Hooks of the user's, on the engine's own copy of the network."""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from eyas.scoring.outputs import example_output

_TABLES = ("_forward_pre_hooks", "_forward_hooks")


def drop_idle_hooks(model: nn.Module, images: Tensor, choice: int | str | None = None) -> None:
    """Remove forward hooks that only watch: a race of thousands of passes is no business of theirs.

    Hooks of ``torch.nn.utils`` that compute weights stay, and so does everything where the judged output on
    ``images`` is another one without the user's hooks: then they are a part of the network.
    """
    tables = [(module, name, module.__dict__[name]) for module in model.modules() for name in _TABLES]
    if all(_computes_weights(hook) for _, _, hooks in tables for hook in hooks.values()):
        return
    before = example_output(model, images, choice)
    for module, name, hooks in tables:
        kept = OrderedDict((key, hook) for key, hook in hooks.items() if _computes_weights(hook))
        module.__dict__[name] = kept  # the table itself may be shared with the user's network
    if not torch.equal(before, example_output(model, images, choice)):
        for module, name, hooks in tables:
            module.__dict__[name] = hooks


def _computes_weights(hook: Any) -> bool:
    """Weight norm, spectral norm and pruning masks of PyTorch set a weight before each pass."""
    return any(kind.__module__.startswith("torch.nn.utils.") for kind in type(hook).__mro__)
