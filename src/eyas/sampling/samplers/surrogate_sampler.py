"""A regression on the widths that were scored says which of many drawn ones are worth scoring next."""

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from eyas.sampling.samplers.evolution import EvolutionSampler
from eyas.sampling.samplers.random_widths import BudgetSampler
from eyas.scoring.surrogate import fit_surrogate

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace
    from eyas.sampling.budget import Budget
    from eyas.sampling.search_history import SearchHistory


class SurrogateSampler(BudgetSampler):
    """Expected improvement of a Bayesian ridge regression of scores on widths (Jones et al. 1998).

    As DONNA predicts accuracies (Moons et al. 2021, arXiv:2012.08859). Features are each group's share of channels and
    its square. The first generation is drawn as ``budget`` draws; for each later one many are drawn, half of them at
    random and half as children of the best, and those with the largest expected improvement on the best score are
    proposed. It needs scikit-learn (``eyas[pipeline]``).

    Use it where scoring one candidate takes much longer than fitting a regression: large networks, rungs that train.
    """

    learns = True

    kind: Literal["surrogate"] = "surrogate"  # type: ignore[assignment]
    first: Annotated[int, Field(ge=4)] = 64
    """Candidates of the first generation."""
    generation: Annotated[int, Field(ge=1)] = 16
    """Candidates of each further one."""
    drawn: Annotated[int, Field(ge=2, le=100_000)] = 1024
    """How many are compared for each further generation."""

    def ask(
        self, space: "SearchSpace", budget: "Budget", count: int, *, seed: int, history: "SearchHistory | None" = None
    ) -> NDArray[np.int64]:
        """See the base; one generation at a time.

        Raises:
            MissingExtraError: scikit-learn is not installed.
        """
        if history is None or len(history) < 2:
            return super().ask(space, budget, min(count, self.first), seed=seed, history=history)
        half = -(-self.drawn // 2)
        random = super().ask(space, budget, half, seed=seed, history=history)
        evolution = EvolutionSampler(floor=self.floor, generation=half)
        children = evolution.ask(space, budget, half, seed=seed, history=history)
        drawn, first = np.unique(np.concatenate([random, children]), axis=0, return_index=True)
        drawn = drawn[np.argsort(first)]
        shares = np.concatenate([history.widths, drawn]) / [group.channels for group in space.groups]
        scores = np.where(np.isfinite(history.scores), history.scores, np.nan)
        verdicts = np.concatenate([scores, np.full(len(drawn), np.nan)])
        surrogate = fit_surrogate(np.concatenate([shares, shares**2], 1), np.zeros(len(shares)), verdicts)
        promise = surrogate.predictions
        if np.isfinite(surrogate.deviations).any():
            promise = surrogate.expected_improvement(float(np.nanmax(scores)))
        order = np.argsort(-promise[len(history) :], kind="stable")
        return drawn[order[: min(count, self.generation)]]
