"""The root of the recipes: what a recipe promises."""

from typing import Annotated, Literal

import torch
from pydantic import BeforeValidator, Field, SerializeAsAny
from torch import Tensor, nn

from eyas.component import Component
from eyas.errors import ParameterError


class Recipe(Component):
    """How a network is trained: optimiser, schedule, loss, augmentation.

    The loop (:func:`eyas.training.train`) owns order, seeds, devices and checkpoints; a recipe holds no state.
    """

    batch_size: Annotated[int, Field(ge=2)] | None = None
    """Images per step; without it 128, or fewer (64, 32, 16) where an epoch would have less than 20 steps."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of forward and backward passes; weights, statistics, loss and evaluation stay float32. Faster on GPUs, and on
    CPUs with AVX512-BF16 or AMX (ResNet-20: 539 against 349 images per second and core); slow on others."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Judge and keep an exponential moving average of weights and batch-norm statistics, with this decay per step (the
    first steps forget sooner); without it the weights themselves."""

    @property
    def wants_teacher(self) -> bool:
        """Whether :meth:`loss` uses the teacher's logits; without, the teacher is never run."""
        return False

    def optimiser(self, model: nn.Module) -> torch.optim.Optimizer:
        """An optimiser over all parameters of ``model``."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it steps")

    def rate(self, epoch: float, epochs: int) -> float:
        """Learning rate after ``epoch`` (a fraction counts steps) of ``epochs`` passes."""
        raise NotImplementedError(f"{type(self).__name__} has no schedule")

    def augment(self, images_NCHW: Tensor, generator: torch.Generator) -> Tensor:
        """Changed images of the same shape; all randomness from ``generator`` (on the CPU)."""
        del generator
        return images_NCHW

    def augment_with_masks(
        self, images_NCHW: Tensor, masks_NHW: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """:meth:`augment`, and class numbers per pixel moved as their images are.

        Raises:
            ParameterError: the recipe changes images, and does not say how masks follow.
        """
        if type(self).augment is not Recipe.augment:
            msg = f"recipe {self.kind} changes images and not their masks: give it augment_with_masks, or take another"
            raise ParameterError(msg)
        return images_NCHW, masks_NHW

    def loss(self, logits_NK: Tensor, labels_N: Tensor, teacher_NK: Tensor | None) -> Tensor:
        """What is minimised: a scalar, the mean over N images."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it minimises")


AnyRecipe = Annotated[SerializeAsAny[Recipe], BeforeValidator(Recipe.parse)]
