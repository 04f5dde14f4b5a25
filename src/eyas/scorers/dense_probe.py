"""How well a refitted last layer agrees with the dense network: :mod:`eyas.scorers.linear_probe` without labels."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from eyas.scorers.base import Answers, Scorer, left_out_agreement


class DenseProbe(Scorer):
    """1 where a ridge regression from features to the dense network's probabilities names its class, else 0.

    Each image is judged by the fit without it.
    """

    kind: Literal["dense_probe"] = "dense_probe"
    ridge: Annotated[float, Field(gt=0)] = 0.3
    """Strength of the penalty; see :func:`eyas.ridge.left_out_residuals`."""
    needs_dense: ClassVar[bool] = True
    needs_features: ClassVar[bool] = True

    def __call__(self, answers: Answers) -> Tensor:
        """Agrees or not for each image, ``(N,)``.

        Raises:
            DataError: one answer per pixel: there is no last linear layer to refit.
        """
        assert answers.dense is not None
        return left_out_agreement(self, answers, answers.dense.double().softmax(1), self.ridge)
