"""Which layers lose most in 8 bits, and which of them stay in float until the accuracy holds."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from eyas.deploy.logit_parity import compare_logits

Write = Callable[[Sequence[str]], Callable[[Tensor], Tensor]]
"""Quantises all layers but those named, and returns what then answers images with logits."""


@dataclass(frozen=True)
class HeldOut:
    """Images with labels that no range was taken from, and that are no test images."""

    images: Tensor
    """``(N, C, H, W)``, normalised."""
    labels: Tensor
    """``(N,)``."""

    def accuracy(self, logits_NK: Tensor) -> float:
        """Share of right answers."""
        return float((logits_NK.argmax(1) == self.labels).double().mean())


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs when it alone is in 8 bits."""

    layer: str
    accuracy_drop: float
    """On the held-out images, against float32."""
    relative_difference: float
    """Largest difference of a logit there, as a share of the largest logit."""


@dataclass(frozen=True)
class Sensitivity:
    """What a sensitivity pass came to."""

    images: int
    """Held-out images that every number stands on."""
    accuracy: float
    """In float32."""
    quantised_drop: float
    """Of all layers in 8 bits."""
    kept: tuple[str, ...] = ()
    """Layers that stay in float, the costliest first."""
    drop: float = 0.0
    """Of what was written."""
    costs: tuple[LayerCost, ...] = ()
    """Of every layer, the costliest first; nothing where all of them may be in 8 bits."""

    def as_dict(self) -> dict[str, Any]:
        """The numbers by name."""
        return asdict(self)


def find_layers_to_keep(
    layers: Sequence[str], write: Write, float_logits_NK: Tensor, held_out: HeldOut, limit: float
) -> Sensitivity:
    """Keep the costliest layers in float, one more at a time, until accuracy drops by no more than ``limit``.

    A layer's cost is that of a network in which it alone is in 8 bits: its accuracy, then its logits, for accuracies
    of few images tie.

    Args:
        layers: names of all that may be in 8 bits.
        write: quantises all but some of them.
        float_logits_NK: what the network answers in float32.
        held_out: the images that judge.
        limit: largest drop of accuracy against float32.
    """
    accuracy = held_out.accuracy(float_logits_NK)

    def drop_with(kept: Sequence[str]) -> tuple[float, float]:
        logits_NK = write(kept)(held_out.images)
        parity = compare_logits(float_logits_NK, logits_NK)
        return accuracy - held_out.accuracy(logits_NK), parity.relative_difference

    drop, _ = drop_with(())
    result = Sensitivity(len(held_out.labels), accuracy, drop, drop=drop)
    if drop <= limit:
        return result
    alone = [(layer, drop_with([other for other in layers if other != layer])) for layer in layers]
    costs = sorted((LayerCost(layer, *cost) for layer, cost in alone), key=_order, reverse=True)
    kept: list[str] = []
    while drop > limit and len(kept) < len(layers):
        kept.append(costs[len(kept)].layer)
        drop, _ = drop_with(kept)
    return Sensitivity(result.images, accuracy, result.quantised_drop, tuple(kept), drop, tuple(costs))


def _order(cost: LayerCost) -> tuple[float, float]:
    return cost.accuracy_drop, cost.relative_difference
