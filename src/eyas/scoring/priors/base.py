"""The root of the priors: what a prior promises."""

from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, SerializeAsAny

from eyas.component import Component
from eyas.errors import ParameterError

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace


class Prior(Component):
    """Rates candidates by their widths, without data: what is added to the score of each, times :attr:`weight`."""

    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """What one unit of the prior is worth, in the units of the score: nats for ``cross_entropy``."""

    def __call__(self, space: "SearchSpace", widths: NDArray[np.int64]) -> NDArray[np.float64]:
        """Higher for more capacity, ``(N,)``, from kept channels per candidate and group ``(N, G)``; no weight yet."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it rates widths")


def prior_credit(prior: Prior, space: "SearchSpace", widths: NDArray[np.int64]) -> float:
    """What a prior adds to the score of one candidate, whose widths are ``(1, G)``.

    Raises:
        ParameterError: it gives something else than one finite number per candidate.
    """
    rated = prior(space, widths)
    if not isinstance(rated, np.ndarray) or rated.shape != (1,) or not np.isfinite(rated[0]):
        what = f"{rated}" if isinstance(rated, np.ndarray) else f"a {type(rated).__name__}"
        msg = f"`prior` {prior.kind} gives {what} for one candidate: it must give an array of one finite number"
        raise ParameterError(msg)
    return prior.weight * float(rated[0])


AnyPrior = Annotated[SerializeAsAny[Prior], BeforeValidator(Prior.validated)]
