"""How good a network is on a split: top-1 accuracy and cross-entropy, of pixels also the mean IoU.

N images, C channels, H x W pixels, K classes.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyas.data.tasks import IGNORED, Tally, Task
from eyas.errors import DataError
from eyas.pruning.output_paths import primary_output
from eyas.training.labelled_images import LabelledImages


@dataclass(frozen=True)
class Evaluation:
    """Means over a split."""

    accuracy: float
    """Share of images (or of labelled pixels) whose largest logit is their label's; see ``measure``."""
    cross_entropy: float
    """In nats."""
    images: int
    correct: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.bool), repr=False, compare=False)
    """Whether the answer to each image is right, ``(N,)``, on the CPU; empty where each pixel has an answer."""
    answers: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64), repr=False, compare=False)
    """The class that was answered to each image, ``(N,)``, on the CPU; empty where each pixel has an answer."""
    mean_iou: float | None = None
    """Where each pixel has an answer: :func:`eyas.data.tasks.mean_iou`."""
    overlap: Tensor = field(default_factory=lambda: torch.empty(2, 0, 0), repr=False, compare=False)
    """What it is made of, ``(2, N, K)``, on the CPU: see :func:`eyas.data.tasks.class_overlap`."""

    measure: str = "accuracy"
    """What that share is: ``agreement`` where a dense network's answers stand for labels."""

    @property
    def words(self) -> str:
        """What decides between two networks, in a sentence."""
        return self.measure if self.mean_iou is None else "mean IoU"

    @property
    def value(self) -> float:
        """What decides between two networks: the mean IoU where there is one, else the accuracy."""
        return self.accuracy if self.mean_iou is None else self.mean_iou

    def better_than(self, other: "Evaluation") -> bool:
        """Which of two networks is kept: the one that is right more often, or as often and at less cross-entropy."""
        return (self.value, -self.cross_entropy) > (other.value, -other.cross_entropy)

    def metrics(self, prefix: str) -> dict[str, float]:
        """Accuracy, cross-entropy and, where there is one, mean IoU, named ``<prefix>_accuracy`` and so on."""
        numbers = {f"{prefix}_{self.measure}": self.accuracy, f"{prefix}_cross_entropy": self.cross_entropy}
        return numbers | ({} if self.mean_iou is None else {f"{prefix}_mean_iou": self.mean_iou})


def evaluate(
    model: nn.Module,
    split: LabelledImages,
    *,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    output: int | str | None = None,
) -> Evaluation:
    """Accuracy and cross-entropy of ``model`` (which is on ``device``) in eval mode; its modes come back.

    ``output`` is the judged one of several, as in :func:`eyas.score`.

    Raises:
        DataError: the split is empty, or a label has no logit.
    """
    if len(split) == 0:
        msg = "cannot evaluate on no images: the split is empty"
        raise DataError(msg)
    modes = {module: module.training for module in model.modules()}
    tallies, answers, task = list[Tally](), list[Tensor](), split.task
    loss = torch.zeros((), dtype=torch.float64, device=device)  # stays there, as all does: no batch waits for the host
    try:
        model.eval()
        with torch.inference_mode():
            for batch, (stored_NCHW, stored_N) in enumerate(split.batches(batch_size)):
                labels_N = stored_N.to(device, non_blocking=True).long()
                images_NCHW = split.prepare(stored_NCHW.to(device, non_blocking=True))
                logits_NK = primary_output(model(images_NCHW), output).float()
                if batch == 0:
                    check_labels(split.labels, logits_NK)
                answers_N, task = logits_NK.argmax(1), task or Task.of(labels_N)
                tallies.append(task.tally(answers_N, labels_N, logits_NK.shape[1]))
                answers += [answers_N] if answers_N.ndim == 1 else []
                loss += functional.cross_entropy(logits_NK, labels_N, reduction="none").double().sum()
    finally:
        for module, mode in modes.items():
            module.training = mode
    tally = Tally.joined(tallies)
    cross_entropy = float(loss) / int(tally.labelled.sum())
    if tally.mean_iou is None:
        measure, right = Task.measure if task is None else task.measure, tally.right.bool()
        answered = torch.cat(answers).cpu()
        return Evaluation(tally.accuracy, cross_entropy, len(split), right, answered, measure=measure)
    return Evaluation(tally.accuracy, cross_entropy, len(split), mean_iou=tally.mean_iou, overlap=tally.overlap)


def check_labels(labels_N: Tensor, logits_NK: Tensor) -> None:
    """Refuse labels that the classifier has no output for.

    Args:
        labels_N: a class per image, all of which may be :data:`IGNORED`, or per pixel ``(N, H, W)``, where some may be.
        logits_NK: of some images.

    Raises:
        DataError: names the label and the number of outputs, or the shapes.
    """
    if labels_N.shape[1:] != logits_NK.shape[2:]:
        msg = (
            f"labels of shape {tuple(labels_N.shape)} do not fit logits of shape {tuple(logits_NK.shape)}: for a class "
            "per image they are (N,) and (N, K), per pixel (N, H, W) and (N, K, H, W)"
        )
        raise DataError(msg)
    largest, smallest = int(labels_N.max()), int(labels_N.min())
    if largest == IGNORED:
        return
    if labels_N.ndim > 1 and smallest == IGNORED:
        smallest = int(labels_N[labels_N != IGNORED].min())
    if smallest < 0 or largest >= logits_NK.shape[1]:
        msg = (
            f"the labels go from {smallest} to {largest}, but the network has {logits_NK.shape[1]} outputs "
            f"(0 to {logits_NK.shape[1] - 1}): check the `num_classes` it was built with, and the labels"
        )
        raise DataError(msg)
