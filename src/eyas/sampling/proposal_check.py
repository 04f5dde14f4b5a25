"""A sampler held to its promise: what it proposes is legal, new, inside the budget, and no more than was asked for.

Shapes: n candidates, G channel groups in the order of ``space.groups``, L limits.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from eyas.errors import PlanError
from eyas.pruning.residual_block import BlockTable
from eyas.sampling.cost_words import number_in_words

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace
    from eyas.sampling.budget import Budget, Widths

_ROUNDING = 1e-9
"""Share of a limit: what a sum in another order may differ by."""
_SHOWN = 4


def check_proposals(
    kind: str, space: "SearchSpace", budget: "Budget", proposed: Any, *, count: int, scored: "Widths | None" = None
) -> "Widths":
    """What a sampler proposes, as a matrix ``(n, G)``.

    Args:
        kind: of the sampler, for the message.
        space: the search space.
        budget: holds every candidate.
        proposed: what the sampler gave.
        count: how many were asked for.
        scored: widths ``(m, G)`` that were scored before; None for none.

    Raises:
        PlanError: it is something else than a sampler promises; names the sampler.
    """
    groups = len(space.groups)
    try:
        widths = np.asarray(proposed)
    except (TypeError, ValueError, RuntimeError):  # rows of several lengths, a tensor with a gradient
        widths = np.empty(0, object)
    if widths.ndim != 2 or widths.shape[1] != groups or widths.dtype.kind not in "iu":
        what = f"{type(proposed).__name__} of {widths.dtype} {widths.shape}"
        raise PlanError(f"sampler {kind} proposes a {what}: expected are integers (candidates, {groups})")
    widths = widths.astype(np.int64, copy=False)
    if len(widths):
        problem = (
            _illegal(space, widths)
            or _repeated(widths, scored)
            or _too_many(widths, count)
            or _outside(space, budget, widths)
        )
        if problem:
            raise PlanError(f"sampler {kind} proposes {problem}; mend the sampler")
    return widths


def _illegal(space: "SearchSpace", widths: "Widths") -> str:
    """Which group has a width that is not proposed for it; empty where none has."""
    legal = [np.asarray(space.legal_widths(group), np.int64) for group in space.groups]
    wrong_nG = np.stack([~np.isin(column, of) for column, of in zip(widths.T, legal, strict=True)], 1)
    if space.blocks:
        table = BlockTable(space.blocks, len(space.groups))
        gone_nG = table.groups_of(widths[:, table.leaders] == 0)
        wrong_nG = np.where(gone_nG, widths != 0, wrong_nG)
    if not wrong_nG.any():
        return ""
    row, number = (int(place[0]) for place in wrong_nG.nonzero())
    allowed = legal[number].tolist()
    shown = allowed if len(allowed) <= 2 * _SHOWN else [*allowed[:_SHOWN], "...", *allowed[-_SHOWN:]]
    return (
        f"{widths[row, number]} channels for group {space.groups[number].name!r}: allowed are "
        f"{', '.join(map(str, shown))}{', or 0 in all groups of a residual block' if space.blocks else ''}"
    )


def _repeated(widths: "Widths", scored: "Widths | None") -> str:
    rows = {row.tobytes() for row in widths}
    if len(rows) < len(widths):
        return f"{len(widths)} candidates of which {len(rows)} are distinct"
    again = len(rows) if scored is None or not len(scored) else len(rows - {row.tobytes() for row in scored})
    return f"{len(rows) - again} candidates that were scored before" if again < len(rows) else ""


def _too_many(widths: "Widths", count: int) -> str:
    return f"{len(widths)} candidates where {count} were asked for" if len(widths) > count else ""


def _outside(space: "SearchSpace", budget: "Budget", widths: "Widths") -> str:
    """What the first candidate outside the budget costs; empty where all are inside."""
    slack = _ROUNDING * max(abs(budget.low), abs(budget.high))
    costs_n = budget.costs(space, widths)
    inside_n = (costs_n >= budget.low - slack) & (costs_n <= budget.high + slack)
    if inside_n.all():
        return ""
    row = int((~inside_n).argmax())
    costs_L = budget.costs_by_limit(space, widths[row : row + 1])[:, 0]
    costs = []
    for limit, number in zip(budget.limits, costs_L.tolist(), strict=True):
        cost, low, high = map(number_in_words, (number, limit.low, limit.high))
        costs.append(f"{limit.metric} of {cost} (band {low} to {high})")
    return f"a candidate outside the budget, with {' and '.join(costs)}"
