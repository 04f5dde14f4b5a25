"""A candidate trained for a few steps, as every other: pruned, refitted, then SGD down to a learning rate of zero.

N images of a batch, K classes.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from eyas.calibration.batchnorm import batch_norms
from eyas.calibration.update_bn_stats import copy_without_waiting
from eyas.errors import ParameterError, one_line
from eyas.pruning.output_paths import trained_output
from eyas.pruning.surgery import prune
from eyas.recovery import Recovery
from eyas.recovery.dense_targets import DenseTargets
from eyas.recovery.refit import refit_silently, undone_words
from eyas.scoring.image_sets import ImageSets
from eyas.scoring.memory import is_out_of_memory
from eyas.scoring.race.rungs import Rung
from eyas.training.labelled_pixels import labelled_loss
from eyas.training.recipes.sgd import SGD, Distillation

if TYPE_CHECKING:
    from eyas.pruning.plan import PruningPlan
    from eyas.pruning.space import SearchSpace

_log = logging.getLogger(__name__)


class ShortTraining:
    """Prunes and trains candidates of one dense network, which stays as it is; all see the same batches.

    Args:
        model: the dense network, on its device.
        space: its search space.
        output: which of several outputs is trained.
        num_logits: how many numbers that output has.
        precision: context of the forward passes; loss, weights and steps are in float32.
        calibrate: re-estimates a network's statistics from images, in batches of a size.
    """

    def __init__(
        self,
        model: nn.Module,
        space: "SearchSpace",
        *,
        output: int | str | None,
        num_logits: int,
        precision: Callable[[], AbstractContextManager[Any]],
        calibrate: Callable[[nn.Module, Tensor, int], None],
    ) -> None:
        self._model, self._space, self._output, self._num_logits = model, space, output, num_logits
        self._precision, self._calibrate = precision, calibrate
        self._targets: dict[tuple[Recovery, int], DenseTargets] = {}
        self._told = False
        self._readers = {m.parameter for group in space.groups for m in group.members if m.role == "in"}

    def __call__(self, plan: "PruningPlan", rung: Rung, images: ImageSets, batch_size: int) -> nn.Module:
        """The network of a plan after the steps of a rung; its statistics are to be re-estimated.

        Args:
            plan: what is kept.
            rung: how to train.
            images: ``training_dense`` among them, where there is a step to take.
            batch_size: of the race: neither a step nor the refit looks at more images at once.
        """
        with torch.inference_mode(mode=False):
            small = prune(self._model, self._space, plan)
            if rung.recovery is not None:
                self._refit(small, plan, rung.recovery, refit_images(images)[:batch_size])
            if rung.steps:
                self._train(small, rung, images, batch_size)
        return small

    def check(self, images: ImageSets) -> None:
        """Take one step with the unpruned network.

        Raises:
            ParameterError: it cannot be trained; says why.
        """
        if self._num_logits < 2:
            msg = "`rungs` train for some steps, but the network answers with one number: there are no classes to learn"
            raise ParameterError(msg)
        try:
            self(self._space.plan(), Rung(steps=1, recovery=None), images, 2)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            msg = (
                f"`rungs` train for some steps, but {type(self._model).__name__} cannot be trained: in train mode it "
                f"fails with {type(error).__name__}: {one_line(error)}; leave the steps out"
            )
            raise ParameterError(msg) from error

    def _refit(self, small: nn.Module, plan: "PruningPlan", recovery: Recovery, images: Tensor) -> None:
        key = (recovery, len(images))
        if key not in self._targets:
            kept = images[: recovery.images]
            self._targets = {key: DenseTargets.record(self._model, kept, self._readers, recovery)}
        targets = self._targets[key]
        report = refit_silently(self._model, small, self._space, plan, images, recovery=recovery, targets=targets)
        if report.undone and not self._told:
            _log.warning("%s", undone_words(report.undone, " in a candidate, and perhaps in others"))
            self._told = True

    def _train(self, small: nn.Module, rung: Rung, images: ImageSets, batch_size: int) -> None:
        """Train in place; dropout is drawn alike for every candidate, and torch's generators come back as they were."""
        assert images.training is not None
        assert rung.steps is not None
        recipe = SGD(
            learning_rate=rung.learning_rate,
            warmup_epochs=0,
            distillation=Distillation(alpha=1 if images.training_labels is None else rung.distillation),
        )
        optimiser, device = recipe.optimiser(small), images.training.device
        small.train()
        if not all(layer.training for layer in batch_norms(small)):  # the network's own train() keeps some frozen
            self._calibrate(small, refit_images(images), batch_size)
        with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.enable_grad():
            torch.manual_seed(0)
            for step, rows_N in enumerate(_batches(len(images.training), min(rung.batch_size, batch_size), rung.steps)):
                for group in optimiser.param_groups:
                    group["lr"] = recipe.rate(step, rung.steps)
                optimiser.zero_grad(set_to_none=True)
                self._loss(small, images, copy_without_waiting(rows_N, device), recipe).backward()  # type: ignore[no-untyped-call]
                optimiser.step()

    def _loss(self, small: nn.Module, images: ImageSets, rows_N: Tensor, recipe: SGD) -> Tensor:
        assert images.training is not None
        assert images.training_dense is not None
        batch = images.training[rows_N]
        if batch.ndim == 4:
            batch = batch.contiguous(memory_format=torch.channels_last)
        with self._precision():
            logits = trained_output(small(batch), self._output, self._num_logits)
        teacher = images.training_dense[rows_N]
        labels = teacher.argmax(1) if images.training_labels is None else images.training_labels[rows_N]
        return labelled_loss(recipe, logits.float(), labels, teacher)


def refit_images(images: ImageSets) -> Tensor:
    """What a refit looks at: calibration images, training images where there are none."""
    return images.training if images.training is not None and not len(images.calibration) else images.calibration


def _batches(images: int, size: int, steps: int) -> Iterator[Tensor]:
    """Rows of each step's images: first as they lie, shuffled already, then in further orders."""
    size, order = min(size, images), torch.arange(images)
    for step in range(steps):
        epoch, place = divmod(step, images // size)
        if epoch and not place:
            order = torch.randperm(images, generator=torch.Generator().manual_seed(epoch))
        yield order[place * size : (place + 1) * size]
