"""Multiples of widths among the stages: what ``sample.round_to`` says, and what it comes to where that is ``auto``."""

from pathlib import Path

from eyas.config import SampleParams
from eyas.deploy.latency.alignment import aligned_steps
from eyas.errors import BudgetError
from eyas.pruning.space import SearchSpace
from eyas.pruning.widths import USUAL, usual_steps
from eyas.sampling.samplers import Sampler
from tasks.drawn_candidates import budget_of
from tasks.latency_profile import latency_model


def rounded(space: SearchSpace, params: SampleParams, base: Path = Path()) -> SearchSpace:
    """The search space as it is, or, where ``round_to`` is ``auto``, with widths that runtimes compute fast.

    That is what the latency profile shows; without one the largest of 8 and 4 that leaves a group four widths, as far
    as ``candidates`` networks of such widths are inside the budget. A relative path starts at ``base``.
    """
    if params.round_to != "auto":
        return space
    if params.latency_profile is not None:
        return space.rounded(aligned_steps(latency_model(space, params, base)))
    coarse = (space.rounded(usual_steps(space.groups, most)) for most in USUAL)
    return next((one for one in coarse if _holds_enough(one, params, base)), space)


def _holds_enough(space: SearchSpace, params: SampleParams, base: Path) -> bool:
    try:
        drawn = Sampler.parse("budget").ask(space, budget_of(space, params, base), params.candidates, seed=params.seed)
    except BudgetError:
        return False
    return len(drawn) >= params.candidates
