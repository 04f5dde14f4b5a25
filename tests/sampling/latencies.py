"""Latency models by arithmetic alone, in place of a device's table."""

from dataclasses import dataclass

import numpy as np

from tests.sampling.spaces import Chain


@dataclass(frozen=True)
class Aligned:
    """Milliseconds that rise with the products of neighbouring widths, and by ``penalty`` at widths off ``lanes``.

    So 15 channels may take longer than 16, as they do in runtimes that compute whole vectors.
    """

    space: Chain
    lanes: int = 8
    penalty: float = 0.25

    @property
    def dense_ms(self) -> float:
        return float(self.milliseconds(np.array([[group.channels for group in self.space.groups]]))[0])

    def milliseconds(self, widths_nG):
        last = np.full((len(widths_nG), 1), 10)
        full = np.concatenate([np.full((len(widths_nG), 1), 3), widths_nG, last], 1).astype(float)
        areas = np.array([side * side for side in self.space.sides] + [1])
        slow = 1 + self.penalty * (full[:, 1:] % self.lanes > 0)
        return 0.05 + (full[:, :-1] * full[:, 1:] * slow) @ areas * 9e-7
