"""The way to a plan in several cuts: plans that each keep a part of what the one before keeps."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from eyas.errors import PlanError
from eyas.pruning.criteria import Criterion
from eyas.pruning.plan import PruningPlan
from eyas.pruning.planner import Planner, kept_units
from eyas.pruning.space import SearchSpace


def nested_plans(
    space: SearchSpace,
    plan: PruningPlan,
    cuts: int,
    *,
    criterion: Criterion | str | Mapping[str, Any] | None = None,
    data: Any = None,
) -> list[PruningPlan]:
    r"""Plans of ``cuts`` cuts, the last of which is ``plan``; the channels that it does not keep go by importance.

    Of a group's U units, of which the plan keeps u, :math:`U (u / U)^{k / cuts}` are left after cut k, rounded: every
    cut takes the same share.

    Args:
        space: the dense network's search space.
        plan: where the last cut leads to.
        cuts: how many.
        criterion: which channels go first; their L1 norm without it.
        data: what the criterion looks at, as :meth:`.SearchSpace.ranking` takes it.

    Raises:
        PlanError: the plan is of another search space, or there is no cut.
    """
    if cuts < 1:
        msg = f"a plan is reached in one cut at least, not in {cuts}"
        raise PlanError(msg)
    space.mask(plan)
    if cuts == 1:
        return [plan]
    rankings, targets = [], []
    for group, ranking in zip(space.groups, space.ranking(criterion, data=data), strict=True):
        stays = kept_units(group, np.array(plan.kept[group.name], dtype=np.int64))
        rankings.append(np.concatenate([ranking[stays[ranking]], ranking[~stays[ranking]]]))
        targets.append((group.units, int(stays.sum()), group.step))
    planner = Planner(space.fingerprint, space.legal, rankings)
    widths = [
        [max(kept, round(units * (kept / units) ** (cut / cuts))) * step for units, kept, step in targets]
        for cut in range(1, cuts + 1)
    ]
    return [planner(row) for row in widths]
