"""Sum of the logarithms of all widths."""

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from eyas.scoring.priors.base import Prior

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace


class LogWidths(Prior):
    r""":math:`\sum_g \log(w_g / C_g)` over all groups, :math:`C_g` dense: channels count more where they are few.

    Groups of a residual block that is left out add nothing: the shortcut stands for them. The form is ours.

    Use it to ask whether capacity tells what answers do not; with a floor of widths it lowered what it was added to
    (docs/scoring.md).
    """

    kind: Literal["log_widths"] = "log_widths"

    def __call__(self, space: "SearchSpace", widths: NDArray[np.int64]) -> NDArray[np.float64]:
        """At most 0, which is the dense network, ``(N,)``."""
        shares_NG = widths / np.array([group.channels for group in space.groups])
        shares_NG[widths == 0] = 1
        total_N: NDArray[np.float64] = np.log(shares_NG).sum(1)
        return total_N
