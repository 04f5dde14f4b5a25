"""The narrowest group, which all information has to pass or go round."""

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from eyas.scoring.priors.base import Prior

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace


class NarrowestLayer(Prior):
    r""":math:`\min_g w_g / C_g`, :math:`C_g` dense, over the groups that are there.

    The form is ours. Use it where widths have no floor, against candidates with one layer that nothing passes.
    """

    kind: Literal["narrowest_layer"] = "narrowest_layer"

    def __call__(self, space: "SearchSpace", widths: NDArray[np.int64]) -> NDArray[np.float64]:
        """Between 0 and 1, which is the dense network, ``(N,)``."""
        shares_NG = widths / np.array([group.channels for group in space.groups])
        shares_NG[widths == 0] = 1
        narrowest_N: NDArray[np.float64] = shares_NG.min(1, initial=1.0)
        return narrowest_N
