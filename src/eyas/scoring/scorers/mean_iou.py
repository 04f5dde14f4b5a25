"""Intersection over union, for networks that answer per pixel."""

from typing import TYPE_CHECKING, ClassVar, Literal

from eyas.data.tasks import class_overlap
from eyas.scoring.scorers.base import Outputs, Scorer

if TYPE_CHECKING:
    from torch import Tensor


class MeanIoU(Scorer):
    """Intersection over union of answer and label, over an image's classes: where rare ones matter in a segmentation.

    The mean per image of Wang et al. 2023, arXiv:2310.19252, section 3: of the classes that answer or label has there.
    Small ones weigh as much as large ones, which they do not in the share of right pixels. Of one class per image it
    is top-1 accuracy.
    """

    kind: Literal["mean_iou"] = "mean_iou"
    label: ClassVar[str] = "mean IoU per image"
    is_share: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = True

    def __call__(self, outputs: Outputs) -> "Tensor":
        """Mean IoU of each image over its labelled pixels, ``(N,)``."""
        assert outputs.labels is not None
        classes, images = outputs.logits.shape[1], len(outputs.labels)
        answers_NHW, labels_NHW = (one.reshape(images, 1, -1) for one in (outputs.logits.argmax(1), outputs.labels))
        intersection_NK, union_NK = class_overlap(answers_NHW, labels_NHW, classes)
        mean_N: Tensor = (intersection_NK / union_NK.clamp(min=1)).sum(1) / (union_NK > 0).sum(1)
        return mean_N

    def reference(self, outputs: Outputs) -> list[float]:
        """Of one pixel: it is shared by answer and label, or each has it for a class of its own."""
        assert outputs.labels is not None
        rows = zip(outputs.logits.tolist(), outputs.labels.tolist(), strict=True)
        return [float(logits[label] == max(logits)) for logits, label in rows]
