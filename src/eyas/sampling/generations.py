"""A sampler asked for candidates, and asked again while they are raced.

Shapes: n candidates, G channel groups in the order of ``space.groups``.
"""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyas.errors import PlanError
from eyas.sampling.budget import Budget, Widths
from eyas.sampling.placement import Placement
from eyas.sampling.proposal_check import check_proposals
from eyas.sampling.search_history import SearchHistory

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace
    from eyas.sampling.measured import Measured
    from eyas.sampling.samplers import Sampler

_log = logging.getLogger(__name__)


class Generations:
    """The candidates of a sampler: the first generation at once, each other from the scores of all before it.

    Args:
        space: the search space.
        budget: holds every candidate.
        sampler: who proposes.
        candidates: at most so many, of all generations together.
        seed: of the draws.
        table: what :meth:`.Sampler.measure` gave, where the sampler needs it.

    Raises:
        ParameterError: the space has residual blocks to leave out, and the sampler leaves none out.

    Example::

        generations = Generations(space, budget, sampler, candidates=200)
        widths = generations.first()
        further = generations(widths, scores)
    """

    def __init__(
        self,
        space: "SearchSpace",
        budget: Budget,
        sampler: "Sampler | str | Mapping[str, Any]",
        *,
        candidates: int,
        seed: int = 0,
        table: "Measured | None" = None,
    ) -> None:
        from eyas.sampling.samplers import Sampler

        self.space, self.budget, self.sampler = space, budget, Sampler.parse(sampler)
        self.sampler.check_space(space)
        self.candidates, self.seed, self.table = candidates, seed, table

    def first(self) -> Widths:
        """What is proposed before anything was scored, ``(n, G)``; warns of fewer than were asked for, if that is all.

        Raises:
            BudgetError: no legal widths meet the budget.
            PlanError: the sampler proposes nothing, or what it must not: widths that are not legal, outside the budget
                or there twice, or too many.
        """
        widths = self._ask(self.candidates)
        if not len(widths):
            raise PlanError(f"sampler {self.sampler.kind} proposes no candidate, and says no reason; mend the sampler")
        if len(widths) < self.candidates and not self.sampler.learns:
            self._warn_of_few(len(widths))
        return widths

    def __call__(self, widths: Widths, scores: NDArray[np.float64]) -> Widths:
        """What is proposed once all ``widths`` are scored, higher is better; no rows where that is all.

        Raises:
            PlanError: the sampler proposes what it must not, as in :meth:`first`, or what was scored before.
        """
        left = self.candidates - len(widths)
        if left <= 0 or not self.sampler.learns:
            return widths[:0]
        further = self._ask(left, SearchHistory(widths, scores))
        if not len(further):
            self._warn_of_few(len(widths))
        return further

    def most(self, first: int) -> int:
        """How many there will be at most, where so many were ``first``: others come if the sampler learns."""
        return max(first, self.candidates) if self.sampler.learns else first

    def uniform(self) -> Widths:
        """The same share of every group, ``(1, G)``, which ``budget`` proposes first; no row where none fits."""
        placement = Placement(self.space, self.budget)
        return placement.widths(placement.uniform_in_band(np.random.default_rng([self.seed, 0])))

    @property
    def settings(self) -> str:
        """What proposals depend on, beside scores and the sampler's code."""
        table = f" {self.table.digest}" if self.table is not None else ""
        return f"{self.sampler.model_dump_json()} {self.budget} {self.candidates} {self.seed}{table}"

    def _warn_of_few(self, count: int) -> None:
        words = "sampler %s proposes %d candidates, not the %d asked for: %s"
        _log.warning(words, self.sampler.kind, count, self.candidates, self.sampler.why_few)

    def _ask(self, count: int, history: SearchHistory | None = None) -> Widths:
        known: dict[str, Any] = {"table": self.table} if self.sampler.needs_table else {}
        proposed = self.sampler.ask(self.space, self.budget, count, seed=self.seed, history=history, **known)
        scored = None if history is None else history.widths
        return check_proposals(self.sampler.kind, self.space, self.budget, proposed, count=count, scored=scored)
