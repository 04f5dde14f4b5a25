"""Placing width vectors onto a budget, thousands at a time, by the closed-form cost alone.

Widths are handled as positions in each group's list of legal widths, so that one step up or down is plus or minus
one, whatever the steps are. Shapes: n candidates, G groups.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eyas.errors import BudgetError
from eyas.pruning.residual_block import BlockTable
from eyas.sampling.cost_words import number_in_words, range_in_words, share_above
from eyas.sampling.secant_root import SecantRoot

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace
    from eyas.sampling.budget import Budget, Limit

Positions = NDArray[np.int64]
Rows = NDArray[np.int64]
ABSENT = -1
"""The position of a group that goes with its residual block: no width at all."""
_EVALUATIONS = 16
_REPAIRS = 16
_LISTED_IN_FULL = 100_000
_SHARES = 33
"""Uniform widths that tell the reachable range, and shares that a floor may be lowered to."""


class Placement:
    """The legal widths of a space, and how far a candidate is from a budget."""

    def __init__(self, space: "SearchSpace", budget: "Budget") -> None:
        self.space, self.budget = space, budget
        legal: Sequence[NDArray[np.int64]] = [np.asarray(space.legal_widths(g), np.int64) for g in space.groups]
        self.legal = [np.sort(widths) for widths in legal]
        self.top: Positions = np.array([len(widths) - 1 for widths in self.legal], np.int64)
        self._table = np.concatenate([[], *(np.append(0, widths) for widths in self.legal)]).astype(np.int64)
        self._start = np.concatenate([[0], np.cumsum(self.top + 2)[:-1]]).astype(np.int64) - ABSENT

    def widths(self, positions: Positions) -> Rows:
        """Positions to widths, ``(n, G)``."""
        return self._table.take(positions + self._start)

    def positions(self, widths: Rows) -> Positions:
        """Legal widths to positions, ``(n, G)``."""
        columns = [np.searchsorted(legal, column) for legal, column in zip(self.legal, widths.T, strict=True)]
        return np.where(widths == 0, ABSENT, np.stack(columns, 1).astype(np.int64))

    def costs(self, positions: Positions) -> NDArray[np.float64]:
        """Cost of each row, ``(n,)``."""
        return self.budget.costs(self.space, self.widths(positions))

    @cached_property
    def widths_reach(self) -> bool:
        """Whether each limit is in reach of widths alone; where it is not, residual blocks have to go."""
        if not self.space.blocks:
            return True
        least_L = self.budget.costs_by_limit(self.space, self.widths(self._uniform_rows())).min(1)
        return all(limit.high >= least for limit, least in zip(self.budget.limits, least_L, strict=True))

    @property
    def is_listed(self) -> bool:
        """Whether there are so few legal width vectors that all are looked at; not where blocks may go."""
        return not self.space.blocks and float(np.prod(self.top.astype(float) + 1)) <= _LISTED_IN_FULL

    def grid(self, floor: Positions) -> Positions:
        """Every legal row from ``floor`` on, ``(n, G)``."""
        axes = [np.arange(low, top + 1) for low, top in zip(floor, self.top, strict=True)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))

    def check_reachable(self) -> None:
        """Refuse limits beyond what the smallest and the dense widths cost, or that the dense ones meet.

        The smallest network is without the residual blocks that may go.

        Raises:
            BudgetError: states the reachable range.
        """
        if not len(self.top):
            msg = "no group of this network can be pruned: space.frozen names each layer with its reason"
            raise BudgetError(msg)
        if not self.top.any() and not self.space.blocks:
            msg = "`round_to` and `min_width` leave no group another width than all of its channels: lower them"
            raise BudgetError(msg)
        ranges, several = self._ranges(), len(self.budget.limits) > 1
        if all(limit.target >= most if several else limit.target == most for limit, _, most in ranges):
            msg = (
                f"`budget` {' and '.join(self.budget.metrics)} is all that the dense network has: nothing would be "
                "pruned; give less"
            )
            raise BudgetError(msg)
        missed = [limit.metric for limit, least, most in ranges if limit.high < least]
        if missed or (not several and self.budget.low > ranges[0][2]):
            raise BudgetError(self._unreachable(missed=missed))

    def no_candidate_error(self, floor: Positions) -> BudgetError:
        """The error for a band that lies in reach but holds no widths from ``floor`` on that prune anything."""
        return BudgetError(self._unreachable(f", in steps that jump over this band{self._nearest(floor)}"))

    def _nearest(self, floor: Positions) -> str:
        """The costs next to the band on both sides, as budgets, and the tolerance that reaches the nearer one."""
        if not self.is_listed or len(self.budget.limits) > 1:
            return ""
        rows, (limit,) = self.grid(floor), self.budget.limits
        costs = self.costs(rows[(rows < self.top).any(1)])
        sides = [*np.sort(costs[costs < limit.low])[-1:], *np.sort(costs[costs > limit.high])[:1]]
        if not sides:
            return ""
        named = " and ".join(f"{{{limit.metric}: {cost:.10g}}}" for cost in sides)
        nearer, dense = min(sides, key=lambda cost: abs(cost - limit.target)), float(self.costs(self.top[None])[0])
        tolerance = limit.tolerance_to(nearer, dense)
        wider = f" (`tolerance` {tolerance:g} reaches {number_in_words(nearer)})" if tolerance <= 1 else ""
        return f". Next to it: {named}{wider}"

    def median_step(self) -> float:
        """How far one step of one group moves the cost at uniform widths, in the median over groups that move it."""
        uniform = self.uniform(self.uniform_share())[None]
        moved = np.minimum(uniform + np.eye(len(self.top), dtype=np.int64), self.top)
        steps = np.abs(self.costs(moved) - self.costs(uniform))
        return float(np.median(steps[steps > 0])) if steps.any() else 0.0

    def _ranges(self) -> "list[tuple[Limit, float, float]]":
        """Each limit with the least cost of uniform widths, with and without all blocks, and that of the dense network.

        Milliseconds need not rise with widths: the smallest may take longer than the next.
        """
        rows = self._uniform_rows()
        if self.space.blocks:
            rows = np.concatenate([np.where(self._blocks.members.any(0), ABSENT, rows), rows])
        costs_Ln = self.budget.costs_by_limit(self.space, self.widths(rows))
        return list(zip(self.budget.limits, costs_Ln.min(1).tolist(), costs_Ln[:, -1].tolist(), strict=True))

    def _uniform_rows(self) -> Positions:
        """The smallest widths, then the same share everywhere, up to the dense network, ``(n, G)``."""
        return np.stack([np.zeros_like(self.top), *(self.uniform(share) for share in np.linspace(0, 1, _SHARES))])

    def _unreachable(self, reason: str = "", missed: Sequence[str] = ()) -> str:
        """What no candidate can have, with the reachable range of every limit, and the limits beyond theirs."""
        ranges, can_be_had = self._ranges(), ""
        if missed or not reason:
            reachable = " and ".join(
                f"{limit.metric} from {share_above(least / most)} to below 1"
                for limit, least, most in ranges
                if limit.metric in missed or not missed
            )
            can_be_had = f"`budget` can have {reachable} of the dense network's: "
        elif len(ranges) == 1:
            _, least, most = ranges[0]
            reason = f" (shares from {least / most:.3g} on){reason}"
        wanted = ", and ".join(range_in_words(limit, least, most, reason) for limit, least, most in ranges)
        alone = " and ".join(missed) if len(self.budget.limits) > 1 else ""
        return (
            f"{can_be_had}no candidate can have {wanted}. {f'Out of reach by itself: {alone}. ' if alone else ''}"
            "Change `budget`, widen `tolerance`, or lower `min_width` and `round_to`"
        )

    def floor(self, share: float) -> Positions:
        """The lowest positions allowed: widths of at least ``share`` of the group's channels, ``(G,)``.

        Of as large a share as leaves candidates inside the budget, where widths come in steps too coarse for that one.
        """
        for lowered in share * np.linspace(1, 0, _SHARES):
            lowest = [np.searchsorted(widths, lowered * widths[-1]) for widths in self.legal]
            floor = np.minimum(np.array(lowest, np.int64), self.top)
            if self.costs(self._shortened(floor)[None])[0] <= self.budget.low:
                return floor
        return np.zeros_like(self.top)

    def uniform_share(self) -> float:
        """The share of its channels that every group may keep under the budget, by bisection.

        Where widths alone do not reach it, every group that is left without as many residual blocks as may go.
        """
        low, high = 0.0, 1.0
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (low, middle) if self._uniform_cost(middle) > self.budget.target else (middle, high)
        return low

    def uniform(self, share: float) -> Positions:
        """The positions nearest to the same share everywhere, ``(G,)``."""
        nearest = [np.abs(widths - share * widths[-1]).argmin() for widths in self.legal]
        return np.array(nearest, np.int64)

    def uniform_in_band(self, rng: np.random.Generator) -> Positions:
        """The same share everywhere, moved by single steps into the band, ``(1, G)``; no row where that fails.

        Nor where nothing would be pruned, nor where widths alone do not reach the budget.
        """
        if not self.widths_reach:
            return self.top[None][:0]
        uniform = self.uniform(self.uniform_share())[None]
        rows = self.repair(uniform, self.costs(uniform), np.zeros_like(self.top), rng)[:1]
        return rows[(rows < self.top).any(1)]

    def scale_to_budget(
        self, draws_nG: NDArray[np.float64], floor: Positions, gone_nG: NDArray[np.bool_] | None = None
    ) -> tuple[Positions, NDArray[np.float64]]:
        """Raise each row of uniform draws to its own power so that its cost meets the budget.

        Position = floor + round((top - floor) u^gamma): gamma -> 0 is dense, gamma -> infinity the floor, and
        the cost falls in between, step by step; log gamma is found by secants inside a bracket, four or five
        evaluations of the cost in the mean. The groups ``gone_nG`` are absent whatever was drawn.
        """
        log_u, span = np.log(draws_nG), (self.top - floor).astype(np.float64)
        positions, costs = np.empty(draws_nG.shape, np.int64), np.empty(len(draws_nG))
        dense = float(self.costs(self.top[None])[0])
        todo, root = np.arange(len(draws_nG)), SecantRoot(len(draws_nG), slope=0.3 * (dense - self.budget.nothing))
        for _ in range(_EVALUATIONS):
            shares = np.exp(np.exp(root.x)[:, None] * log_u[todo])
            positions[todo] = floor + np.rint(shares * span).astype(np.int64)
            if gone_nG is not None:
                positions[todo] = np.where(gone_nG[todo], ABSENT, positions[todo])
            costs[todo] = self.costs(positions[todo])
            outside = ~self.budget.holds(costs[todo])
            root.step(costs[todo] - self.budget.target)
            root.keep(outside)
            todo = todo[outside]
            if not len(todo):
                break
        return positions, costs

    def repair(
        self, positions: Positions, costs: NDArray[np.float64], floor: Positions, rng: np.random.Generator
    ) -> Positions:
        """Single steps towards the band for the rows outside it; returns the rows that got inside.

        Each round every row takes, of the G possible steps towards the budget, one that lands in the band, else
        the one that lands closest, else (stuck between two steps) a random step. Gives up after a few rounds.
        """
        inside = [positions[self.budget.holds(costs)]]
        rows, costs = positions[~self.budget.holds(costs)], costs[~self.budget.holds(costs)]
        for _ in range(_REPAIRS):
            if not len(rows):
                break
            rows = self._step(rows, costs, floor, rng)
            costs = self.costs(rows)
            held = self.budget.holds(costs)
            inside.append(rows[held])
            rows, costs = rows[~held], costs[~held]
        return np.concatenate(inside)

    def _step(
        self, rows: Positions, costs: NDArray[np.float64], floor: Positions, rng: np.random.Generator
    ) -> Positions:
        """One step for each row, see :meth:`repair`."""
        num_rows, num_groups = rows.shape
        direction = np.where(costs > self.budget.target, -1, 1)
        eye = np.eye(num_groups, dtype=np.int64)
        steps: Positions = direction[:, None, None] * eye
        moved = self._within(rows[:, None] + steps, floor, rows[:, None])
        gaps = np.abs(self.costs(moved.reshape(-1, num_groups)).reshape(num_rows, num_groups) - self.budget.target)
        width = (self.budget.high - self.budget.low) / 2
        choice = (np.maximum(gaps, width) * rng.uniform(1, 1.05, gaps.shape)).argmin(1)
        stuck = gaps[np.arange(num_rows), choice] >= np.abs(costs - self.budget.target)
        kicks: Positions = rows + rng.integers(-1, 2, rows.shape)
        best = moved[np.arange(num_rows), choice]
        stepped: Positions = np.where(stuck[:, None], self._within(kicks, floor, rows), best)
        return stepped

    def _within(self, stepped: Positions, floor: Positions, rows: Positions) -> Positions:
        """Positions between floor and top; what is absent in ``rows`` stays so."""
        return np.where(rows == ABSENT, ABSENT, np.clip(stepped, floor, self.top))

    @cached_property
    def _blocks(self) -> BlockTable:
        return BlockTable(self.space.blocks, len(self.top))

    @cached_property
    def _gone(self) -> NDArray[np.bool_]:
        """The groups of as many residual blocks as the budget leaves out of wide ones, those that save most first.

        None where widths alone reach the budget.
        """
        gone_G = np.zeros(len(self.top), dtype=bool)
        if self.widths_reach:
            return gone_G
        members_BG = self._blocks.members
        for block in np.argsort(self.costs(np.where(members_BG, ABSENT, 0)), kind="stable"):
            further_G = gone_G | members_BG[block]
            if self.costs(np.where(further_G, ABSENT, self.top)[None])[0] >= self.budget.low:
                gone_G = further_G
        return gone_G

    def _shortened(self, positions: Positions) -> Positions:
        """The positions; where widths alone do not reach the budget, without as many residual blocks as may go."""
        return np.where(self._gone, ABSENT, positions)

    def _uniform_cost(self, share: float) -> float:
        return float(self.costs(self._shortened(self.uniform(share))[None])[0])
