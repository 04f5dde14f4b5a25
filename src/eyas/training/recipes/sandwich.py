"""One network trained for many budgets at once: its narrower parts learn from it in every step."""

from functools import partial
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from eyas.errors import ParameterError
from eyas.training.labelled_pixels import one_row_each
from eyas.training.optimiser_step import Networks, Objective, RecipesLoss, WeightedLabels
from eyas.training.recipes.sgd import SGD
from eyas.training.sub_networks import SubNetworks


class Sandwich(SGD):
    """The sandwich rule with in-place distillation (BigNAS, Yu et al. 2020, arXiv:2003.11142, section 3.1).

    Use it for a dense network (``baseline.recipe``) of which several budgets are wanted: what a search takes out of it
    needs little or no training of its own. Search with the criterion ``l1_norm``, by which parts keep their channels;
    a step costs two to four of ``sgd``, and the whole network learns more slowly.

    In every step it learns as by ``sgd``; the narrowest part and some random ones learn what it answers.
    """

    kind: Literal["sandwich"] = "sandwich"  # type: ignore[assignment]
    smallest: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of each group's channels that the narrowest part keeps; half the channels are a quarter of the MACs."""
    random: Annotated[int, Field(ge=0, le=8)] = 2
    """How many parts of random widths learn in every step, beside the narrowest."""

    @model_validator(mode="after")
    def _one_objective(self) -> Self:
        if self.guidance is not None:
            msg = "guidance compares the layers of one part: leave it out of a recipe that trains many"
            raise ValueError(msg)
        if self.frozen_statistics:
            raise ValueError("frozen_statistics are those of the whole network, and parts have others: leave it out")
        return self

    def objective(self, networks: Networks) -> Objective:
        """The loss of the whole network, and how far its parts are from it."""
        if networks.example is None:
            raise ParameterError("recipe sandwich finds the parts by an image: Networks.example is missing")
        return _SandwichLoss(self, networks, SubNetworks(networks.model, networks.example, self.smallest))


class _SandwichLoss(RecipesLoss):
    def __init__(self, recipe: Sandwich, networks: Networks, parts: SubNetworks) -> None:
        super().__init__(recipe, networks)
        self.parts, self.random = parts, recipe.random

    def __call__(self, images_NCHW: Tensor, answers: WeightedLabels) -> Tensor:
        """The sum over the whole network and its parts, each a mean over N images."""
        loss, logits = self.compare(images_NCHW, answers)
        target = functional.log_softmax(one_row_each(logits.detach()), dim=1)
        share = sum(weight for _, weight in answers)  # of the batch, where processes share it
        for plan in (self.parts.smallest(), *(self.parts.random() for _ in range(self.random))):
            part = self.networks.logits(images_NCHW, partial(self.parts.answer, plan))
            actual = functional.log_softmax(one_row_each(part), dim=1)
            loss = loss + share * functional.kl_div(actual, target, reduction="batchmean", log_target=True)
        return loss
