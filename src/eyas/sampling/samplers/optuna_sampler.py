"""Optuna proposes: tree-structured Parzen estimators, an evolution strategy, or a search for a Pareto front.

Shapes: n candidates, G channel groups in the order of ``space.groups``.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from eyas.errors import MissingExtraError
from eyas.sampling.placement import Placement
from eyas.sampling.samplers.base import Sampler
from eyas.sampling.samplers.random_widths import BudgetSampler

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace
    from eyas.sampling.budget import Budget
    from eyas.sampling.search_history import SearchHistory

Widths = NDArray[np.int64]
_TRIES = 8  # trials for each candidate that is wanted
_LEAST, _MOST = 0.02, 0.98  # shares: at 0 and 1 no power would move a group


class OptunaSampler(Sampler):
    """Optuna's algorithms over each group's share of channels (Akiba et al. 2019, arXiv:1907.10902).

    What they suggest is moved onto the budget: all shares of a candidate are raised to one common power. ``tpe`` models
    the shares of good candidates and of the others apart, ``cmaes`` adapts a normal distribution, ``nsga2`` breeds a
    front of several objectives, which ``tpe`` can follow, too. For each generation the study is repeated from its seed
    and told the scores so far: nothing but widths and scores has to be kept. It needs ``eyas[optuna]``.

    Use it where costs beside the budget are to fall as well (``also``; the race ranks by the score all the same, its
    table has the front), or to hold another search against.
    """

    learns = True

    kind: Literal["optuna"] = "optuna"
    algorithm: Literal["tpe", "cmaes", "nsga2"] = "tpe"
    """Which of Optuna's samplers; ``cmaes`` follows the score alone."""
    also: tuple[Literal["macs", "params", "activation_bytes"], ...] = ()
    """Costs that are to be low beside a high score, each an objective of its own."""
    floor: Annotated[float, Field(ge=0, lt=1)] = 0.4
    """No group keeps less than this share of what uniform widths would keep."""
    generation: Annotated[int, Field(ge=2)] = 32
    """Candidates of each generation."""

    @model_validator(mode="after")
    def _has_objectives_it_can_follow(self) -> Self:
        if self.also and self.algorithm == "cmaes":
            msg = f"cmaes follows the score alone, not {', '.join(self.also)} as well: choose tpe or nsga2"
            raise ValueError(msg)
        return self

    def check_space(self, space: "SearchSpace") -> None:
        """See the base.

        Raises:
            MissingExtraError: Optuna is not installed.
        """
        super().check_space(space)
        _optuna()

    def ask(
        self, space: "SearchSpace", budget: "Budget", count: int, *, seed: int, history: "SearchHistory | None" = None
    ) -> Widths:
        """See the base; one generation at a time.

        Raises:
            MissingExtraError: Optuna is not installed.
        """
        placement = Placement(space, budget)
        placement.check_reachable()
        with _quiet_optuna() as optuna:
            study, scored = _Study(optuna, self, placement, seed), 0 if history is None else len(history)
            for start in range(0, scored, self.generation):
                assert history is not None
                past = slice(start, start + self.generation)
                study.propose(len(history.widths[past]))
                study.tell(history.widths[past], history.scores[past])
            rows = study.propose(min(count, self.generation))
        if len(rows):
            return rows
        few = BudgetSampler(floor=self.floor).ask(space, budget, count, seed=seed, history=history)
        return few[: self.generation]


class _Study:
    """A study of Optuna's whose trials are placed onto a budget."""

    def __init__(self, optuna: Any, sampler: OptunaSampler, placement: Placement, seed: int) -> None:
        makers = {
            "tpe": lambda: optuna.samplers.TPESampler(seed=seed),
            "cmaes": lambda: optuna.samplers.CmaEsSampler(
                seed=seed, popsize=sampler.generation, warn_independent_sampling=False
            ),
            "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=seed, population_size=sampler.generation),
        }
        directions = ["maximize", *["minimize"] * len(sampler.also)]
        self._optuna, self._placement, self._also = optuna, placement, sampler.also
        self._study = optuna.create_study(directions=directions, sampler=makers[sampler.algorithm]())
        share = optuna.distributions.FloatDistribution(_LEAST, _MOST)
        self._shares = {group.name: share for group in placement.space.groups}
        self._floor = placement.floor(sampler.floor * placement.uniform_share())
        self._rng = np.random.default_rng(seed)
        self._seen = {placement.widths(placement.top[None])[0].tobytes()}
        self._open: dict[bytes, Any] = {}

    def propose(self, count: int) -> Widths:
        """Up to ``count`` rows that are new, ``(n, G)``; uniform widths first of all."""
        rows = []
        if not self._study.trials:
            rows = [row for row in self._placement.widths(self._placement.uniform_in_band(self._rng)) if self._new(row)]
        for _ in range(_TRIES * count):
            if len(rows) >= count:
                break
            trial = self._study.ask(self._shares)
            placed = [row for row in self._place([*trial.params.values()]) if self._new(row)]
            if placed:
                self._open[placed[0].tobytes()] = trial
                rows += placed
            else:
                self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        return np.array(rows, np.int64).reshape(-1, len(self._shares))

    def tell(self, widths: Widths, scores: NDArray[np.float64]) -> None:
        """Scores of rows ``(n, G)``, whether they were proposed here or not; what has none has failed."""
        states = self._optuna.trial.TrialState
        for row, score in zip(widths, scores.tolist(), strict=True):
            self._seen.add(row.tobytes())
            trial, known = self._open.pop(row.tobytes(), None), math.isfinite(score)
            if trial is not None:
                self._study.tell(trial, self._objectives(row, score) if known else None, None if known else states.FAIL)
            elif known:
                params = dict(zip(self._shares, self._shares_of(row), strict=True))
                values = self._objectives(row, score)
                trial = self._optuna.trial.create_trial(params=params, distributions=self._shares, values=values)
                self._study.add_trial(trial)
        for trial in self._open.values():
            self._study.tell(trial, state=states.FAIL)
        self._open.clear()

    def _new(self, row: Widths) -> bool:
        """Whether a row was never proposed or told; from now on it was."""
        size = len(self._seen)
        self._seen.add(row.tobytes())
        return len(self._seen) > size

    def _place(self, shares_G: list[float]) -> Widths:
        """Shares between the floor and all channels as widths inside the budget, ``(1, G)``; no row where none are."""
        positions, costs = self._placement.scale_to_budget(np.array([shares_G]), self._floor)
        return self._placement.widths(self._placement.repair(positions, costs, self._floor, self._rng))

    def _shares_of(self, row: Widths) -> list[float]:
        span_G = np.maximum(self._placement.top - self._floor, 1)
        shares_G = (self._placement.positions(row[None])[0] - self._floor) / span_G
        return [float(share) for share in shares_G.clip(_LEAST, _MOST)]

    def _objectives(self, row: Widths, score: float) -> list[float]:
        """The score, and the costs that are to be low."""
        costs = self._placement.space.costs(row[None])
        return [score, *(float(getattr(costs, name)[0]) for name in self._also)]


def _optuna() -> Any:
    """The library.

    Raises:
        MissingExtraError: it is not installed, or not what CMA-ES needs beside it.
    """
    try:
        import cmaes
        import optuna
    except ImportError as error:
        msg = "`sampler` 'optuna' needs Optuna: pip install 'eyas[optuna]'"
        raise MissingExtraError(msg) from error
    assert cmaes
    return optuna


@contextmanager
def _quiet_optuna() -> Iterator[Any]:
    """Optuna, which says nothing of its trials while it works."""
    optuna = _optuna()
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield optuna
    finally:
        optuna.logging.set_verbosity(before)
