"""How good a network is on a split: top-1 accuracy and cross-entropy."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyas.errors import DataError
from eyas.training.labelled_images import LabelledImages


@dataclass(frozen=True)
class Evaluation:
    """Means over a split."""

    accuracy: float
    """Share of images whose largest logit is their label's."""
    cross_entropy: float
    """In nats."""
    images: int
    correct: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.bool), repr=False, compare=False)
    """Whether the answer to each image is right, ``(N,)``, on the CPU."""


def evaluate(
    model: nn.Module, split: LabelledImages, *, batch_size: int = 256, device: torch.device | str = "cpu"
) -> Evaluation:
    """Accuracy and cross-entropy of ``model`` (which is on ``device``) in eval mode; its modes come back.

    Raises:
        DataError: the split is empty, or a label has no logit.
    """
    if len(split) == 0:
        msg = "cannot evaluate on no images: the split is empty"
        raise DataError(msg)
    modes = {module: module.training for module in model.modules()}
    correct: list[Tensor] = []
    loss = torch.zeros((), dtype=torch.float64, device=device)  # stays there, as all does: no batch waits for the host
    try:
        model.eval()
        with torch.inference_mode():
            for batch, (stored_NCHW, stored_N) in enumerate(split.batches(batch_size)):
                labels_N = stored_N.to(device, non_blocking=True)
                images_NCHW = split.prepare(stored_NCHW.to(device, non_blocking=True))
                logits_NK = model(images_NCHW).float()
                if batch == 0:
                    check_labels(split.labels, logits_NK)
                correct.append(logits_NK.argmax(1) == labels_N)
                loss += functional.cross_entropy(logits_NK, labels_N, reduction="none").double().sum()
    finally:
        for module, mode in modes.items():
            module.training = mode
    correct_N = torch.cat(correct).cpu()
    return Evaluation(int(correct_N.sum()) / len(split), float(loss) / len(split), len(split), correct_N)


def check_labels(labels_N: Tensor, logits_NK: Tensor) -> None:
    """Refuse labels that the classifier has no output for.

    Raises:
        DataError: names the label and the number of outputs.
    """
    largest, smallest = int(labels_N.max()), int(labels_N.min())
    if smallest < 0 or largest >= logits_NK.shape[1]:
        msg = (
            f"the labels go from {smallest} to {largest}, but the network has {logits_NK.shape[1]} outputs "
            f"(0 to {logits_NK.shape[1] - 1}): check the `num_classes` it was built with, and the labels"
        )
        raise DataError(msg)
