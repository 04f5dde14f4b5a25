"""Features in which field and training look alike to a discriminator."""

import itertools
import math
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from eyas.adaptation.adapters.adaptation import Adaptation
from eyas.adaptation.adapters.affine_descent import remembered_adam
from eyas.adaptation.adapters.base import Adapter, Rate
from eyas.adaptation.adapters.layer_statistics import PooledAdaptation
from eyas.adaptation.adapters.readout import last_linear
from eyas.adaptation.source_images import SourceImages
from eyas.calibration.batchnorm import batch_statistics


class Dann(Adapter):
    r"""Domain-adversarial training (Ganin et al. 2016, arXiv:1505.07818).

    A discriminator of two hidden layers learns from the features, what the last linear layer reads, which images are
    the field's; its gradient goes into the network times :math:`-\lambda`, :math:`\lambda = 2 / (1 + e^{-10p}) - 1`,
    where p goes from 0 to 1 in ``horizon`` batches. Images of the training keep the network's own answers. Both pass
    batch-norm as batches of their own, so that statistics do not tell the field.

    Use it as the well-known baseline, on thousands of images; on few it is little more than ``ada_bn``, and dear.
    """

    kind: Literal["dann"] = "dann"
    needs_source: ClassVar[bool] = True
    needs_backward: ClassVar[bool] = True
    min_batch: ClassVar[int] = 2
    rate: Rate = 1e-4
    """Of Adam."""
    horizon: Annotated[int, Field(ge=1)] = 100
    """Batches after which the reversed gradient counts whole."""
    hidden: Annotated[int, Field(ge=1, le=16_384)] = 128
    """Width of the discriminator; 1,024 in the paper."""

    def start(self, model: nn.Module, source: Tensor | None) -> Adaptation:
        """See the base for the promise."""
        assert source is not None
        return _Adversarial(self, model, SourceImages.answered(model, source))


class _Adversarial(PooledAdaptation):
    adapter: Dann

    def __init__(self, adapter: Dann, model: nn.Module, source: SourceImages) -> None:
        super().__init__(adapter, model)
        self.source = source
        self.readout = last_linear(model, source.images[: adapter.min_batch])
        widths = (self.readout.in_features, adapter.hidden, adapter.hidden)
        hidden = (part for sizes in itertools.pairwise(widths) for part in (nn.Linear(*sizes), nn.ReLU()))
        self.discriminator = nn.Sequential(*hidden, nn.Linear(adapter.hidden, 1)).to(source.images.device)
        self.memory |= {f"discriminator.{name}": value for name, value in self.discriminator.named_parameters()}
        self.memory["batches"] = torch.zeros((), dtype=torch.int64)
        self.memory["seed"] = torch.randint(2**31, ())
        model.requires_grad_(requires_grad=True)
        learnt = {**dict(model.named_parameters()), **dict(self.discriminator.named_parameters(prefix="discriminator"))}
        self.optimiser = remembered_adam(learnt, adapter.rate, self.memory)

    def step(self, images: Tensor) -> Tensor:
        logits = super().step(images)
        batch = int(self.memory["batches"])
        generator = torch.Generator().manual_seed(int(self.memory["seed"]) + batch)
        source, labels_N = self.source.draw(len(images), 1.0, generator)
        with torch.enable_grad():
            self.optimiser.zero_grad()
            loss = self.loss(images, source, labels_N, reversal_weight(batch / self.adapter.horizon))
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
        self.memory["batches"] += 1
        return logits

    def loss(self, images: Tensor, source: Tensor, labels_N: Tensor, weight: float) -> Tensor:
        """Cross-entropy on the source, and of the discriminator on both fields."""
        logits_NK, source_NF = self._features(source)
        _, field_NF = self._features(images)
        fields = self.discriminator(reverse_gradient(torch.cat([source_NF, field_NF]), weight))[:, 0]
        is_field = torch.cat([torch.zeros(len(source)), torch.ones(len(images))]).to(fields)
        by_field = functional.binary_cross_entropy_with_logits(fields, is_field)
        return functional.cross_entropy(logits_NK, labels_N) + by_field

    def _features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and what the last linear layer reads, ``(N, F)``; normalised by the batch's own statistics."""
        kept: list[Tensor] = []
        hook = self.readout.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
        try:
            with batch_statistics(self.model):
                logits: Tensor = self.model(images)
        finally:
            hook.remove()
        return logits, kept[-1].flatten(1)


class ReverseGradient(torch.autograd.Function):
    """Forward as it is; the gradient times a negative weight."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: float) -> Tensor:
        """The features."""
        ctx.weight = weight
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Reversed."""
        return -ctx.weight * gradient, None


def reverse_gradient(features: Tensor, weight: float) -> Tensor:
    """The features; their gradient is taken times the negative weight."""
    reversed_features: Tensor = ReverseGradient.apply(features, weight)  # type: ignore[no-untyped-call]
    return reversed_features


def reversal_weight(progress: float) -> float:
    """The weight of the reversed gradient after a share of all batches; never above that of 1."""
    return 2 / (1 + math.exp(-10 * min(progress, 1.0))) - 1
