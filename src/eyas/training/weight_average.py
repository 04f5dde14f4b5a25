"""An exponential moving average of the weights of a network in training."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    r"""Follows a network step by step; starts as what the network is.

    .. math:: a_t = d_t a_{t-1} + (1 - d_t) w_t, \quad d_t = \min(d, (1 + t) / (10 + t))

    The first steps are forgotten sooner, as in TensorFlow's ``ExponentialMovingAverage(num_updates=t)``. Running
    statistics of batch-norm are averaged like weights; integers are the network's own.

    Args:
        model: any network, on the device it stays on.
        decay: d.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model, self._decay = model, decay
        self._steps = 0
        self._tensors = _copies(model)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the network after a step."""
        self._steps += 1
        share = 1 - min(self._decay, (1 + self._steps) / (10 + self._steps))
        for name, current in self._model.state_dict().items():
            if current.is_floating_point():
                self._tensors[name].lerp_(current, share)
            else:
                self._tensors[name].copy_(current)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network holds the average inside, and its own weights again afterwards."""
        own = _copies(self._model)
        try:
            self._model.load_state_dict(self._tensors)
            yield
        finally:
            self._model.load_state_dict(own)

    def state_dict(self) -> dict[str, object]:
        """What an epoch checkpoint holds of it."""
        return {"steps": self._steps, "tensors": self._tensors}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on where :meth:`state_dict` was taken."""
        self._steps, self._tensors = state["steps"], state["tensors"]  # type: ignore[assignment]


def _copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
