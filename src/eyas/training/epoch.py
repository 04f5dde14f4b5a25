"""One epoch: every step of the optimiser, on batches in a random order.

N images, C channels, H x W pixels, K classes.
"""

from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from eyas.errors import ParameterError
from eyas.progress import Progress
from eyas.training.data_parallel import Processes
from eyas.training.labelled_images import LabelledImages
from eyas.training.labelled_pixels import augmented
from eyas.training.layer_freezing import FrozenBlocks
from eyas.training.length import TrainingLength
from eyas.training.masked_weights import MaskedWeights
from eyas.training.optimiser_step import Step
from eyas.training.recipe_results import check_changed, rate_of
from eyas.training.recipes import Recipe
from eyas.training.resume import derive_seed
from eyas.training.shared_batch_norm import WholeBatchStatistics
from eyas.training.weight_average import WeightAverage

_REPORT_EVERY = 50  # steps between two progress reports, and between two looks at the loss


@dataclass(frozen=True)
class TrainingJob:
    """What stays the same from step to step."""

    model: nn.Module
    recipe: Recipe
    step: Step
    optimiser: torch.optim.Optimizer
    split: LabelledImages
    length: TrainingLength
    device: torch.device
    seed: int
    progress: Progress
    output: int | str | None = None
    """Which output is judged, where there are several."""
    frozen: FrozenBlocks | None = None
    """Which blocks do not learn, step by step."""
    average: WeightAverage | None = None
    """What is judged and kept instead of the model's own weights."""
    masked: MaskedWeights | None = None
    """Weights that are, or become, zero."""
    processes: Processes = field(default_factory=Processes.running)
    """Those that share each batch."""


def train_epoch(job: TrainingJob, epoch: int) -> float:
    """All steps of one epoch; the mean loss."""
    generator = torch.Generator().manual_seed(derive_seed(job.seed, epoch, "data"))
    batch_size, epochs, steps = job.length.batch_size, job.length.epochs, job.length.steps_per_epoch
    order = torch.randperm(len(job.split), generator=generator)[: steps * batch_size]
    job.model.train()
    total = torch.zeros((), dtype=torch.float64, device=job.device)
    for step, (images_NCHW, labels_N) in enumerate(job.split.batches(batch_size, order)):
        rate = rate_of(job.recipe, epoch - 1 + (step + 1) / (steps + 1), epochs)
        for group in job.optimiser.param_groups:
            group["lr"] = rate
        if job.frozen is not None:
            job.model.train()
            job.frozen.choose((epoch - 1) * steps + step)
        total += _step(job, images_NCHW, labels_N, generator)
        if (step + 1) % _REPORT_EVERY == 0:
            _check_finite(_over_processes(total, job), job, epoch)
            job.progress((epoch - 1) * steps + step + 1, job.length.steps, f"epoch {epoch}/{epochs}")
    total = _over_processes(total, job)
    _check_finite(total, job, epoch)
    return float(total) / steps


def _step(job: TrainingJob, images_NCHW: Tensor, labels_N: Tensor, generator: torch.Generator) -> Tensor:
    """One step of the optimiser; its loss (of several processes a part of it), without waiting for it.

    Each process draws for the whole batch, so that its share is what it is in a training by one.
    """
    stored_NCHW, labels_N = (tensor.to(job.device, non_blocking=True) for tensor in (images_NCHW, labels_N))
    changed_NCHW = job.recipe.augment_stored(stored_NCHW, generator)
    check_changed(job.recipe, "stored images", changed_NCHW, stored_NCHW)
    prepared_NCHW, stored_N = job.split.prepare(changed_NCHW), labels_N
    images_NCHW, labels_N = augmented(job.recipe, prepared_NCHW, stored_N, generator)
    check_changed(job.recipe, "images", images_NCHW, prepared_NCHW)
    check_changed(job.recipe, "masks", labels_N, stored_N)
    images_NCHW, answers = job.recipe.mix(images_NCHW, labels_N, generator)
    images_NCHW, answers = job.processes.share(images_NCHW, answers)
    with WholeBatchStatistics(job.processes) if job.processes.number > 1 else nullcontext():
        loss = job.step(images_NCHW.contiguous(memory_format=torch.channels_last), answers)
    if job.masked is not None:
        job.masked.after_step()
    if job.average is not None:
        job.average.update()
    return loss


def _over_processes(total: Tensor, job: TrainingJob) -> Tensor:
    summed = total.clone()
    job.processes.sum([summed])
    return summed


def _check_finite(total: Tensor, job: TrainingJob, epoch: int) -> None:
    """Stop as soon as the summed loss is no number."""
    if not bool(total.isfinite()):
        rate = job.optimiser.param_groups[0]["lr"]
        msg = (
            f"the loss is no longer finite in epoch {epoch} (learning rate {rate:.4g} at that step): lower "
            "`learning_rate` or raise `warmup_epochs`; with `precision` bfloat16, try float32"
        )
        raise ParameterError(msg)
