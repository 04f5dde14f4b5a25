"""Ridge regression in closed form, with the residual of every row under the fit without it.

Shapes: N rows, F features, K targets.
"""

import torch
from torch import Tensor


def left_out_residuals(features_NF: Tensor, targets_NK: Tensor, ridge: float) -> Tensor:
    r"""Target minus prediction of the regression fitted without each row in turn, ``(N, K)``, in float64.

    With :math:`X` the centred features and :math:`Y` the centred targets, :math:`H = \frac{1}{N} 1 1^T + X (X^T X +
    \lambda I)^{-1} X^T` and the residual of row i left out is :math:`(Y - H Y)_i / (1 - H_{ii})` (Allen 1974, "The
    relationship between variable selection and data augmentation and a method for prediction").

    Args:
        features_NF: rows to fit from.
        targets_NK: what is fitted.
        ridge: :math:`\lambda` over the mean squared length of a column of :math:`X`, which all rows have a part in.
    """
    images, width = features_NF.shape
    x_NF, y_NK = _centred(features_NF), _centred(targets_NK)
    penalty = ridge * x_NF.square().sum() / width + torch.finfo(x_NF.dtype).tiny
    if width <= images:
        gram_FF = x_NF.T @ x_NF
        gram_FF.diagonal().add_(penalty)
        root_FF = torch.linalg.cholesky_ex(gram_FF).L  # no check: on a GPU it would wait
        reach_FN = torch.linalg.solve_triangular(root_FF, x_NF.T, upper=False)
        residual_NK = y_NK - reach_FN.T @ (reach_FN @ y_NK)
        free_N = 1 - 1 / images - reach_FN.square().sum(0)
    else:  # the same matrix from the side of the rows, which are fewer
        gram_NN = x_NF @ x_NF.T
        gram_NN.diagonal().add_(penalty)
        inverse_NN = torch.cholesky_inverse(torch.linalg.cholesky_ex(gram_NN).L)
        residual_NK = penalty * (inverse_NN @ y_NK)
        free_N = penalty * inverse_NN.diagonal() - 1 / images
    left_out_NK: Tensor = residual_NK / free_N[:, None]
    return left_out_NK


def _centred(values: Tensor) -> Tensor:
    values = values.double()
    return values - values.mean(0)
