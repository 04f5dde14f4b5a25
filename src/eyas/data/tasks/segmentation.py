"""One class per pixel, of which some may have none."""

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from eyas.data.tasks.base import Task
from eyas.data.tasks.tally import Tally, class_overlap, right_answers

if TYPE_CHECKING:
    from torch import Tensor


class Segmentation(Task):
    """One class per pixel; the mean over classes of intersection over union decides."""

    kind: Literal["segmentation"] = "segmentation"
    label_dims: ClassVar[int] = 3
    measure: ClassVar[str] = "mean_iou"
    words: ClassVar[str] = "mean IoU"

    def answer_shape(self, image_shape: tuple[int, int, int]) -> tuple[int, ...]:
        """Logits are ``(N, K, H, W)``, as high and as wide as the image."""
        return image_shape[1:]

    def tally(self, answers: "Tensor", labels: "Tensor", num_classes: int) -> Tally:
        """Right pixels ``(N,)``, and the overlap of each class."""
        overlap_2NK = class_overlap(answers, labels, num_classes)
        return replace(right_answers(answers, labels), overlap=overlap_2NK)
