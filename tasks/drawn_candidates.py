"""Candidates among the stages: the first generation drawn by ``sample``, each other asked for by ``score``."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from eyas.config import SampleParams
from eyas.pruning.space import SearchSpace
from eyas.sampling.budget import METRICS, Budget
from eyas.sampling.generations import Generations


def budget_of(space: SearchSpace, params: SampleParams) -> Budget:
    """The band that ``sample.budget`` asks for."""
    return Budget.parse(space, params.budget.model_dump(exclude_none=True), params.tolerance)


def generations_of(space: SearchSpace, params: SampleParams) -> Generations:
    """What ``sample.sampler`` proposes."""
    budget = budget_of(space, params)
    return Generations(space, budget, params.sampler, candidates=params.candidates, seed=params.seed)


def candidate_table(space: SearchSpace, widths: NDArray[np.int64], first: int = 0) -> pa.Table:
    """A row per candidate, ``(n, G)`` widths with their costs; numbers begin at ``first``."""
    of_all = space.costs(widths)
    costs = {name: np.asarray(getattr(of_all, name)) for name in METRICS}
    columns: dict[str, Any] = {"candidate": np.arange(first, first + len(widths)), "widths": list(widths), **costs}
    return pa.table(columns)
