"""Candidates among the stages: the first generation drawn by ``sample``, each other asked for by ``score``."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from eyas.config import SampleParams
from eyas.errors import DataError
from eyas.pruning.space import SearchSpace
from eyas.sampling.budget import Budget
from eyas.sampling.budget_limits import METRICS
from eyas.sampling.generations import Generations
from eyas.sampling.measured import Measured
from eyas.sampling.samplers import Sampler
from tasks.latency_profile import latency_model

ERRORS = "sample/error_table.json"
"""What samplers measured that need to, an error table or learned widths; ``null`` of others."""
BINDING = "binding"
"""Column of the limit that a candidate meets, where there are several."""


def budget_of(space: SearchSpace, params: SampleParams, base: Path = Path()) -> Budget:
    """The bands that ``sample.budget`` asks for; a relative path of the latency profile starts at ``base``.

    Raises:
        DataError: the profile cannot be read, or is of another network.
    """
    latency = latency_model(space, params, base) if params.budget.limits_latency else None
    return Budget.parse(space, params.budget.limits, params.tolerance, latency)


def needs_words(budget: Budget) -> bool:
    """Whether it is more than one limit of what every candidate is told with."""
    return len(budget.limits) > 1 or budget.metrics[0] not in METRICS


def generations_of(space: SearchSpace, params: SampleParams, table: Measured | None) -> Generations:
    """What ``sample.sampler`` proposes; ``table`` as it needs one."""
    budget = budget_of(space, params)
    return Generations(space, budget, params.sampler, candidates=params.candidates, seed=params.seed, table=table)


def read_measured(artifacts: Path, sampler: Sampler) -> Measured | None:
    """What ``sample`` left for the sampler, None where that needs none.

    Raises:
        DataError: it has not run, or the file holds nothing of the kind.
    """
    path = artifacts / ERRORS
    if not path.exists():
        msg = f"{path} is missing: run the sample stage first"
        raise DataError(msg)
    content = path.read_bytes()
    return None if content.strip() == b"null" else sampler.read_measured(content)


def candidate_table(space: SearchSpace, budget: Budget, widths: NDArray[np.int64], first: int = 0) -> pa.Table:
    """A row per candidate, ``(n, G)`` widths with their costs and all that is limited; numbers begin at ``first``."""
    of_all = space.costs(widths)
    costs = {name: np.asarray(getattr(of_all, name)) for name in METRICS}
    limited = dict(zip(budget.metrics, budget.costs_by_limit(space, widths), strict=True))
    columns: dict[str, Any] = {"candidate": np.arange(first, first + len(widths)), "widths": list(widths), **costs}
    columns |= {name: values for name, values in limited.items() if name not in METRICS}
    if len(limited) > 1:
        columns[BINDING] = budget.binding(space, widths)
    return pa.table(columns)
