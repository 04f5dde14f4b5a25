"""The best few candidates of a rung, and how sure their order is."""

import heapq

import numpy as np
from numpy.typing import NDArray

from eyas.scoring.race.measurement import Measurement


class TopCandidates:
    """The best few of a rung with their per-image scores; independent of the order of arrival."""

    def __init__(self, size: int = 32) -> None:
        self.size = size
        self._heap: list[tuple[float, int, NDArray[np.float32]]] = []

    def add(self, candidate: int, measurement: Measurement) -> bool:
        """Whether the candidate is among the best so far (then its per-image scores are kept)."""
        if measurement.image_scores is None or not np.isfinite(measurement.score):
            return False
        entry = (measurement.score, -candidate, measurement.image_scores)
        if len(self._heap) < self.size:
            heapq.heappush(self._heap, entry)
            return True
        if entry[:2] <= self._heap[0][:2]:
            return False
        heapq.heapreplace(self._heap, entry)
        return True

    def image_scores(self, candidate: int) -> NDArray[np.float32] | None:
        """Of one of them; None of any other."""
        return next((scores for _, negative, scores in self._heap if -negative == candidate), None)

    def margin(self) -> float:
        """The leader's smallest lead over another of them, in standard errors of their paired difference.

        Infinite where there is no other; images of one batch share its statistics, so this is approximate.
        """
        leads_M, errors_M = self._leads()
        if not len(leads_M):
            return float("inf")
        with np.errstate(divide="ignore", invalid="ignore"):
            deviations_M = leads_M / errors_M
        return float(np.nan_to_num(deviations_M, nan=0.0, posinf=np.inf).min())

    def paired_error(self) -> float:
        """Standard error of the difference of two scores on the same images: the median over the leader and another.

        NaN where there is no other.
        """
        _, errors_M = self._leads()
        return float(np.median(errors_M)) if len(errors_M) else float("nan")

    def _leads(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The leader's leads over the M others, best first, with the standard errors of the paired differences."""
        ranked = sorted(self._heap, reverse=True)
        if len(ranked) < 2:
            return np.empty(0), np.empty(0)
        gaps_MN = ranked[0][2].astype(np.float64) - np.stack([entry[2] for entry in ranked[1:]]).astype(np.float64)
        return gaps_MN.mean(1), gaps_MN.std(1, ddof=1) / np.sqrt(gaps_MN.shape[1])
