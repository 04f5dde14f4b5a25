"""Whom a rung of training steps trains where it does not train all: round by round, as a surrogate expects."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from eyas.scoring.race.score_table import Standings
from eyas.scoring.surrogate import fit_surrogate, next_to_train

ROUND = 8
"""Candidates that are trained before the surrogate is fitted anew."""


def training_rounds(
    standings: Standings, alive: NDArray[np.int64], log_widths: NDArray[np.float64], most: int
) -> Iterator[NDArray[np.int64]]:
    """Numbers of those to train next, at most ``most`` in all; their verdicts stand in ``standings`` by then.

    Args:
        standings: scores before training of all who are alive.
        alive: who may be trained, ``(n,)``.
        log_widths: of these, ``(n, G)``.
        most: how many are trained.
    """
    untrained, accuracy, losses = (standings.values[name][alive] for name in ("score", "accuracy", "cross_entropy"))
    with_labels = [column for column in (accuracy, -losses) if np.isfinite(column).any()]
    features, verdicts = np.column_stack([log_widths, *with_labels]), np.full(len(alive), np.nan)
    for start in range(0, min(most, len(alive)), ROUND):
        surrogate = fit_surrogate(features, untrained, verdicts)
        chosen = np.sort(next_to_train(surrogate, verdicts, min(ROUND, most - start)))
        yield alive[chosen]
        after = standings.values["score"][alive[chosen]]
        verdicts[chosen] = np.where(np.isfinite(after), after, -np.inf)
