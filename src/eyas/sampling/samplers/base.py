"""The root of the samplers: what a sampler promises."""

from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, SerializeAsAny

from eyas.component import Component

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace
    from eyas.sampling.budget import Budget
    from eyas.sampling.search_history import SearchHistory


class Sampler(Component):
    """Proposes candidates: widths per group, each one legal and inside the budget."""

    learns: ClassVar[bool] = False
    """Whether proposals depend on the scores of those before: such a sampler is asked again while the race runs."""

    def ask(
        self, space: "SearchSpace", budget: "Budget", count: int, *, seed: int, history: "SearchHistory | None" = None
    ) -> NDArray[np.int64]:
        """Up to ``count`` distinct width vectors, shape ``(n, len(space.groups))``, ``n <= count``.

        The same arguments give the same widths. ``history`` holds what has been scored so far; none of it comes again.

        Raises:
            BudgetError: no legal widths meet the budget; states the reachable range.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it samples")


AnySampler = Annotated[SerializeAsAny[Sampler], BeforeValidator(Sampler.parse)]
