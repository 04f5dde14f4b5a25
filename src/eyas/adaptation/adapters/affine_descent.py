"""Adaptation of batch-norm's weights and biases by the gradient of a loss without labels, over pooled statistics."""

from abc import abstractmethod
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from eyas.adaptation.adapters.base import Adapter
from eyas.adaptation.adapters.layer_statistics import PooledAdaptation
from eyas.errors import ParameterError


class AffineAdaptation(PooledAdaptation):
    """Per batch: statistics in one pass, then one step of Adam on weights and biases of batch-norm alone.

    A batch is answered before its step, by the statistics that it has made. ``only`` names the layers that learn.
    """

    def __init__(self, adapter: Adapter, model: nn.Module, rate: float, *, only: Collection[str] | None = None) -> None:
        super().__init__(adapter, model)
        layers = {name: layer for name, layer in self.layers.items() if only is None or name in only}
        self.affine = affine_parameters(layers)
        for parameter in self.affine.values():
            parameter.requires_grad_()
        if not self.affine:
            raise ParameterError(f"`model` has no batch-norm with weights: {adapter.kind} changes these; take alpha_bn")
        self.optimiser = remembered_adam(self.affine, rate, self.memory)

    @abstractmethod
    def loss(self, logits_NK: Tensor) -> Tensor:
        """What shrinks."""

    def step(self, images: Tensor) -> Tensor:
        """Estimate, answer, and go down the loss."""
        super().step(images)
        with torch.enable_grad():
            logits: Tensor = self.model(images)
            self.optimiser.zero_grad()
            self.loss(logits).backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
        return logits


def affine_parameters(layers: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """Weights and biases of layers by name; what several share stands under its first."""
    named = {
        f"{layer_name}.{name}": parameter
        for layer_name, layer in layers.items()
        for name, parameter in layer.named_parameters(recurse=False)
    }
    first = {parameter: name for name, parameter in reversed(named.items())}
    return {name: parameter for name, parameter in named.items() if first[parameter] == name}


def remembered_adam(parameters: Mapping[str, Tensor], rate: float, memory: dict[str, Tensor]) -> torch.optim.Adam:
    """Adam whose moments stand in ``memory``, so that snapshots hold them."""
    optimiser = torch.optim.Adam(parameters.values(), rate, foreach=False)
    for name, parameter in parameters.items():
        moments = {"exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}
        optimiser.state[parameter] = {"step": torch.tensor(0.0), **moments}
        memory |= {f"adam.{name}.{slot}": tensor for slot, tensor in optimiser.state[parameter].items()}
    return optimiser


def remembered_sgd(parameters: Mapping[str, Tensor], rate: float, memory: dict[str, Tensor]) -> torch.optim.SGD:
    """SGD with momentum 0.9, which stands in ``memory``, so that snapshots hold it."""
    optimiser = torch.optim.SGD(parameters.values(), rate, momentum=0.9, foreach=False)
    for name, parameter in parameters.items():
        optimiser.state[parameter] = {"momentum_buffer": torch.zeros_like(parameter)}
        memory[f"sgd.{name}"] = optimiser.state[parameter]["momentum_buffer"]
    return optimiser


def entropy(logits_NK: Tensor) -> Tensor:
    """Mean entropy of the answers, in nats."""
    mean: Tensor = torch.special.entr(logits_NK.softmax(1)).sum(1).mean()
    return mean
