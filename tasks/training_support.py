"""What the two stages that train share: their data, their network's fitness for it, and resuming."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eyas.calibration.batchnorm import batch_norms
from eyas.config import PipelineParams, RuntimeParams
from eyas.data import Dataset, open_dataset
from eyas.errors import ParameterError
from eyas.parallel import cores, share_threads
from eyas.progress import Progress
from eyas.training import Evaluation, StoredSplit, TrainingResult, choose_length, evaluate, train
from eyas.training.recipes import Recipe
from tasks import stage

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingData:
    """The fetched data set, and the device that works on it."""

    dataset: Dataset
    device: str

    @classmethod
    def open(cls, params: PipelineParams, artifacts: Path) -> "TrainingData":
        """Open and verify what the fetch stage left."""
        threads = share_threads(cores(), wanted=params.runtime.threads)
        return cls(open_dataset(artifacts / "fetch", threads=threads), stage.device(params.runtime))

    def split(self, name: str) -> StoredSplit:
        """``train``, ``calibration``, ``score`` or ``test``."""
        return StoredSplit(self.dataset.split(name), self.dataset.normalise)

    def evaluate(self, model: nn.Module, name: str) -> Evaluation:
        """Accuracy and cross-entropy of ``model`` on a split."""
        model.to(self.device)
        return evaluate(model, self.split(name).to(torch.device(self.device)), device=self.device)

    def batch_size(self, recipe: Recipe) -> int:
        """Of a training with ``recipe``."""
        return choose_length(len(self.split("train")), recipe.batch_size).batch_size

    def train(
        self, model: nn.Module, recipe: Recipe, epochs: int | None, *, seed: int, folder: Path, progress: Progress,
        teacher: nn.Module | None = None,
    ) -> TrainingResult:  # fmt: skip
        """Train on ``train``, judge epochs on ``score``; continues from ``folder``."""
        return train(
            model,
            self.split("train"),
            self.split("score"),
            recipe=recipe,
            epochs=epochs,
            teacher=teacher,
            device=self.device,
            seed=seed,
            progress=progress,
            resume_folder=folder,
        )


def training_fields(stage_name: str) -> dict[str, str]:
    """The parameter behind each argument that the library's messages about a training name."""
    options = ("learning_rate", "warmup_epochs", "precision")
    return {name: f"{stage_name}.recipe.{name}" for name in options} | {"num_classes": "baseline.arguments.num_classes"}


def check_fits(model: nn.Module, dataset: Dataset) -> None:
    """Refuse a network that cannot take the images or has too few outputs; warn where there is no batch-norm.

    Raises:
        ParameterError: says what the network was given and what it made of it.
    """
    images = torch.zeros(2, *dataset.image_shape)
    mode = model.training
    try:
        with torch.inference_mode():
            logits: Any = model.eval()(images)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        msg = (
            f"the network cannot take images of shape {dataset.image_shape} (channels, height, width): {reason}; "
            "check baseline.architecture, baseline.arguments (in_channels) and fetch.image_size, fetch.mean"
        )
        raise ParameterError(msg) from error
    finally:
        model.train(mode)
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or logits.shape[1] < dataset.num_classes:
        msg = (
            f"the network answers two images with {shape}; needed are logits (2, K) with K at least "
            f"{dataset.num_classes}, the number of classes"
        )
        raise ParameterError(msg)
    if not batch_norms(model):
        _log.warning(
            "WARNING: %s has no batch-norm layers: there are no statistics to re-estimate, so candidates are scored "
            "by plain evaluation, which predicts their accuracy after fine-tuning much worse",
            type(model).__name__,
        )


def share_cores(runtime: RuntimeParams, batch_size: int, macs: int) -> None:
    """One thread for steps too small to be worth dividing; ``runtime.threads`` overrules."""
    torch.set_num_threads(share_threads(cores(), wanted=runtime.threads, macs=macs * batch_size))


def resume_folder(params: PipelineParams, name: str, key: str) -> Path:
    """Where a stage's epoch checkpoint lies: outside of its outputs, one folder per stage key."""
    return Path(params.runtime.state) / "training" / f"{name}-{key}"
