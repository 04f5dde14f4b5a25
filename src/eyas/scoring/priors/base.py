"""The root of the priors: what a prior promises."""

from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, SerializeAsAny

from eyas.component import Component

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace


class Prior(Component):
    """Rates candidates by their widths, without data: what is added to the score of each, times :attr:`weight`."""

    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """What one unit of the prior is worth, in the units of the score: nats for ``cross_entropy``."""

    def __call__(self, space: "SearchSpace", widths: NDArray[np.int64]) -> NDArray[np.float64]:
        """Higher for more capacity, ``(N,)``, from kept channels per candidate and group ``(N, G)``; no weight yet."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it rates widths")


AnyPrior = Annotated[SerializeAsAny[Prior], BeforeValidator(Prior.validated)]
