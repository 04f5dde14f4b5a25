"""Candidates as plans made when they are looked at, and how equal ones are recognised."""

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from eyas.component import Component
from eyas.pruning.planner import Planner

if TYPE_CHECKING:
    from eyas.pruning.plan import PruningPlan


class WidthPlans(Sequence["PruningPlan"]):
    """The plans of a width matrix ``(n, G)``, each made when it is asked for: a hundred thousand cost a matrix.

    Args:
        widths: kept channels per candidate and group.
        planner: from one row to its plan, as ``space.planner(criterion)`` makes it. Any other function will do, but
            then every plan is made once more to tell equal ones.
    """

    def __init__(self, widths: NDArray[np.int64], planner: "Callable[[NDArray[np.int64]], PruningPlan]") -> None:
        self.widths, self.planner = np.asarray(widths, np.int64), planner

    def __len__(self) -> int:
        return len(self.widths)

    @overload
    def __getitem__(self, index: int) -> "PruningPlan": ...
    @overload
    def __getitem__(self, index: slice) -> "WidthPlans": ...
    def __getitem__(self, index: "int | slice") -> "PruningPlan | WidthPlans":
        if isinstance(index, slice):
            return WidthPlans(self.widths[index], self.planner)
        return self.planner(self.widths[index])


class Proposer(Protocol):
    """Who proposes further candidates from the scores of those before."""

    @property
    def sampler(self) -> Component:
        """Its algorithm."""

    @property
    def settings(self) -> str:
        """What proposals depend on, beside scores and the code of :attr:`sampler`."""

    def most(self, first: int) -> int:
        """How many candidates there will be at most, where so many were ``first``."""

    def uniform(self) -> NDArray[np.int64]:
        """The widths that keep the same share of every group, ``(1, G)``; no row where the budget leaves none."""

    def __call__(self, widths: NDArray[np.int64], scores: NDArray[np.float64]) -> NDArray[np.int64]:
        """Further widths ``(m, G)`` from those so far ``(n, G)`` and their scores ``(n,)``; no rows end it."""


class GrowingPlans(WidthPlans):
    """Candidates that become more while they are raced: once all are judged on the first rung, others are proposed.

    Args:
        widths: of the first generation, ``(n, G)``.
        planner: from one row to its plan.
        propose: who is asked again.
    """

    def __init__(
        self,
        widths: NDArray[np.int64],
        planner: "Callable[[NDArray[np.int64]], PruningPlan]",
        propose: Proposer,
    ) -> None:
        super().__init__(widths, planner)
        self.propose = propose

    @property
    def uniform(self) -> int | None:
        """The candidate that keeps the same share of every group, where it is among them."""
        rows = [row for widths in self.propose.uniform() for row in np.flatnonzero((self.widths == widths).all(1))]
        return int(rows[0]) if rows else None

    def uniform_plan(self) -> "PruningPlan | None":
        """The plan of uniform widths; None where the budget leaves none."""
        uniform = self.propose.uniform()
        return self.planner(uniform[0]) if len(uniform) else None

    def grow(self, scores: NDArray[np.float64]) -> None:
        """Keep as many candidates as there are ``scores``, and add what is proposed after them."""
        widths = self.widths[: len(scores)]
        self.widths = np.concatenate([widths, self.propose(widths, scores)])


def digests(plans: "Sequence[PruningPlan]") -> NDArray[np.void]:
    """16 bytes per plan, ``(n,)``: equal for equal plans of one sequence, and for the same channels of one space."""
    if isinstance(plans, WidthPlans) and isinstance(plans.planner, Planner):
        maker = plans.planner.fingerprint.encode()
        return np.array([_digest(maker + row.tobytes()) for row in plans.widths], "V16")
    return np.array([_digest(_content(plans[number])) for number in range(len(plans))], "V16")


def originals(plan_digests: NDArray[np.void]) -> NDArray[np.int64]:
    """For each candidate the first one equal to it, ``(n,)``; itself where it is the first."""
    _, first, inverse = np.unique(plan_digests, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)


def _content(plan: "PruningPlan") -> bytes:
    kept = [np.asarray(channels, np.int64) for channels in plan.kept.values()]
    lengths = np.array([len(channels) for channels in kept], np.int64)
    return b"".join([plan.space.encode(), lengths.tobytes(), *(channels.tobytes() for channels in kept)])


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
