"""Top-1 accuracy, as published."""

from typing import TYPE_CHECKING, ClassVar, Literal

from eyas.scoring.scorers.base import Outputs, Scorer, per_labelled_image

if TYPE_CHECKING:
    from torch import Tensor


class Top1(Scorer):
    """1 where the largest logit is the label's, else 0 (Li et al. 2020, arXiv:2007.02491), never rounded."""

    kind: Literal["top1"] = "top1"
    label: ClassVar[str] = "top-1 accuracy"
    is_share: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = True

    def __call__(self, outputs: Outputs) -> "Tensor":
        """Right or wrong for each image, per pixel the share of labelled ones, ``(N,)``."""
        assert outputs.labels is not None
        return per_labelled_image((outputs.logits.argmax(1) == outputs.labels).float(), outputs.labels)

    def reference(self, outputs: Outputs) -> list[float]:
        """Whether no logit is larger than the label's."""
        assert outputs.labels is not None
        rows = zip(outputs.logits.tolist(), outputs.labels.tolist(), strict=True)
        return [float(logits[label] == max(logits)) for logits, label in rows]
