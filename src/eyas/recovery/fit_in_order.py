"""Layers fitted in order of execution, each to the inputs that the layers before it give it, fitted already."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from eyas.calibration.batchnorm import batch_norms, evaluation_mode
from eyas.calibration.recalibrate import recalibrate_in_order
from eyas.errors import ParameterError
from eyas.pruning.layer_calls import LayerCall, WatchedCalls
from eyas.recovery.base import Recovery
from eyas.recovery.normal_equations import LayerEquations
from eyas.recovery.sampled_outputs import SampledOutputs, write_weight


@dataclass
class FitReport:
    """What became of the layers, by their weights' names."""

    layers: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Those that were fitted, in order: squared error on held-out images before and after, relative to the target."""
    left: dict[str, str] = field(default_factory=dict)
    """Those that lost inputs and stay as they were, and why."""


class FitInOrder:
    """Fits what lost inputs; a layer that is called several times is fitted to all its calls, in a pass of its own.

    Args:
        small: the pruned network, in the mode it is to be fitted in.
        targets: per weight, in order of execution, what each call should make.
        recovery: who says what the weights become.
        normalised: weights whose outputs batch-norm takes the mean from.
    """

    def __init__(
        self,
        small: nn.Module,
        targets: Mapping[str, Sequence[SampledOutputs]],
        recovery: Recovery,
        normalised: Container[str],
    ) -> None:
        self._small, self._recovery, self._normalised = small, recovery, normalised
        self._pending = dict(targets)
        self._joint: tuple[LayerCall, LayerEquations] | None = None
        self.report = FitReport()

    def __call__(self, images: Tensor) -> object:
        """What the fitted network answers; its batch-norm statistics become those of ``images``.

        The first pass that leaves no layer to be fitted after it is the last: one more than there are layers that are
        called several times.
        """
        while True:
            self._joint = None
            with WatchedCalls(self._small, self._answer):
                answer = recalibrated_answer(self._small, images)
            if self._joint is None:
                self.report.left |= dict.fromkeys(
                    self._pending, "the pruned network does not call it with these images"
                )
                return answer
            self._fit(*self._joint)

    def _answer(self, call: LayerCall) -> Tensor:
        """Fit a layer, or count a call of one that has several: those after it wait for the next pass."""
        waits = self._joint is not None and self._joint[0].name != call.name
        if call.name in self._pending and not waits:
            targets = self._pending[call.name]
            layer = self._equations(call) if self._joint is None else self._joint[1]
            layer.add(call, targets[layer.calls])
            if len(targets) == 1:
                self._fit(call, layer)
            else:
                self._joint = (call, layer)
        return call()

    def _equations(self, call: LayerCall) -> LayerEquations:
        return LayerEquations.of(call, is_normalised=call.name in self._normalised)

    def _fit(self, call: LayerCall, layer: LayerEquations) -> None:
        """Give a layer its new weights."""
        targets = self._pending.pop(call.name)
        change_OF = self._change(layer, call.name)
        judged = (sampled.values[sampled.fitted :].double() for sampled in targets)
        target = sum(float(values.square().sum()) for values in judged) or 1.0
        before, after = layer.error_before(), float(layer.held_out.error(change_OF).sum())
        if not change_OF.any():
            after = before
        self.report.layers[call.name] = (before / target, after / target)
        write_weight(call, (layer.weight + change_OF)[:, :-1])
        if layer.bias is not None:
            layer.bias.data.add_(change_OF[:, -1])

    def _change(self, layer: LayerEquations, name: str) -> Tensor:
        """What the recovery adds to the weights.

        Raises:
            ParameterError: it is no tensor of their shape.
        """
        change_OF = self._recovery(layer)
        if isinstance(change_OF, Tensor) and change_OF.shape == layer.weight.shape:
            return change_OF.to(layer.weight)
        what = f"shape {tuple(change_OF.shape)}" if isinstance(change_OF, Tensor) else f"a {type(change_OF).__name__}"
        shape = tuple(layer.weight.shape)
        raise ParameterError(f"recovery {self._recovery.kind} gives {what} for {name}: it must give a tensor {shape}")


def recalibrated_answer(network: nn.Module, images: Tensor) -> object:
    """What a network answers to all images as one batch, whose statistics its batch-norm layers take and keep."""
    answers: list[object] = []
    handle = network.register_forward_hook(lambda _, __, answer: answers.append(answer))
    try:
        if batch_norms(network):
            recalibrate_in_order(network, images, batch_size=len(images))
        else:
            with torch.no_grad(), evaluation_mode(network):
                network(images)
    finally:
        handle.remove()
    return answers[0]
