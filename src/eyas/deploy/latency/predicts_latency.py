"""What a budget or a reward asks for milliseconds."""

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@runtime_checkable
class PredictsLatency(Protocol):
    """What tells milliseconds of widths, such as a :class:`~eyas.deploy.latency.LatencyModel`."""

    @property
    def dense_ms(self) -> float:
        """Of the dense network."""

    def milliseconds(self, widths_nG: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of each candidate, ``(n,)``."""
