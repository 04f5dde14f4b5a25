"""Accuracy of a last layer fitted anew, every image judged by a fit without it.

Pruning moves the features, and the last layer that was trained on the old ones reads them badly; fine-tuning mends that
in its first steps. What it cannot mend so soon is what the features lost, so they are judged alone.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from eyas.scorers.base import Answers, Scorer, left_out_agreement


class LinearProbe(Scorer):
    """1 where a ridge regression from features to labels, fitted without the image, is right about it, else 0."""

    kind: Literal["linear_probe"] = "linear_probe"
    ridge: Annotated[float, Field(gt=0)] = 0.3
    """Strength of the penalty; see :func:`eyas.ridge.left_out_residuals`."""
    needs_labels: ClassVar[bool] = True
    needs_features: ClassVar[bool] = True

    def __call__(self, answers: Answers) -> Tensor:
        """Right or wrong for each image, ``(N,)``.

        Raises:
            DataError: one answer per pixel: there is no last linear layer to refit.
        """
        assert answers.labels is not None
        targets_NK = functional.one_hot(answers.labels, answers.logits.shape[1]).double()
        return left_out_agreement(self, answers, targets_NK, self.ridge)
