"""How often answers are right: per image, and where there is an answer per pixel, how far each class overlaps.

N images, K classes; answers and labels have the shape ``(N,)``, or ``(N, H, W)`` per pixel.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = -100
"""The class number of a pixel that has no class: never trained on, never judged. PyTorch's own ``ignore_index``."""


def _no_pixels() -> "Tensor":
    import torch

    return torch.empty(2, 0, 0, dtype=torch.int64)


@dataclass(frozen=True)
class Tally:
    """What became of N images."""

    right: "Tensor"
    """Right answers to each image, ``(N,)``."""
    labelled: "Tensor"
    """Answers to each image that have a label, ``(N,)``; at most so many are right."""
    overlap: "Tensor" = field(default_factory=_no_pixels)
    """Per image and class the pixels that answer and label share, and those that either has, ``(2, N, K)``; empty
    without pixels."""

    @classmethod
    def joined(cls, parts: "list[Tally]") -> "Tally":
        """Of all batches together, on the CPU."""
        import torch

        right = torch.cat([part.right for part in parts]).cpu()
        labelled = torch.cat([part.labelled for part in parts]).cpu()
        return cls(right, labelled, torch.cat([part.overlap for part in parts], 1).cpu())

    @property
    def accuracy(self) -> float:
        """Share of labelled answers that are right."""
        return int(self.right.sum()) / int(self.labelled.sum())

    @property
    def mean_iou(self) -> float | None:
        """See ``mean_iou`` below; None where there are no pixels."""
        return mean_iou(self.overlap) if self.overlap.numel() else None

    def measures(self) -> dict[str, float]:
        """All shares by the names that metrics give them."""
        return {"accuracy": self.accuracy} | ({} if self.mean_iou is None else {"mean_iou": self.mean_iou})


def right_answers(answers: "Tensor", labels: "Tensor") -> Tally:
    """Compare answers with labels; those without a label do not count."""
    right, labelled = answers == labels, labels != IGNORED
    return Tally(right.flatten(1).sum(1) if right.ndim > 1 else right.long(), labelled.reshape(len(labels), -1).sum(1))


def class_overlap(answers_NHW: "Tensor", labels_NHW: "Tensor", num_classes: int) -> "Tensor":
    """Pixels per image and class in the intersection and in the union of answer and label, ``(2, N, K)``."""
    import torch

    images, classes = len(labels_NHW), num_classes
    here_NHW = labels_NHW != IGNORED
    image_M = torch.arange(images, device=labels_NHW.device).view(-1, 1, 1).expand_as(labels_NHW)[here_NHW]
    cell_M = (image_M * classes + labels_NHW[here_NHW]) * classes + answers_NHW[here_NHW]
    confusion_NKK = torch.bincount(cell_M, minlength=images * classes**2).view(images, classes, classes)
    intersection_NK = confusion_NKK.diagonal(dim1=1, dim2=2)
    return torch.stack([intersection_NK, confusion_NKK.sum(1) + confusion_NKK.sum(2) - intersection_NK])


def mean_iou(overlap_2NK: "Tensor") -> float:
    """Intersection over union, both summed over all images, averaged over the classes that are labelled or answered.

    As in the PASCAL VOC challenge (Everingham et al. 2010, section 4.2.2), where a class is judged on the whole set.
    """
    intersection_K, union_K = overlap_2NK.sum(1).double()
    there_K = union_K > 0
    return float((intersection_K[there_K] / union_K[there_K]).mean())
