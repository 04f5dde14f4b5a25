"""A reward for several goals at once: how much a candidate knows, times how much smaller or faster it is.

Shapes: n candidates, G channel groups in the order of ``space.groups``.
"""

from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from eyas.component import Options

if TYPE_CHECKING:
    from eyas.deploy.latency.predicts_latency import PredictsLatency
    from eyas.pruning.space import SearchSpace

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Reward(Options):
    r"""Score times :math:`\prod_m (C_m (2 - C_m))^{w_m}` (Ashok et al. 2018, arXiv:1709.06030, section 3.3).

    :math:`C_m` is the share of cost m that is saved, :math:`1 - c_m / c_m^{dense}`, at least 0; the paper has
    parameters alone, with a weight of 1. The factor rises steeply at first and saturates: 0.75, 0.99 and 0.9999 where a
    half, nine tenths and 99 of 100 are saved. Scores are shares of 1, such as accuracies; that of the dense network, by
    which the paper divides, ranks nothing.

    Use it where the budget limits one cost and another is to fall as well: all candidates save alike of the limited.
    """

    macs: Weight = 0
    """Weight of the multiply-adds that are saved."""
    params: Weight = 0
    """Of the parameters."""
    activation_bytes: Weight = 0
    """Of the memory of activations."""
    latency: Weight = 0
    """Of the milliseconds, which a latency profile predicts."""

    @model_validator(mode="after")
    def _has_a_goal(self) -> Self:
        if not any(self.weights.values()):
            msg = f"no cost has a weight: give one of {', '.join(self.weights)}, such as {{params: 1}}"
            raise ValueError(msg)
        return self

    @property
    def weights(self) -> dict[str, float]:
        """By cost."""
        return {name: getattr(self, name) for name in ("macs", "params", "activation_bytes", "latency")}

    def factors(
        self, space: "SearchSpace", widths: NDArray[np.int64], latency: "PredictsLatency | None" = None
    ) -> NDArray[np.float64]:
        """By what scores are multiplied, ``(n,)``, from 0 to 1.

        Args:
            space: the search space.
            widths: kept channels, ``(n, G)``.
            latency: predicts milliseconds; needed where they have a weight.
        """
        dense, counted = space.cost(), space.costs(widths)
        factors_n = np.ones(len(widths))
        for name, weight in self.weights.items():
            if not weight:
                continue
            if name == "latency":
                assert latency is not None
                left_n = latency.milliseconds(widths) / latency.dense_ms
            else:
                left_n = np.asarray(getattr(counted, name)) / getattr(dense, name)
            saved_n = (1 - left_n).clip(0, 1)
            factors_n *= (saved_n * (2 - saved_n)) ** weight
        return factors_n
