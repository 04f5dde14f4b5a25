"""The root of the sparsity patterns: what a pattern promises.

O output channels, I input channels, K entries of a kernel.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, SerializeAsAny

from eyas.component import Component

if TYPE_CHECKING:
    from torch import Tensor, nn


class Sparsity(Component):
    """Says which weights of a layer become zero, and which layers can have such zeros.

    Zeros are written as zeros into every format, and none of the runtimes that `eyas` exports to skips them: a network
    is as fast as without them, and only its compressed file becomes smaller. To be faster everywhere, lower
    ``sample.budget``: channels are taken out for good.
    """

    ignore: tuple[str, ...] = ()
    """Layers that stay dense, by name, as shell patterns (``fc``, ``layer1.*``)."""

    @property
    def share(self) -> float:
        """Share of the weights that become zero, of layers that have the pattern."""
        raise NotImplementedError(f"{type(self).__name__} does not say how many weights it takes")

    def refusal(self, layer: "nn.Module") -> str | None:
        """Why a layer cannot have the pattern, in words; None where it can."""
        from torch import nn

        if not isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)):
            return "only convolutions and linear layers are made sparse"
        if not isinstance(layer._parameters.get("weight"), nn.Parameter):
            return "its weight is computed from other parameters"
        if getattr(layer, "groups", 1) > 1:
            return "a grouped or depthwise convolution has few weights"
        return None

    def mask(self, weight: "Tensor") -> "Tensor":
        """Which entries of a weight ``(O, I, *kernel)`` stay, as truth values of its shape."""
        raise NotImplementedError(f"{type(self).__name__} does not say which weights it takes")

    def masks(self, weights: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
        """:meth:`mask` of the weights of several layers, by name."""
        return {name: self.mask(weight) for name, weight in weights.items()}


AnySparsity = Annotated[SerializeAsAny[Sparsity], BeforeValidator(Sparsity.validated)]
