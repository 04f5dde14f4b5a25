"""Finalists measured end to end where milliseconds are limited: the best that keeps the limit is the winner.

A time never repeats: it goes to the log, and what is written are the ranks alone. So the stage leaves the same bytes
as long as the same finalist keeps the limit.
"""

import logging
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from eyas.config import BudgetParams
from eyas.deploy.latency import LatencyModel
from eyas.deploy.latency.whole_networks import time_networks
from eyas.errors import ParameterError
from eyas.sampling.budget import Budget
from eyas.scoring import ScoreTable

_log = logging.getLogger(__name__)
MOST_ABOVE = 0.1
"""Share of the limit that a measured time may lie above it."""
MOST_MEASURED = 5


def keep_latency(
    table: ScoreTable, widths: NDArray[np.int64], budget: Budget, asked: BudgetParams
) -> tuple[ScoreTable, tuple[int, ...]]:
    """The table with the best finalist that keeps the limit in front, and the numbers of those passed over.

    Finalists are the five best of the last rung. As they are where no milliseconds are limited, where none of them
    keeps the limit, and where the latency profile is of another device.
    """
    model = budget.latency
    if not isinstance(model, LatencyModel):
        return table, ()
    try:
        model.table.require(here=True)
    except ParameterError:
        _log.info("finalists are not measured here: the latency profile is of %s", model.table.where)
        return table, ()
    order = np.argsort(table.rank)
    finalists = order[table.rung[order] == table.rung[order[0]]][:MOST_MEASURED]
    dense = np.array([[group.channels for group in model.space.groups]])
    dense_ms, *times = time_networks(model.space, np.concatenate([dense, widths[finalists]]), model.table)
    limit = asked.latency_ms if asked.latency_ms is not None else (asked.latency or 0) * dense_ms
    predicted = model.milliseconds(widths[finalists])
    for number, expected, took in zip(finalists, predicted, times, strict=True):
        words = "candidate %d: predicted %.4g ms, measured end to end %.4g ms (%+.1f %%); the limit is %.4g ms"
        _log.info(words, number, expected, took, 100 * (took / expected - 1), limit)
    keeps = np.array(times) <= (1 + MOST_ABOVE) * limit
    if not keeps.any():
        words = "none of %d finalists keeps the limit of %.4g ms within 10 %% here; the fastest takes %.4g ms: lower it"
        _log.warning(words, len(finalists), limit, min(times))
        return table, ()
    first = int(keeps.argmax())
    return _in_front(table, int(finalists[first])), tuple(finalists[:first].tolist())


def _in_front(table: ScoreTable, winner: int) -> ScoreTable:
    """The table with one candidate ranked first, the others in their order behind it."""
    rank = np.where(table.rank < table.rank[winner], table.rank + 1, table.rank)
    rank[winner] = 1
    return replace(table, rank=rank)
