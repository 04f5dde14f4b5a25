"""Answers made surer by batch-norm's weights and biases."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from eyas.adaptation.adapters.adaptation import Adaptation
from eyas.adaptation.adapters.affine_descent import AffineAdaptation, entropy
from eyas.adaptation.adapters.base import Adapter, Rate


class Tent(Adapter):
    r"""A loss of the answers alone, minimised over the affine parameters (Wang et al. 2021, arXiv:2006.10726).

    ``loss: entropy`` is the mean entropy of the answers. ``class_confusion`` is the minimum class confusion of Jin et
    al. (2020, arXiv:1912.03699): with :math:`P` the softmax at ``temperature``, rows weighted by :math:`1 + e^{-H}`,
    the share of :math:`P^\top W P`, its rows normalised, that lies off the diagonal; it stands for the Core loss of
    alpha-BN, whose normalisation is not published. Statistics are mixed as in ``alpha_bn``; no gradient goes into them.

    Use it where ``alpha_bn`` helps and many batches of all classes are there: it gains a little more. On a stream that
    is sorted by class it loses much (a ResNet-20 on CIFAR-10 went from 87 to 65 %).
    """

    kind: Literal["tent"] = "tent"
    needs_backward: ClassVar[bool] = True
    min_batch: ClassVar[int] = 2
    loss: Literal["entropy", "class_confusion"] = "class_confusion"
    """What is minimised."""
    rate: Rate = 1e-3
    """Of Adam."""
    source_weight: Annotated[float, Field(ge=0, le=1)] = 0.0
    """What the network's own statistics count for."""
    temperature: Annotated[float, Field(ge=1e-6)] = 2.5
    """Of the softmax in ``class_confusion``."""

    def start(self, model: nn.Module, source: Tensor | None) -> Adaptation:
        """See the base for the promise."""
        return _Surer(self, model, self.rate)


class _Surer(AffineAdaptation):
    adapter: Tent

    @property
    def source_weight(self) -> float:
        return self.adapter.source_weight

    def loss(self, logits_NK: Tensor) -> Tensor:
        if self.adapter.loss == "entropy":
            return entropy(logits_NK)
        return class_confusion(logits_NK, self.adapter.temperature)


def class_confusion(logits_NK: Tensor, temperature: float) -> Tensor:
    """By how much answers are shared between classes: 0 where each image is surely of one class."""
    probability_NK = (logits_NK / temperature).softmax(1)
    weight_N = 1 + (-torch.special.entr(probability_NK.detach()).sum(1)).exp()
    weighted_NK = probability_NK * (weight_N / weight_N.mean())[:, None]
    confusion_KK = weighted_NK.T @ probability_NK
    none = torch.finfo(confusion_KK.dtype).tiny  # of a class that no image is of at all
    rows_KK = confusion_KK / confusion_KK.sum(1, keepdim=True).clamp(min=none)
    shared: Tensor = 1 - rows_KK.diagonal().mean()
    return shared
