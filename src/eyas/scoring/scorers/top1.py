"""Top-1 accuracy, as published."""

from typing import ClassVar, Literal

from torch import Tensor

from eyas.scoring.scorers.base import Answers, Scorer, per_image


class Top1(Scorer):
    """1 where the largest logit is the label's, else 0 (Li et al. 2020, arXiv:2007.02491), never rounded."""

    kind: Literal["top1"] = "top1"
    needs_labels: ClassVar[bool] = True

    def __call__(self, answers: Answers) -> Tensor:
        """Right or wrong for each image, ``(N,)``."""
        assert answers.labels is not None
        return per_image((answers.logits.argmax(1) == answers.labels).float())
