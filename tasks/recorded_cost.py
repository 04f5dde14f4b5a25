"""Costs that one stage wrote beside widths, held against those widths by the stages that read them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from eyas.errors import DataError, PlanError
from eyas.pruning.plan import PruningPlan
from eyas.pruning.space import SearchSpace

COSTS = ("macs", "params", "activation_bytes")
RANKED = "score/candidates.parquet"


def require_costs(space: SearchSpace, widths: NDArray[np.int64], written: Mapping[str, Any], where: str) -> None:
    """Every row of widths, ``(candidates, groups)``, costs what is written beside it.

    Raises:
        DataError: one does not, or no network has such widths; names the row and the values.
    """
    try:
        costs = space.costs(widths)
    except PlanError as error:
        msg = f"{where}: {error}; the file was changed after sample wrote it: run again"
        raise DataError(msg) from error
    for name in COSTS:
        here, there = np.asarray(getattr(costs, name)), np.asarray(written[name])
        for row in np.flatnonzero(here != there)[:1]:
            msg = (
                f"{where}, row {row}: widths {widths[row].tolist()} cost {here[row]} {name}, written is {there[row]}; "
                "the file was changed after sample wrote it: run again"
            )
            raise DataError(msg)


def require_winner(artifacts: Path, space: SearchSpace, plan: PruningPlan) -> None:
    """The plan keeps the widths of the candidate that score ranked first, and these cost what score wrote.

    Raises:
        DataError: it keeps others.
    """
    table = pq.read_table(artifacts / RANKED)
    row = table["rank"].to_pylist().index(1)
    widths = np.array(table["widths"].to_pylist(), np.int64)
    require_costs(space, widths, {name: table[name].to_numpy() for name in COSTS}, RANKED)
    kept = list(plan.widths.values())
    if kept != widths[row].tolist():
        won = f"the winner, row {row} of {RANKED}, has {widths[row].tolist()}"
        msg = f"the plan keeps widths {kept}, {won}: one of them was changed after score wrote it: run again"
        raise DataError(msg)
