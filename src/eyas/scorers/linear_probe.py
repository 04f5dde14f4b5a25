r"""Accuracy of a last layer fitted anew, every image judged by a fit without it.

Pruning moves the features, and the last layer that was trained on the old ones reads them badly; fine-tuning mends that
in its first steps. What it cannot mend so soon is what the features lost, so they are judged alone: by the ridge
regression from features to one-hot labels, in closed form, leave-one-out residuals included (Allen 1974, "The
relationship between variable selection and data augmentation and a method for prediction").
"""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from eyas.errors import DataError
from eyas.scorers.base import Answers, Scorer


class LinearProbe(Scorer):
    r"""1 where the refitted last layer is right about an image that it was fitted without, else 0.

    With :math:`X` the centred features and :math:`Y` the centred one-hot labels, :math:`H = \frac{1}{N} 1 1^T + X (X^T
    X + \lambda I)^{-1} X^T` and the residual of image i left out is :math:`(Y - H Y)_i / (1 - H_{ii})`.
    """

    kind: Literal["linear_probe"] = "linear_probe"
    ridge: Annotated[float, Field(gt=0)] = 0.3
    """:math:`\\lambda` over the mean squared length of a feature's column of :math:`X`."""
    needs_labels: ClassVar[bool] = True
    needs_features: ClassVar[bool] = True

    def __call__(self, answers: Answers) -> Tensor:
        """Right or wrong for each image, ``(N,)``.

        Raises:
            DataError: one answer per pixel: there is no last linear layer to refit.
        """
        assert answers.labels is not None
        assert answers.features is not None
        if answers.logits.ndim != 2 or answers.features.ndim != 2:
            shapes = f"logits {tuple(answers.logits.shape)}, features {tuple(answers.features.shape)}"
            msg = f"linear_probe judges one answer per image ({shapes}): choose cross_entropy"
            raise DataError(msg)
        targets_NK = functional.one_hot(answers.labels, answers.logits.shape[1]).double()
        left_out_NK = targets_NK - _left_out_residuals(answers.features.double(), targets_NK, self.ridge)
        return (left_out_NK.argmax(1) == answers.labels).float()


def _left_out_residuals(features_NF: Tensor, targets_NK: Tensor, ridge: float) -> Tensor:
    """Target minus prediction of the ridge regression fitted without each image in turn, ``(N, K)``."""
    images, width = features_NF.shape
    x_NF = features_NF - features_NF.mean(0)
    y_NK = targets_NK - targets_NK.mean(0)
    penalty = ridge * x_NF.square().sum() / width + torch.finfo(x_NF.dtype).tiny
    if width <= images:
        gram_FF = x_NF.T @ x_NF
        gram_FF.diagonal().add_(penalty)
        root_FF = torch.linalg.cholesky_ex(gram_FF).L  # no check: on a GPU it would wait
        reach_FN = torch.linalg.solve_triangular(root_FF, x_NF.T, upper=False)
        residual_NK = y_NK - reach_FN.T @ (reach_FN @ y_NK)
        free_N = 1 - 1 / images - reach_FN.square().sum(0)
    else:  # the same matrix from the side of the images, which are fewer
        gram_NN = x_NF @ x_NF.T
        gram_NN.diagonal().add_(penalty)
        inverse_NN = torch.cholesky_inverse(torch.linalg.cholesky_ex(gram_NN).L)
        residual_NK = penalty * (inverse_NN @ y_NK)
        free_N = penalty * inverse_NN.diagonal() - 1 / images
    left_out_NK: Tensor = residual_NK / free_N[:, None]
    return left_out_NK
