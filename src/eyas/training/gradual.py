"""Gradual pruning: channels go in several cuts, and what is left is trained in between, as one training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import nn

from eyas.errors import ParameterError
from eyas.pruning.plan import PruningPlan
from eyas.pruning.pruned_space import plan_inside, pruned_space
from eyas.pruning.space import SearchSpace
from eyas.training.loop import TrainingResult


@dataclass(frozen=True)
class Cut:
    """One of several cuts."""

    number: int
    """From 1."""
    plan: PruningPlan
    """What is left after it, of the dense network."""
    epochs: range
    """Those of the training that follow it."""


def divide_epochs(epochs: int, cuts: int, share: float) -> list[range]:
    """The epochs (from 1) after each cut: one at least, and ``share`` of all before the last cut, evenly.

    Raises:
        ParameterError: there are fewer epochs than cuts.
    """
    if epochs < cuts:
        msg = f"`epochs` is {epochs}, too few for {cuts} cuts: at least one epoch follows each"
        raise ParameterError(msg)
    before = min(max(round(share * epochs), cuts - 1), epochs - 1)
    ends = [round(before * cut / (cuts - 1)) for cut in range(cuts)] if cuts > 1 else [0]
    return [range(start + 1, end + 1) for start, end in zip(ends, [*ends[1:], epochs], strict=True)]


def train_in_cuts(
    model: nn.Module,
    space: SearchSpace,
    cuts: Sequence[Cut],
    *,
    prune: Callable[[nn.Module, SearchSpace, PruningPlan], nn.Module],
    train: Callable[[nn.Module, Cut], TrainingResult],
) -> tuple[nn.Module, TrainingResult]:
    """Prune and train in turn; with one cut, pruned once and trained.

    Args:
        model: the dense network; not touched.
        space: its search space.
        cuts: their plans nested, as :func:`eyas.pruning.nested_plans.nested_plans` makes them.
        prune: to a new network from one, its search space and a plan in it; recalibrates, and may refit.
        train: a network in place, for the cut's epochs of the whole training.

    Returns:
        the network of the last cut and the whole training; its best epoch is one of those after the last cut.

    Raises:
        PlanError: a plan keeps channels that are gone.
    """
    results: list[TrainingResult] = []
    outer = None
    for cut in cuts:
        plan = cut.plan if outer is None else plan_inside(outer, cut.plan, space)
        model = prune(model, space, plan)
        results.append(train(model, cut))
        space, outer = pruned_space(space, plan, model), cut.plan
    history = tuple(record for result in results for record in result.history)
    resumed_from = sum(result.resumed_from for result in results)
    return model, replace(results[-1], history=history, resumed_from=resumed_from)
