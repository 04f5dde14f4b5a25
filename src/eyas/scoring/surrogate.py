r"""A regression that carries the verdicts of the few candidates that were trained to all others.

As DONNA (Moons et al. 2021, arXiv:2012.08859) predicts the accuracy of a network from cheap measurements of its blocks,
fitted on some tens of networks that were trained. Here a Gaussian process with a linear kernel, which is Bayesian ridge
regression: strengths of prior and noise are those of the largest marginal likelihood (Rasmussen and Williams 2006,
"Gaussian processes for machine learning", section 5.4.1).

Shapes: N candidates, F features.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from eyas.errors import MissingExtraError
from eyas.scoring.diagnostics import kendall_tau

Floats = NDArray[np.float64]
FEWEST_VERDICTS = 4
"""Fewer say nothing of the weight of a feature."""


@dataclass(frozen=True)
class Surrogate:
    """What is expected of every candidate."""

    predictions: Floats
    """``(N,)``, in units of the verdicts; the untrained score where there are too few verdicts."""
    deviations: Floats
    """Standard deviation of each prediction, ``(N,)``; NaN where there are too few verdicts."""
    leave_one_out_tau: float
    """Kendall's tau of verdicts and their predictions from all other verdicts; NaN where there are too few."""

    def expected_improvement(self, best: float) -> Floats:
        r"""How much each candidate is expected to exceed ``best``, ``(N,)`` (Jones et al. 1998, equation 15).

        :math:`(\mu - b)\, \Phi(z) + \sigma\, \varphi(z)` with :math:`z = (\mu - b) / \sigma`.
        """
        gain = self.predictions - best
        z = gain / np.maximum(self.deviations, np.finfo(float).tiny)
        below = torch.special.ndtr(torch.from_numpy(z)).numpy()
        improvement: Floats = gain * below + self.deviations * np.exp(-np.square(z) / 2) / np.sqrt(2 * np.pi)
        return improvement


def fit_surrogate(features: Floats, untrained: Floats, verdicts: Floats) -> Surrogate:
    """Predict the verdict of every candidate from those of the trained.

    Args:
        features: ``(N, F)``, of every candidate, in any units.
        untrained: score of every candidate before training, ``(N,)``, higher is better: one feature more, and the
            order where there are fewer than :data:`FEWEST_VERDICTS` verdicts.
        verdicts: ``(N,)``, higher is better; NaN where a candidate was not trained, or broke.

    Returns:
        Predictions are NaN where a feature is not finite.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    columns_NF = np.column_stack([features, untrained])
    known_N = np.isfinite(columns_NF).all(1)
    trained_N = known_N & np.isfinite(verdicts)
    unknown_N = np.full(len(untrained), np.nan)
    if trained_N.sum() < FEWEST_VERDICTS or np.ptp(verdicts[trained_N]) == 0:
        return Surrogate(untrained.astype(float), unknown_N, float("nan"))
    columns_NF = columns_NF[known_N] - columns_NF[known_N].mean(0)
    spread_F = columns_NF.std(0)
    fitted = _regress(columns_NF / np.where(spread_F > 0, spread_F, 1), trained_N[known_N], verdicts[trained_N])
    predictions_N, deviations_N = unknown_N.copy(), unknown_N.copy()
    predictions_N[known_N], deviations_N[known_N] = fitted.predictions, fitted.deviations
    return Surrogate(predictions_N, deviations_N, fitted.leave_one_out_tau)


def next_to_train(surrogate: Surrogate, verdicts: Floats, count: int) -> NDArray[np.int64]:
    """The candidates to train next, the most promising first: at most ``count`` numbers of those without a verdict.

    By expected improvement on the best verdict; by the untrained score where there are too few verdicts. Candidates
    that broke come last, equal ones by number.
    """
    promise = surrogate.predictions
    if np.isfinite(surrogate.deviations).any():
        promise = surrogate.expected_improvement(float(np.nanmax(verdicts)))
    order = np.lexsort((-promise, np.isnan(promise)))
    return order[np.isnan(verdicts[order])][:count]


def _regress(features_NF: Floats, trained_N: NDArray[np.bool_], verdicts_T: Floats) -> Surrogate:
    """From standardised features and the verdicts of the T trained; see :func:`fit_surrogate`."""
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, WhiteKernel
    except ImportError as error:
        msg = "the surrogate needs scikit-learn: pip install 'eyas[pipeline]'"
        raise MissingExtraError(msg) from error
    linear = DotProduct(sigma_0=1.0, sigma_0_bounds="fixed")
    kernel = ConstantKernel(1 / features_NF.shape[1], (1e-6, 1e2)) * linear + WhiteKernel(0.5, (1e-3, 1e1))
    process = GaussianProcessRegressor(kernel, normalize_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a strength at its bound is an answer
        process.fit(features_NF[trained_N], verdicts_T)
    predictions_N, deviations_N = process.predict(features_NF, return_std=True)
    half_TT = np.linalg.inv(process.L_)
    inverse_TT = half_TT.T @ half_TT
    standard_T = (verdicts_T - verdicts_T.mean()) / verdicts_T.std()
    left_out_T = standard_T - (inverse_TT @ standard_T) / inverse_TT.diagonal()
    return Surrogate(predictions_N, deviations_N, kendall_tau(left_out_T, verdicts_T))
