"""The training loop: any recipe, any device, resumable, and the same bytes for the same seed.

N images, C channels, H x W pixels, K classes. Each epoch draws its order, augmentation and dropout from (seed,
epoch) alone, so that a run that was killed and resumed ends as an unbroken one does.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eyas.errors import DataError, EyasError
from eyas.progress import Progress, silent
from eyas.training.evaluation import Evaluation, check_labels, evaluate
from eyas.training.history import EpochRecord
from eyas.training.recipes import Recipe
from eyas.training.resume import EpochStore, derive_seed
from eyas.training.splits import Split

_log = logging.getLogger(__name__)
_REPORT_EVERY = 50  # steps between two progress reports, and between two looks at the loss


@dataclass(frozen=True)
class TrainingResult:
    """What a training left behind beside the weights."""

    history: tuple[EpochRecord, ...]
    best_epoch: int
    """The epoch whose weights the model holds; 0 where none was trained."""
    best: Evaluation
    """Of that epoch, on the score split."""
    resumed_from: int
    """Epochs that an earlier, killed run had done already."""


@dataclass
class _State:
    """All that an epoch checkpoint holds, beside the model and the optimiser."""

    history: list[EpochRecord] = field(default_factory=list)
    best_epoch: int = 0
    best: Evaluation | None = None
    best_weights: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class _Job:
    """What stays the same from step to step."""

    model: nn.Module
    teacher: nn.Module | None
    recipe: Recipe
    optimiser: torch.optim.Optimizer
    split: Split
    epochs: int
    device: torch.device
    seed: int
    progress: Progress

    @property
    def steps(self) -> int:
        """Steps per epoch; the last, smaller batch is left out (another one each epoch)."""
        return max(1, len(self.split) // self.recipe.batch_size)


def train(
    model: nn.Module,
    train_split: Split,
    score_split: Split,
    *,
    recipe: Recipe,
    epochs: int,
    teacher: nn.Module | None = None,
    device: torch.device | str = "cpu",
    seed: int = 0,
    progress: Progress = silent,
    resume_folder: Path | str | None = None,
) -> TrainingResult:
    """Train ``model`` in place and leave it, on ``device``, with the weights of its best epoch.

    The best epoch has the highest accuracy on ``score_split``; ties go to the lower cross-entropy, then to the
    earlier epoch.

    Args:
        model: any network from ``(N, C, H, W)`` to logits ``(N, K)``.
        train_split: at least two images; shuffled in each epoch.
        score_split: judges the epochs, is never trained on.
        recipe: optimiser, schedule, loss, augmentation.
        epochs: passes over ``train_split``; 0 only evaluates.
        teacher: its logits join the loss where the recipe wants them; stays as it is.
        device: where to work.
        seed: of order, augmentation and dropout.
        progress: called with steps done and in all.
        resume_folder: holds the epoch checkpoint; where there is one, training continues from it.

    Raises:
        DataError: too few images, or labels that the network has no output for.
        EyasError: the loss is no longer a number.
    """
    device = torch.device(device)
    _to_device(model, device)
    train_split, score_split = train_split.to(device), score_split.to(device)
    _check(model, train_split, device)
    job = _Job(
        model=model,
        teacher=_prepare_teacher(teacher, recipe, device),
        recipe=recipe,
        optimiser=recipe.optimiser(model),
        split=train_split,
        epochs=epochs,
        device=device,
        seed=seed,
        progress=progress,
    )
    store = EpochStore(resume_folder) if resume_folder is not None else None
    state = _restore(job, store) or _State()
    resumed_from = len(state.history)
    for epoch in range(resumed_from + 1, epochs + 1):
        _run_epoch(job, epoch, state, score_split)
        if store is not None:
            store.save(_snapshot(job, state))
    if state.best is None:
        return TrainingResult((), 0, evaluate(model, score_split, device=device), 0)
    model.load_state_dict(state.best_weights)
    model.eval()
    return TrainingResult(tuple(state.history), state.best_epoch, state.best, resumed_from)


def _run_epoch(job: _Job, epoch: int, state: _State, score_split: Split) -> None:
    """Train one epoch, judge it, and keep its weights if it is the best so far."""
    with _seeded(derive_seed(job.seed, epoch, "model"), job.device):
        train_loss = _train_epoch(job, epoch)
    found = evaluate(job.model, score_split, device=job.device)
    rate = float(job.optimiser.param_groups[0]["lr"])
    state.history.append(EpochRecord(epoch, train_loss, found.accuracy, rate, found.cross_entropy))
    if state.best is None or _rank(found) > _rank(state.best):
        state.best_epoch, state.best = epoch, found
        state.best_weights = {name: value.clone() for name, value in job.model.state_dict().items()}
    text = f"epoch {epoch}/{job.epochs}: loss {train_loss:.4f}, score accuracy {found.accuracy:.4f}"
    best = f"best {state.best.accuracy:.4f} in epoch {state.best_epoch}" if state.best else ""
    _log.info("%s, %s", text, best)
    job.progress(epoch * job.steps, job.epochs * job.steps, text)


def _train_epoch(job: _Job, epoch: int) -> float:
    """All steps of one epoch; the mean loss."""
    generator = torch.Generator().manual_seed(derive_seed(job.seed, epoch, "data"))
    order = torch.randperm(len(job.split), generator=generator)[: job.steps * job.recipe.batch_size]
    job.model.train()
    total = torch.zeros((), dtype=torch.float64, device=job.device)
    for step, (images_NCHW, labels_N) in enumerate(job.split.batches(job.recipe.batch_size, order)):
        rate = job.recipe.rate(epoch - 1 + (step + 1) / (job.steps + 1), job.epochs)
        for group in job.optimiser.param_groups:
            group["lr"] = rate
        total += _step(job, images_NCHW, labels_N, generator)
        if (step + 1) % _REPORT_EVERY == 0:
            _refuse_non_finite(total, job, epoch)
            job.progress((epoch - 1) * job.steps + step + 1, job.epochs * job.steps, f"epoch {epoch}/{job.epochs}")
    _refuse_non_finite(total, job, epoch)
    return float(total) / job.steps


def _step(job: _Job, images_NCHW: Tensor, labels_N: Tensor, generator: torch.Generator) -> Tensor:
    """One step of the optimiser; its loss, without waiting for it."""
    images_NCHW = job.split.prepare(images_NCHW.to(job.device, non_blocking=True))
    labels_N = labels_N.to(job.device, non_blocking=True)
    images_NCHW = job.recipe.augment(images_NCHW, generator)
    images_NCHW = images_NCHW.contiguous(memory_format=torch.channels_last)
    with torch.autocast(job.device.type, torch.bfloat16, enabled=job.recipe.precision == "bfloat16"):
        teacher_NK = None
        if job.teacher is not None:
            with torch.no_grad():
                teacher_NK = job.teacher(images_NCHW)
        logits_NK = job.model(images_NCHW)
    loss = job.recipe.loss(logits_NK.float(), labels_N, None if teacher_NK is None else teacher_NK.float())
    job.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    job.optimiser.step()
    return loss.detach()


def _refuse_non_finite(total: Tensor, job: _Job, epoch: int) -> None:
    """Stop as soon as the summed loss is no number."""
    if not bool(total.isfinite()):
        rate = job.optimiser.param_groups[0]["lr"]
        msg = (
            f"the loss is no longer finite in epoch {epoch} (learning rate {rate:.4g} at that step): lower "
            "recipe.learning_rate or raise recipe.warmup_epochs; with precision bfloat16, try float32"
        )
        raise EyasError(msg)


def _rank(found: Evaluation) -> tuple[float, float]:
    return found.accuracy, -found.cross_entropy


def _to_device(model: nn.Module, device: torch.device) -> None:
    """Move in place, into the memory format that convolutions are fastest in.

    Measured on one CPU core, channels-last against contiguous: ResNet-20 on 32 x 32 (batches of 128) trains 349
    against 290 images per second, MobileNetV2 80 against 54, VGG-11 110 against 106, ResNet-18 86 against 82.
    """
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _prepare_teacher(teacher: nn.Module | None, recipe: Recipe, device: torch.device) -> nn.Module | None:
    """The teacher in eval mode on the device, or None where the recipe does not listen."""
    if teacher is None or not recipe.wants_teacher:
        return None
    _to_device(teacher, device)
    return teacher.eval()


def _check(model: nn.Module, split: Split, device: torch.device) -> None:
    """Look at two images before the first step, so that what is wrong is said in words."""
    if len(split) < 2:
        msg = f"cannot train on {len(split)} images: the train split needs two at least"
        raise DataError(msg)
    images_NCHW, _ = next(iter(split.batches(2)))
    model.eval()
    with torch.inference_mode():
        check_labels(split.labels, model(split.prepare(images_NCHW.to(device))))


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's own generators (dropout) seeded, and given back as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def _snapshot(job: _Job, state: _State) -> dict[str, Any]:
    """Tensors and plain values only: it is read back without unpickling code."""
    return {
        "model": job.model.state_dict(),
        "optimiser": job.optimiser.state_dict(),
        "history": [asdict(record) for record in state.history],
        "best_epoch": state.best_epoch,
        "best": asdict(state.best) if state.best else None,
        "best_weights": state.best_weights,
    }


def _restore(job: _Job, store: EpochStore | None) -> _State | None:
    """Put model and optimiser back where the store says a killed run stopped."""
    saved = store.load(job.device) if store is not None else None
    if saved is None or len(saved["history"]) > job.epochs:
        return None
    job.model.load_state_dict(saved["model"])
    job.optimiser.load_state_dict(saved["optimiser"])
    history = [EpochRecord(**record) for record in saved["history"]]
    _log.info("continuing after epoch %d of %d", len(history), job.epochs)
    return _State(history, saved["best_epoch"], Evaluation(**saved["best"]), saved["best_weights"])
