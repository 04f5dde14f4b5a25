"""Multiples of widths among the stages: what ``sample.round_to`` says, and what it comes to where that is ``auto``."""

import logging
from collections.abc import Iterator
from pathlib import Path

from eyas.config import SampleParams
from eyas.deploy.latency.alignment import aligned_steps
from eyas.errors import BudgetError
from eyas.pruning.space import SearchSpace
from eyas.pruning.widths import AUTO, USUAL, multiples_in_words, usual_steps
from eyas.sampling.samplers.random_widths import BudgetSampler
from tasks.drawn_candidates import budget_of
from tasks.latency_profile import latency_model

_log = logging.getLogger(__name__)


def rounded(space: SearchSpace, params: SampleParams, base: Path = Path()) -> SearchSpace:
    """The search space as it is, or, where ``round_to`` is ``auto``, with widths that runtimes compute fast.

    That is what the latency profile shows; without one the largest of 8 and 4 that leaves a group four widths. Both as
    far as ``candidates`` networks of such widths are inside the budget, no thinner than the sampler's floor, else
    finer. A relative path starts at ``base``.
    """
    if params.round_to != AUTO:
        return space
    coarse = list(_coarse(space, params, base))
    chosen = next((one for one in coarse if _holds_enough(one, params, base)), space)
    usual = multiples_of(coarse[0])
    if multiples_of(chosen) != usual:
        _log.info("with %s fewer than %d networks are inside the budget: widths are finer", usual, params.candidates)
    return chosen


def multiples_of(space: SearchSpace) -> str:
    """What the widths of a search space are multiples of, in words."""
    return multiples_in_words([space.legal.multiple(group) for group in space.groups])


def _coarse(space: SearchSpace, params: SampleParams, base: Path) -> Iterator[SearchSpace]:
    """The space with multiples, the most that are of use first."""
    if params.latency_profile is None:
        yield from (space.rounded(usual_steps(space.groups, most)) for most in USUAL)
        return
    steps = aligned_steps(latency_model(space, params, base))
    for most in sorted({1, *steps.values()}, reverse=True):
        yield space.rounded({name: min(step, most) for name, step in steps.items()})


def _holds_enough(space: SearchSpace, params: SampleParams, base: Path) -> bool:
    floor = getattr(params.sampler, "floor", None)  # which one of the user's own need not have
    sampler = BudgetSampler(floor=floor) if isinstance(floor, float) and 0 <= floor < 1 else BudgetSampler()
    try:
        drawn = sampler.ask(space, budget_of(space, params, base), params.candidates, seed=params.seed)
    except BudgetError:
        return False
    return len(drawn) >= params.candidates
