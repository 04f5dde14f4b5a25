"""The plan of uniform widths among the stages: what the winner is held against."""

import logging
from pathlib import Path

from eyas.pruning.plan import PruningPlan
from eyas.pruning.space import SearchSpace

_log = logging.getLogger(__name__)
UNIFORM = "score/uniform_plan.json"
"""The plan of uniform widths by the same criterion; ``null`` where none meet the budget."""


def write_uniform_plan(artifacts: Path, plan: PruningPlan | None) -> None:
    """Leave it beside the winner's."""
    (artifacts / UNIFORM).write_text("null\n" if plan is None else plan.to_json())


def uniform_rival(winner: PruningPlan, space: SearchSpace, artifacts: Path) -> PruningPlan | None:
    """The plan of uniform widths; None, said in the log, where there is none or where the winner has these widths.

    Raises:
        PlanError: the file is no plan, or one of another search space.
    """
    text = (artifacts / UNIFORM).read_text()
    if text.strip() == "null":
        _log.info("no uniform widths meet sample.budget: the winner alone is fine-tuned")
        return None
    uniform = PruningPlan.from_json(text)
    space.mask(uniform)
    if uniform.widths == winner.widths:
        _log.info("the winner keeps uniform widths: nothing is fine-tuned twice")
        return None
    return uniform
