"""Adaptation of batch-norm statistics by forward passes alone: each layer is corrected before it normalises.

Shapes: N images, C channels.
"""

from abc import abstractmethod
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from eyas.adaptation.adapters.adaptation import Adaptation
from eyas.adaptation.adapters.base import Adapter
from eyas.calibration.batchnorm import named_batch_norms


class StatisticsAdaptation(Adaptation):
    """One pass per batch: a layer estimates from what it is about to normalise, so that the next sees what it will see.

    Only running means and variances change. Subclasses say what a layer's new statistics are.
    """

    def __init__(self, adapter: Adapter, model: nn.Module) -> None:
        super().__init__(adapter, model)
        self.layers = named_batch_norms(model)
        for name, layer in self.layers.items():
            assert layer.running_mean is not None
            assert layer.running_var is not None
            self.memory[f"{name}.source_mean"] = layer.running_mean.double().clone()
            self.memory[f"{name}.source_var"] = layer.running_var.double().clone()

    @abstractmethod
    def estimate(self, name: str, count: int, mean_C: Tensor, variance_C: Tensor) -> tuple[Tensor, Tensor]:
        """A layer's new mean and variance.

        Args:
            name: of the layer.
            count: values per channel in this batch.
            mean_C: their mean; float64.
            variance_C: their biased variance.
        """

    @torch.no_grad()
    def step(self, images: Tensor) -> Tensor:
        """Estimate and answer in one pass."""
        hooks = [
            layer.register_forward_pre_hook(partial(self._correct, name=name)) for name, layer in self.layers.items()
        ]
        try:
            logits: Tensor = self.model(images)
        finally:
            for hook in hooks:
                hook.remove()
        return logits

    def _correct(self, layer: nn.Module, inputs: tuple[Tensor, ...], *, name: str) -> None:
        assert isinstance(layer, _BatchNorm)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        activations = inputs[0].float()
        dims = [dim for dim in range(activations.ndim) if dim != 1]
        variance_C, mean_C = torch.var_mean(activations, dims, correction=0)
        count = activations.numel() // len(mean_C)
        mean_C, variance_C = self.estimate(name, count, mean_C.double(), variance_C.double())
        layer.running_mean.copy_(mean_C)
        layer.running_var.copy_(variance_C)


class PooledAdaptation(StatisticsAdaptation):
    """Statistics pooled over all images so far, mixed with the network's own."""

    def __init__(self, adapter: Adapter, model: nn.Module) -> None:
        super().__init__(adapter, model)
        for name in self.layers:
            source = self.memory[f"{name}.source_mean"]
            self.memory[f"{name}.count"] = torch.zeros((), dtype=torch.float64, device=source.device)
            self.memory[f"{name}.mean"] = torch.zeros_like(source)
            self.memory[f"{name}.var"] = torch.zeros_like(source)
        self.memory["images"] = torch.zeros((), dtype=torch.float64)

    @property
    def source_weight(self) -> float:
        """What the network's own statistics count for."""
        return 0.0

    @property
    def exact(self) -> bool:
        """Whether the spread between both means counts in the variance."""
        return False

    def step(self, images: Tensor) -> Tensor:
        """Count the images, then estimate and answer."""
        self.memory["images"] += len(images)
        return super().step(images)

    def estimate(self, name: str, count: int, mean_C: Tensor, variance_C: Tensor) -> tuple[Tensor, Tensor]:
        """Merge the batch into the pooled statistics (Chan et al. 1979), then mix."""
        total, mean, variance = (self.memory[f"{name}.{part}"] for part in ("count", "mean", "var"))
        share = count / (total + count)
        between = share * (1 - share) * (mean_C - mean) ** 2
        variance.copy_((1 - share) * variance + share * variance_C + between)
        mean.copy_((1 - share) * mean + share * mean_C)
        total.add_(count)
        weight = self.source_weight
        source_mean, source_var = self.memory[f"{name}.source_mean"], self.memory[f"{name}.source_var"]
        mixed = weight * source_var + (1 - weight) * variance
        if self.exact:
            mixed += weight * (1 - weight) * (source_mean - mean) ** 2
        return weight * source_mean + (1 - weight) * mean, mixed
