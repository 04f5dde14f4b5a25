"""What the two stages that train share: their data, their network's fitness for it, and resuming."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eyas.calibration.batchnorm import batch_norms
from eyas.config import PipelineParams, RuntimeParams
from eyas.data import Dataset, open_dataset
from eyas.errors import ParameterError
from eyas.networks.saved_network import Network
from eyas.parallel import cores, share_threads
from eyas.progress import Progress
from eyas.pruning.output_paths import choose_output, is_logits, named_outputs, output_path, primary_output
from eyas.training import (
    Evaluation,
    SparseTraining,
    StoredSplit,
    TrainingLength,
    TrainingResult,
    choose_length,
    evaluate,
    train,
)  # fmt: skip
from eyas.training.class_subset import part_of
from eyas.training.dense_teacher import DenseTeacher
from eyas.training.recipes import Recipe
from eyas.training.trial_batch import check_recipe
from eyas.training.trial_step import check_learns
from tasks import stage
from tasks.dense_answers import with_dense_answers

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

    def answered_by(self, dense: Network) -> "TrainingData":
        """Where images have no labels, with the answers of ``dense`` in their place."""
        dense.model.to(self.device)
        return replace(self, dataset=with_dense_answers(self.dataset, dense))

    def split(self, name: str) -> StoredSplit:
        """``train``, ``calibration``, ``score`` or ``test``."""
        return StoredSplit(self.dataset.split(name), self.dataset.normalise, self.dataset.task_of(name))

    def evaluate(self, model: nn.Module, name: str, output: str | None = None) -> Evaluation:
        """Accuracy and cross-entropy of ``model`` on a split, by one of its outputs."""
        model.to(self.device)
        return evaluate(model, self.split(name).to(torch.device(self.device)), device=self.device, output=output)

    def batch_size(self, recipe: Recipe) -> int:
        """Of a training with ``recipe``."""
        return self.length(recipe).batch_size

    def length(self, recipe: Recipe, epochs: int | None = None) -> TrainingLength:
        """Of a training with ``recipe``."""
        return choose_length(len(part_of(self.split("train"), recipe.fraction)), recipe.batch_size, epochs)

    def train(
        self, model: nn.Module, recipe: Recipe, epochs: int | None, *, seed: int, folder: Path, progress: Progress,
        teacher: nn.Module | DenseTeacher | None = None, output: str | None = None, span: range | None = None,
        sparse: SparseTraining | None = None,
    ) -> TrainingResult:  # fmt: skip
        """Train on ``train``, judge on ``score``; continues from ``folder``. ``span``, ``sparse``: see :func:`train`.

        Raises:
            ParameterError: the network cannot be trained.
        """
        if epochs != 0:
            check_learns(model, self.dataset.image_shape, output)
            check_recipe_on(recipe, self.dataset)
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
            output=output,
            span=span,
            sparse=sparse,
        )


def check_recipe_on(recipe: Recipe, dataset: Dataset) -> None:
    """Refuse a recipe that cannot take the images, or the classes; see :func:`check_recipe`."""
    shape = dataset.image_shape
    check_recipe(recipe, shape, dataset.num_classes, dataset.task.answer_shape(shape))


def training_fields(stage_name: str) -> dict[str, str]:
    """The parameter behind each argument that the library's messages about a training name."""
    options = (
        "learning_rate", "warmup_epochs", "precision", "distillation", "rand_augment", "guidance", "factory",
        "arguments", "layer_freezing", "frozen_statistics", "shift",
    )  # fmt: skip
    return {name: f"{stage_name}.recipe.{name}" for name in options} | {
        "epochs": f"{stage_name}.epochs",
        "num_classes": "baseline.arguments.num_classes",
        "output": "baseline.output",
        "processes": "runtime.processes",
        "sparsity": "finetune.sparsity",
    }


def check_fits(
    model: nn.Module, dataset: Dataset, choice: int | str | None = None, *, operated: bool = False
) -> str | None:
    """Refuse a network that cannot take the images or has too few outputs; warn where there is no batch-norm.

    Args:
        model: the network.
        dataset: the images, and the classes to tell apart.
        choice: which of several outputs is the logits.
        operated: surgeries change its normalisation afterwards: no warning.

    Returns:
        path of the logits among several outputs; None where there is one.

    Raises:
        ParameterError: says what the network was given and what it made of it.
        DataError: no output was chosen and several may be the logits, or there is none of that name.
    """
    answer, shape = _answer(model, dataset), dataset.task.answer_shape(dataset.image_shape)
    output = choose_output(answer, dataset.num_classes, shape) if choice is None else output_path(answer, choice)
    logits = primary_output(answer, output)
    if not is_logits(logits, dataset.num_classes, shape):
        needed = ", ".join(map(str, (2, "K", *shape)))
        msg = (
            f"the network answers two images with {tuple(logits.shape)}; needed are logits ({needed}) with K at least "
            f"{dataset.num_classes}, the number of classes: the task is {dataset.task.kind} (fetch.task)"
        )
        raise ParameterError(msg)
    if output is not None:
        _log.info("of the network's outputs (%s) %s is the logits", ", ".join(named_outputs(answer)), output)
    if not operated and not batch_norms(model):
        _log.warning(
            "%s has no batch-norm layers: there are no statistics to re-estimate, so candidates are scored "
            "by plain evaluation, which predicts their accuracy after fine-tuning much worse; "
            "baseline.surgeries: [unfold_batch_norm] gives them back to convolutions that had them",
            type(model).__name__,
        )
    return output


def _answer(model: nn.Module, dataset: Dataset) -> Any:
    """What the network makes of two images in eval mode."""
    mode = model.training
    try:
        with torch.inference_mode():
            return model.eval()(torch.zeros(2, *dataset.image_shape))
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        msg = (
            f"the network cannot take images of shape {dataset.image_shape} (channels, height, width): {reason}; "
            "check baseline.architecture, baseline.arguments (in_channels) and fetch.image_size, fetch.mean"
        )
        raise ParameterError(msg) from error
    finally:
        model.train(mode)


def share_cores(runtime: RuntimeParams, batch_size: int, macs: int) -> None:
    """One thread for steps too small to be worth dividing; ``runtime.threads`` overrules."""
    macs = macs * batch_size // runtime.processes
    torch.set_num_threads(share_threads(cores(), workers=runtime.processes, wanted=runtime.threads, macs=macs))


def resume_folder(params: PipelineParams, name: str, key: str) -> Path:
    """Where a stage's epoch checkpoint lies: outside of its outputs, one folder per stage key."""
    return Path(params.runtime.state) / "training" / f"{name}-{key}"
