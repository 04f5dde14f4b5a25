"""A network whose normalisation surgeries changed, as an architecture of its own: built, saved and loaded again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eyas.calibration.batchnorm import evaluation_mode
from eyas.errors import ParameterError, one_line
from eyas.networks.architectures import Architecture, build_architecture
from eyas.networks.surgeries.base import Surgery
from eyas.pruning.mask_parity import answers, compare

FACTORY = f"{__name__}:build"
_EXAMPLES = 2
_TOLERANCE = 1e-3
"""Share of the largest answer by which answers may differ: rounding of float32 through a deep network."""


@dataclass(frozen=True)
class OperatedNetwork:
    """What surgeries made of a network."""

    before: nn.Module
    """As it was, with the same weights."""
    model: nn.Module
    """To be trained, or to go on as it is."""
    surgeries: tuple[Surgery, ...]
    """With their layers by name."""

    @classmethod
    def untouched(cls, model: nn.Module) -> "OperatedNetwork":
        """A network without surgeries."""
        return cls(model, model, ())

    @property
    def text(self) -> str:
        """What was done, in words."""
        return ", ".join(f"{surgery.kind} ({len(surgery.layers)} layers)" for surgery in self.surgeries)

    def finish(self) -> nn.Module:
        """The network that is pruned, exported and saved: without what only training needs; call it after training."""
        model = self.model
        for surgery in reversed(self.surgeries):
            model = surgery.finish(model)
        return model

    def architecture(self, named: Architecture) -> Architecture:
        """How :meth:`finish` is built again, for :func:`eyas.save`; ``named`` builds what it was before."""
        content = [surgery.model_dump(mode="json") for surgery in self.surgeries]
        arguments = {"architecture": named.factory, "arguments": named.arguments, "surgeries": content}
        classes = {name: named.arguments[name] for name in ("num_classes",) if name in named.arguments}
        return Architecture(FACTORY, arguments | classes)


def operate(
    model: nn.Module, surgeries: Sequence[Surgery | str | Mapping[str, Any]], images: Tensor, *, steps: int = 1000
) -> OperatedNetwork:
    """Change how a network is normalised; ``model`` stays as it is.

    Args:
        model: a network with its weights, which ``torch.export`` captures.
        surgeries: one after the other; by kind, with options, or ready.
        images: for calibration, normalised, ``(N, C, H, W)``; at least two.
        steps: of the training that follows, for surgeries that change while it runs.

    Raises:
        ParameterError: there is no such surgery, it has nothing to change, or the forward code does not go with it.
        TraceError: the network cannot be captured.

    Example::

        operated = operate(model, ["unfold_batch_norm"], images)
        space = eyas.trace(operated.finish(), (images[:2],))
    """
    before, example, chosen = model, images[:_EXAMPLES], []
    for surgery in map(Surgery.parse, surgeries):
        ready = surgery.with_steps(steps).choose(model, example)
        changed = ready.apply(model)
        _require_answers(model, changed, ready, example)
        ready.measure(changed, images)
        model = changed
        chosen.append(ready)
    return OperatedNetwork(before, model, tuple(chosen))


def build(
    *,
    architecture: str,
    arguments: Mapping[str, Any],
    surgeries: Sequence[Mapping[str, Any]],
    num_classes: int | None = None,
    allowed: Sequence[str] | None = None,
) -> nn.Module:
    """A network with the structure that surgeries left; what it computes comes with the weights.

    Args:
        architecture: ``package.module:factory`` of the network before them, from an allowed package.
        arguments: that factory's.
        surgeries: their options, layers by name.
        num_classes: must be what the network answers with.
        allowed: as :func:`eyas.load` takes it.

    Raises:
        ParameterError: the factory is not allowed or unknown, there is no such surgery, or another number of classes.
    """
    answering = arguments.get("num_classes", num_classes)
    if answering != num_classes:
        msg = f"the network answers with {answering} classes, the data has {num_classes}"
        raise ParameterError(msg)
    model = build_architecture(architecture, arguments, allowed)
    chosen = tuple(map(Surgery.parse, surgeries))
    for surgery in chosen:
        model = surgery.apply(model)
    return OperatedNetwork(model, model, chosen).finish()


@torch.no_grad()
def _require_answers(before: nn.Module, after: nn.Module, surgery: Surgery, example: Tensor) -> None:
    """Refuse a network whose forward code does not go with the surgery: it fails, or answers otherwise.

    Raises:
        ParameterError: it does.
    """
    with evaluation_mode(before), evaluation_mode(after):
        expected = answers(before, (example,), {})
        try:
            actual = answers(after, (example,), {})
        except Exception as error:  # whatever the user's forward code raises
            msg = (
                f"`surgeries`: after {surgery.kind} the network fails with {type(error).__name__}: {one_line(error)}; "
                "its forward code reads a layer that was replaced: give the layers to change, without that one"
            )
            raise ParameterError(msg) from error
    if not surgery.needs_training and compare(actual, expected).max_relative > _TOLERANCE:
        msg = f"`surgeries`: after {surgery.kind} the network answers otherwise: leave it out, or name layers"
        raise ParameterError(msg)
