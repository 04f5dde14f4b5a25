"""Two parts of one network, drawn for every image, teach each other."""

from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from eyas.errors import ParameterError
from eyas.training.labelled_pixels import labelled_loss, one_row_each
from eyas.training.optimiser_step import Networks, Objective, RecipesLoss, WeightedLabels
from eyas.training.recipes.sgd import SGD
from eyas.training.stochastic_depth import StochasticDepth


class CoSub(SGD):
    r"""Co-training of submodels by stochastic depth (cosub, Touvron et al. 2022, arXiv:2212.04884).

    Use it for a dense network (``baseline.recipe``) that a search with ``sample.depth`` follows: it learns to do
    without some of its residual blocks. A step costs two of ``sgd``.

    Each image passes twice, and each time other blocks are left out for it. With both answers z and the loss L of
    ``sgd``:

    .. math:: \frac{1}{2} \sum_{i \ne j} (1 - w) L(z_i, y) + w CE(z_i, softmax(z_j))
    """

    kind: Literal["cosub"] = "cosub"  # type: ignore[assignment]
    drop: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Probability that a block is left out for an image."""
    mutual: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Weight w of the other part's answer, to which no gradient goes."""

    @model_validator(mode="after")
    def _one_objective(self) -> Self:
        if self.guidance is not None:
            msg = "guidance compares the layers of the whole network: leave it out of a recipe that trains parts"
            raise ValueError(msg)
        return self

    @property
    def needs_whole_batch(self) -> bool:
        """Blocks are drawn for the images of a batch together."""
        return True

    def objective(self, networks: Networks) -> Objective:
        """The loss of both parts, and how far they are from each other."""
        if networks.example is None:
            raise ParameterError("recipe cosub finds the blocks by an image: Networks.example is missing")
        return CoSubLoss(self, networks, StochasticDepth(networks.model, networks.example))


class CoSubLoss(RecipesLoss):
    """The loss of two parts; one forward pass of both."""

    def __init__(self, recipe: CoSub, networks: Networks, depth: StochasticDepth) -> None:
        super().__init__(recipe, networks)
        self.depth, self.drop, self.mutual = depth, recipe.drop, recipe.mutual

    def __call__(self, images_NCHW: Tensor, answers: WeightedLabels) -> Tensor:
        """The mean over N images and two parts of each, which are drawn anew."""
        return self.of_parts(images_NCHW, answers, self.depth.draw(2 * len(images_NCHW), self.drop))

    def of_parts(self, images_NCHW: Tensor, answers: WeightedLabels, scales_B2N: Tensor) -> Tensor:
        """The same for given scales of B blocks, first those of N images, then those of their second pass."""
        with self.depth.applied(scales_B2N):
            first, second = self.networks.logits(torch.cat([images_NCHW, images_NCHW])).chunk(2)
        teacher = self.networks.teacher_logits(images_NCHW)
        losses = []
        for own, other in ((first, second), (second, first)):
            labelled = [weight * labelled_loss(self.recipe, own, labels, teacher) for labels, weight in answers]
            target = functional.softmax(one_row_each(other.detach()), dim=1)
            mutual = functional.cross_entropy(one_row_each(own), target)
            losses.append((1 - self.mutual) * torch.stack(labelled).sum() + self.mutual * mutual)
        return torch.stack(losses).mean()
