"""NSC: the spectrum that the layers would have at initialisation."""

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from eyas.scoring.priors.base import Prior

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace

_GAIN = 2.0
"""Variance of a weight times the number of inputs, at initialisation (He et al. 2015, arXiv:1502.01852, eq. 10)."""


class SpectralCapacity(Prior):
    r""":math:`\sum_l \sum_i \log(1 + \sigma_{l,i}^2)` over all layers and singular values (NSC, arXiv:2609.23087).

    From shapes alone: a weight unfolded to m rows (its first dimension) and n columns has independent entries of
    variance 2/n at initialisation, whose singular values follow the law of Marchenko and Pastur; the sum over them is
    m times its Shannon transform (Tulino and Verdu 2004, "Random matrix theory and wireless communications",
    example 2.14). Rises with every width and is concave, so within one budget it is largest near uniform widths.

    Use it to ask whether capacity tells what answers do not; measured, it said a little and added nothing
    (docs/scoring.md).
    """

    kind: Literal["spectral_capacity"] = "spectral_capacity"

    def __call__(self, space: "SearchSpace", widths: NDArray[np.int64]) -> NDArray[np.float64]:
        """In nats, summed over all weights with two dimensions or more, ``(N,)``."""
        weights = [(name, weight.shape) for name, weight in space.model.named_parameters() if weight.ndim > 1]
        dropped_NB, total_N = space.legal.dropped(widths), np.zeros(len(widths))
        for name, shape in weights:
            there_N = ~dropped_NB[:, [name in block.tensors for block in space.blocks]].any(1)
            total_N[there_N] += log_det_expected(
                kept_entries(space, widths[there_N], name, 0, shape[0]),
                kept_entries(space, widths[there_N], name, 1, shape[1]) * float(np.prod(shape[2:])),
            )
        return total_N


def kept_entries(
    space: "SearchSpace", widths: NDArray[np.int64], parameter: str, dim: int, dense: int
) -> NDArray[np.float64]:
    """Size of a parameter's dimension at each candidate's widths, ``(N,)``."""
    units = space.layout.slots.get((parameter, dim))
    if units is None:
        return np.full(len(widths), float(dense))
    channels_G = np.array([group.channels for group in space.groups])
    of_units = np.searchsorted(space.layout.offsets, units[units >= 0], side="right") - 1
    entries_G = np.bincount(of_units, minlength=len(channels_G))
    size_N: NDArray[np.float64] = (units < 0).sum() + (widths / channels_G) @ entries_G
    return size_N


def log_det_expected(rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Mean of :math:`\log\det(I + W W^T)` for entries of variance ``2 / columns``, per singular value for large W."""
    ratio = rows / columns
    low, high = (_GAIN * (1 + sign * np.sqrt(ratio)) ** 2 + 1 for sign in (-1, 1))
    quarter = (np.sqrt(high) - np.sqrt(low)) ** 2 / 4
    per_row = np.log(1 + _GAIN - quarter) + np.log(1 + _GAIN * ratio - quarter) / ratio - quarter / (_GAIN * ratio)
    return rows * per_row
