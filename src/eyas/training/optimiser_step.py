"""One step on one batch: what both networks answer, what is minimised, and the step of the optimiser.

N images, C channels, H x W pixels, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from eyas.pruning.output_paths import primary_output, trained_output
from eyas.pruning.surgery import Slices
from eyas.training.data_parallel import Processes
from eyas.training.labelled_pixels import labelled_loss
from eyas.training.recipe_results import check_loss

if TYPE_CHECKING:
    from eyas.training.recipes import Recipe

WeightedLabels = Sequence[tuple[Tensor, float]]
"""Labels of a batch and their weights, which sum to 1 (over all processes that share it); more than one pair where
images are mixed."""
Objective = Callable[[Tensor, WeightedLabels], Tensor]
"""From images ``(N, C, H, W)`` and their labels to the scalar that a step minimises."""
Step = Callable[[Tensor, WeightedLabels], Tensor]
"""Takes a step of the optimiser on such a batch, and gives its loss without a gradient."""


@dataclass(frozen=True)
class Networks:
    """The network in training, and the one that it learns from."""

    model: nn.Module
    teacher: nn.Module | None
    """In eval mode; None where there is none, or the recipe wants none."""
    output: int | str | None = None
    """Which output is trained, and distilled from the teacher's, where there are several."""
    num_logits: int | None = None
    """How many numbers that output has; None is any."""
    precision: str = "float32"
    """Of forward passes."""
    example: Tensor | None = None
    """An image, ``(1, C, H, W)``, normalised and on the device."""
    slices: Slices | None = None
    """Which of the teacher's channels the network in training keeps, by parameter and dimension, where it is known."""

    def logits(self, images_NCHW: Tensor, forward: Callable[[Tensor], Any] | None = None) -> Tensor:
        """What the network in training answers (or ``forward`` in its place), in float32."""
        with self._autocast(images_NCHW):
            answer = (forward or self.model)(images_NCHW)
            return trained_output(answer, self.output, self.num_logits).float()

    @torch.no_grad()
    def teacher_logits(self, images_NCHW: Tensor) -> Tensor | None:
        """What the teacher answers, in float32."""
        if self.teacher is None:
            return None
        with self._autocast(images_NCHW):
            return primary_output(self.teacher(images_NCHW), self.output).float()

    def _autocast(self, images_NCHW: Tensor) -> torch.autocast:
        return torch.autocast(images_NCHW.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")


class RecipesLoss:
    """The recipe's loss of both networks' logits."""

    def __init__(self, recipe: "Recipe", networks: Networks) -> None:
        self.recipe, self.networks = recipe, networks

    def __call__(self, images_NCHW: Tensor, answers: WeightedLabels) -> Tensor:
        """The mean over N images; of mixed ones, that of each label by its weight."""
        return self.compare(images_NCHW, answers)[0]

    def compare(self, images_NCHW: Tensor, answers: WeightedLabels) -> tuple[Tensor, Tensor]:
        """The loss, and the logits of the network in training."""
        teacher = self.networks.teacher_logits(images_NCHW)
        logits = self.networks.logits(images_NCHW)
        losses = [weight * self._loss(logits, labels, teacher) for labels, weight in answers]
        return torch.stack(losses).sum() if len(losses) > 1 else losses[0], logits

    def _loss(self, logits: Tensor, labels: Tensor, teacher: Tensor | None) -> Tensor:
        loss = labelled_loss(self.recipe, logits, labels, teacher)
        check_loss(self.recipe, loss, logits)
        return loss


class OptimiserStep:
    """Backward pass, gradients summed over processes, clipping and step."""

    def __init__(
        self, recipe: "Recipe", objective: Objective, model: nn.Module, optimiser: torch.optim.Optimizer
    ) -> None:
        self.recipe, self.objective, self.model, self.optimiser = recipe, objective, model, optimiser

    def __call__(self, images_NCHW: Tensor, answers: WeightedLabels) -> Tensor:
        """The loss, without waiting for it."""
        loss = self.objective(images_NCHW, answers)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        Processes.running().sum_gradients(self.model)
        self.recipe.clip(self.model)
        self.optimiser.step()
        return loss.detach()
