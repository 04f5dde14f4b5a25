"""How long a training is: a number of steps is what it needs, so small sets get smaller batches and more epochs."""

from dataclasses import dataclass

BATCH_SIZES = (128, 64, 32, 16)
"""What ``choose_length`` takes a batch size from, largest first."""
STEPS_PER_EPOCH = 20
"""A batch is made smaller until an epoch has so many steps."""
MIN_STEPS = 600
"""Epochs are added until a training has so many steps; one with fewer is told as short where it did not succeed.

Test accuracy of a ResNet-8 trained from scratch on 60, 150, 300 and 600 of the handwritten digits (one seed): 15 epochs
of batches of 128 reach 47.6, 56.7, 84.2 and 96.0 %, the length chosen here 92.0, 95.1, 97.7 and 98.3 %. A pruned one
that was fine-tuned on them gained less than a point from more than 600 steps.
"""
MIN_EPOCHS, MAX_EPOCHS = 15, 200
"""Bounds of the epochs that ``choose_length`` takes."""


@dataclass(frozen=True)
class TrainingLength:
    """Batches, steps and epochs of a training."""

    images: int
    """Of the train split."""
    batch_size: int
    epochs: int
    chosen: tuple[str, ...] = ()
    """What the user left open: ``batch_size``, ``epochs``."""

    @property
    def steps_per_epoch(self) -> int:
        """The last, smaller batch is left out (another one each epoch)."""
        return steps_per_epoch(self.images, self.batch_size)

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.epochs * self.steps_per_epoch

    @property
    def text(self) -> str:
        """In words, for a log."""
        text = f"{self.epochs} epochs of {self.steps_per_epoch} steps with batches of {self.batch_size}"
        return text + (f" ({' and '.join(self.chosen)} chosen for {self.images:,} images)" if self.chosen else "")

    def as_metrics(self) -> dict[str, int]:
        """The numbers by name."""
        return {
            "batch_size": self.batch_size,
            "epochs": self.epochs,
            "steps_per_epoch": self.steps_per_epoch,
            "steps": self.steps,
        }


def choose_length(images: int, batch_size: int | None = None, epochs: int | None = None) -> TrainingLength:
    """Fill in what was left open (None).

    The batch size is the largest of 128, 64, 32 and 16 that leaves 20 steps per epoch, else 16. The epochs are 15, or
    as many as it takes for 600 steps, 200 at most. From 5,120 images on these are 128 and 15.

    Args:
        images: of the train split.
        batch_size: images per step.
        epochs: passes over the images.
    """
    chosen = tuple(name for name, value in (("batch_size", batch_size), ("epochs", epochs)) if value is None)
    if batch_size is None:
        enough = (size for size in BATCH_SIZES if steps_per_epoch(images, size) >= STEPS_PER_EPOCH)
        batch_size = next(enough, BATCH_SIZES[-1])
    if epochs is None:
        needed = -(-MIN_STEPS // steps_per_epoch(images, batch_size))
        epochs = min(max(MIN_EPOCHS, needed), MAX_EPOCHS)
    return TrainingLength(images, batch_size, epochs, chosen)


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Whole batches in ``images``; one, of all images, where they fill none."""
    return max(1, images // batch_size)
