"""What recipes share: steps with momentum at a rate that warms up and falls by the cosine, and changed images."""

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field

from eyas.errors import ParameterError, nearest
from eyas.training.length import BATCH_SIZES
from eyas.training.rand_augment import RandAugment
from eyas.training.recipes.base import Recipe
from eyas.training.references import import_reference, is_reference

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


_LARGE = 96  # from this edge on, objects vary in size enough for random crops
_TINY = 16  # below this edge, a mirror image is hardly ever the same thing
_AUGMENTATIONS = ("auto", "none", "shift", "shift_flip", "resized_crop_flip")


def _known_augmentation(name: str) -> str:
    if name not in _AUGMENTATIONS and not is_reference(name):
        known = f"{', '.join(_AUGMENTATIONS)}, or your own as package.module:function"
        msg = f"augmentation {name!r} is not known{nearest(name, _AUGMENTATIONS)}: give {known}"
        raise ValueError(msg)
    return name


class ScheduledRecipe(Recipe):
    """Optimiser, schedule and augmentation; what is minimised is the member's."""

    optimizer: str = "sgd"
    """An optimiser of ``torch.optim`` by name (``adamw``, ``rmsprop``), ``lars`` (arXiv:1708.03888) or ``lamb``
    (arXiv:1904.00962) for batches of thousands, or a class as ``package.module:Class``. What is left out of learning
    rate, momentum and weight decay is then its own default; schedule and all else stay."""
    learning_rate: Annotated[float, Field(gt=0, le=1e38)] = 0.05
    """The schedule's peak. Left out beside ``batch_size``, it falls with the square of batches smaller than 128 where a
    network was trained before (the pruned one, an adapted one): 0.0125 for batches of 64, 0.00078 for those of 16.
    Measured on 448 photographs, ResNet-20 at half the MACs, 1,500 test images: untrained 75.7 %, 80.5 % at 0.0004,
    80.4 % at 0.001, 78.9 % at 0.0025, 78.6 % at 0.00625, which first led the score images from 78 to 57 %."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Nesterov's; 0 for plain SGD, or where the optimiser knows none."""
    weight_decay: Annotated[float, Field(ge=0, le=1e38)] = 5e-4
    """L2 penalty."""
    decay: Literal["weights", "all"] = "weights"
    """What decays: the weights of convolutions and linear layers, or also biases and batch-norm."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 1.0
    """Passes over which the rate rises from zero; half of all passes at most."""
    augmentation: Annotated[str, AfterValidator(_known_augmentation)] = "auto"
    """``none``, ``shift``, ``shift_flip``, ``resized_crop_flip``; ``auto``: shifts; mirror images too for colour images
    above 16 pixels; random crops from 96 pixels on. Or ``package.module:function``, of normalised images (N, C, H, W)
    and a generator, which returns images of the same shape; of images, masks (N, H, W) and a generator, which returns
    both, where each pixel has a class."""
    shift: Annotated[int, Field(ge=0)] | None = None
    """Largest shift in pixels; without it an eighth of the image's edge."""
    smallest_crop: Annotated[float, Field(gt=0, le=1)] = 0.35
    """Smallest share of the area that a random crop keeps."""
    rand_augment: RandAugment | None = None
    """A few random changes of colour and shape before that (arXiv:1909.13719), for long trainings that learn their
    images by heart; not where each pixel has a class."""

    def check(self) -> None:
        """Import the augmentation, where it is the user's own."""
        super().check()
        if is_reference(self.augmentation):
            import_reference(self.augmentation)

    def for_trained(self, batch_size: int) -> Self:
        """With a rate in proportion to the square of the batches, where both were left open.

        Proportion alone (arXiv:1706.02677) keeps what an epoch moves; few images are also less to move by.
        """
        if self.optimizer != "sgd" or self.batch_size is not None or "learning_rate" in self.model_fields_set:
            return self
        share = min(1.0, batch_size / BATCH_SIZES[0])
        return self.model_copy(update={"learning_rate": share**2 * self.learning_rate})

    def optimiser(self, model: "nn.Module") -> "torch.optim.Optimizer":
        """SGD with Nesterov momentum."""
        if self.optimizer == "sgd":
            return self.named_optimiser(model, nesterov=self.momentum > 0)
        return self.named_optimiser(model)

    def parameter_groups(self, model: "nn.Module") -> list[dict[str, Any]]:
        """All parameters; those with one dimension (biases, batch-norm) decay only if told to."""
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        decays = [p for p in parameters if self.decay == "all" or p.ndim > 1]
        rest = [p for p in parameters if self.decay != "all" and p.ndim <= 1]
        return [{"params": decays}, {"params": rest, "weight_decay": 0.0}]

    def rate(self, epoch: float, epochs: int) -> float:
        """``peak * epoch / warmup``, then ``peak * (1 + cos(pi * share of the rest)) / 2``."""
        warmup = min(self.warmup_epochs, epochs / 2)
        if epoch < warmup:
            return self.learning_rate * epoch / warmup
        share = (epoch - warmup) / (epochs - warmup)
        return self.learning_rate * (1 + math.cos(math.pi * min(share, 1.0))) / 2

    def augment_stored(self, images_NCHW: "Tensor", generator: "torch.Generator") -> "Tensor":
        """As ``rand_augment`` says."""
        return images_NCHW if self.rand_augment is None else self.rand_augment(images_NCHW, generator)

    def augment(self, images_NCHW: "Tensor", generator: "torch.Generator") -> "Tensor":
        """Shifted, mirrored or cropped images, as ``augmentation`` says."""
        if is_reference(self.augmentation):
            return import_reference(self.augmentation)(images_NCHW, generator)  # type: ignore[no-any-return]
        return self._changed(images_NCHW, self._augmentation(images_NCHW), generator)

    def augment_with_masks(
        self, images_NCHW: "Tensor", masks_NHW: "Tensor", generator: "torch.Generator"
    ) -> "tuple[Tensor, Tensor]":
        """The same, and masks moved by the same draws; crops of them are scaled by nearest neighbour."""
        if self.rand_augment is not None:
            raise ParameterError("`rand_augment` moves images and not their masks: leave it out")
        if is_reference(self.augmentation):
            return import_reference(self.augmentation)(images_NCHW, masks_NHW, generator)  # type: ignore[no-any-return]
        how, start = self._augmentation(images_NCHW), generator.get_state()
        images_NCHW = self._changed(images_NCHW, how, generator)
        generator.set_state(start)
        moved_N1HW = self._changed(masks_NHW[:, None].float(), how, generator, mode="nearest")
        return images_NCHW, moved_N1HW[:, 0].to(masks_NHW.dtype)

    def _changed(
        self, images_NCHW: "Tensor", how: str, generator: "torch.Generator", mode: str = "bilinear"
    ) -> "Tensor":
        from eyas.training.augmentation import resized_crop_and_flip, shift_and_flip

        if how == "none":
            return images_NCHW
        if how == "resized_crop_flip":
            return resized_crop_and_flip(images_NCHW, self.smallest_crop, flip=True, generator=generator, mode=mode)
        pixels = max(1, images_NCHW.shape[-1] // 8) if self.shift is None else self.shift
        height, width = images_NCHW.shape[2:]
        if pixels >= max(2, height, width):
            msg = f"`shift` {pixels} moves images of {height} x {width} pixels out of sight: give a smaller one"
            raise ParameterError(msg)
        return shift_and_flip(images_NCHW, pixels, flip=how == "shift_flip", generator=generator)

    def _augmentation(self, images_NCHW: "Tensor") -> str:
        """``augmentation``, with ``auto`` decided by the images."""
        if self.augmentation != "auto":
            return self.augmentation
        _, channels, height, width = images_NCHW.shape
        edge = min(height, width)
        if channels == 1 or edge <= _TINY:
            return "shift"
        return "resized_crop_flip" if edge >= _LARGE else "shift_flip"
