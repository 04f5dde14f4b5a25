"""The search space of a network: its coupled channel groups, their legal widths, and what they cost."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from math import lcm
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from eyas.errors import CheckpointError, PlanError
from eyas.pruning.cost import Cost, CostModel, Costs
from eyas.pruning.groups import ChannelGroup, FrozenGroup, Ints, Layout, Member
from eyas.pruning.plan import PruningPlan, canonical_json

if TYPE_CHECKING:
    from eyas.pruning.criteria import Criterion

__all__ = ["ChannelGroup", "FrozenGroup", "Layout", "Member", "Planner", "SearchSpace"]

Widths = Mapping[str, int] | Sequence[int] | NDArray[np.int64]


class SearchSpace:
    """All that a network can be pruned to. Made by :func:`eyas.trace`."""

    def __init__(
        self,
        model: nn.Module,
        groups: tuple[ChannelGroup, ...],
        frozen: tuple[FrozenGroup, ...],
        layout: Layout,
        costs: CostModel,
        *,
        example: tuple[tuple[Any, ...], dict[str, Any]],
        round_to: int = 1,
        min_width: int = 1,
    ) -> None:
        self.model, self.groups, self.frozen = model, groups, frozen
        self.layout, self.example = layout, example
        self.round_to, self.min_width = round_to, min_width
        self._costs = costs
        self._index = {group.name: number for number, group in enumerate(groups)}
        self._steps = np.array([group.step for group in groups], dtype=np.int64)
        self._floors = np.array([max(group.floor, 1) for group in groups], dtype=np.int64)
        self._dense = np.array([group.channels for group in groups], dtype=np.int64)

    def __repr__(self) -> str:
        return f"SearchSpace({type(self.model).__name__}: {len(self.groups)} groups, {len(self.frozen)} frozen)"

    @property
    def widths(self) -> dict[str, int]:
        """The dense width of every group."""
        return {group.name: group.channels for group in self.groups}

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over groups and shapes: equal for models of one architecture."""
        content = {
            "groups": [[g.name, g.channels, g.step, list(g.layers)] for g in self.groups],
            "shapes": {name: list(shape) for name, shape in self.layout.shapes.items()},
        }
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()

    def group(self, name: str) -> ChannelGroup:
        """A group by name.

        Raises:
            PlanError: there is none of this name.
        """
        if name not in self._index:
            msg = f"no group {name!r}; groups are: {', '.join(self._index)}"
            raise PlanError(msg)
        return self.groups[self._index[name]]

    def legal_widths(self, group: ChannelGroup | str) -> Ints:
        """Widths a group may take, ascending: multiples of step and ``round_to``, at least ``min_width``.

        The dense width is always legal.
        """
        group = self.group(group) if isinstance(group, str) else group
        multiple = lcm(group.step, self.round_to)
        widths = np.arange(multiple, group.channels, multiple, dtype=np.int64)
        return np.append(widths[widths >= max(self.min_width, group.floor)], group.channels)

    def vector(self, widths: Widths | None) -> Ints:
        """Widths as a vector in the order of the groups, checked; groups left out keep their dense width.

        Raises:
            PlanError: unknown group, wrong length, or a width that is not legal.
        """
        vector = self._as_vector(widths)
        wrong = (vector < self._floors) | (vector > self._dense) | (vector % self._steps != 0)
        if wrong.any():
            number = int(np.flatnonzero(wrong)[0])
            group = self.groups[number]
            msg = (
                f"group {group.name!r} cannot have {vector[number]} channels: allowed are multiples of "
                f"{group.step} from {max(group.step, group.floor)} to {group.channels}"
            )
            raise PlanError(msg)
        return vector

    def _as_vector(self, widths: Widths | None) -> Ints:
        if widths is None:
            return self._dense.copy()
        if isinstance(widths, Mapping):
            vector = self._dense.copy()
            for name, width in widths.items():
                vector[self._index[self.group(name).name]] = width
            return vector
        vector = np.asarray(widths, dtype=np.int64)
        if vector.shape != self._dense.shape:
            msg = f"{vector.shape} widths given for {len(self.groups)} groups"
            raise PlanError(msg)
        return vector

    def cost(self, widths: Widths | None = None) -> Cost:
        """Cost per image at these widths, of the dense model without; closed form, builds nothing."""
        return self._costs.evaluate((self.vector(widths) // self._steps)[None])[0]

    def costs(self, width_matrix: ArrayLike) -> Costs:
        """Costs of many candidates, ``(num_candidates, num_groups)`` kept channels in the groups' order.

        Raises:
            PlanError: the matrix has another shape, or holds a width that is not legal.
        """
        matrix = np.asarray(width_matrix, dtype=np.int64)
        if matrix.ndim != 2 or matrix.shape[1] != len(self.groups):
            msg = f"a width matrix has shape (candidates, {len(self.groups)}), not {matrix.shape}"
            raise PlanError(msg)
        units = matrix // self._steps if (self._steps > 1).any() else matrix
        if len(matrix) and ((matrix < self._floors) | (matrix > self._dense) | (units * self._steps != matrix)).any():
            for row in matrix:
                self.vector(row)
        return self._costs.evaluate(units)

    def planner(
        self, criterion: "Criterion | None" = None, *, model: nn.Module | None = None, data: Any = None
    ) -> "Planner":
        """A function from widths to plans; importance is computed once, now."""
        return Planner(self, self.ranking(criterion, model=model, data=data))

    def plan(
        self,
        widths: Widths | None = None,
        criterion: "Criterion | None" = None,
        *,
        model: nn.Module | None = None,
        data: Any = None,
    ) -> PruningPlan:
        """The most important channels at these widths (L1 norm without a criterion).

        Raises:
            PlanError: unknown group or illegal width.
        """
        return self.planner(criterion, model=model, data=data)(widths)

    def ranking(
        self, criterion: "Criterion | None" = None, *, model: nn.Module | None = None, data: Any = None
    ) -> tuple[Ints, ...]:
        """Units of each group, the most important first; ties keep the order of the channels."""
        if criterion is None:
            from eyas.pruning.criteria.l1_norm import L1Norm

            criterion = L1Norm()
        model = self.model if model is None else model
        self.check_model(model)
        return tuple(_rank(group, criterion(group, model, data)) for group in self.groups)

    def mask(self, plan: PruningPlan) -> NDArray[np.bool_]:
        """Which units are kept, shape ``(num_units + 1,)``; the last entry stands for what is fixed.

        Raises:
            PlanError: the plan was made for another search space, or keeps a part of a unit.
        """
        if plan.space != self.fingerprint or list(plan.kept) != list(self._index):
            msg = (
                "the plan was made for another search space: another architecture, input shape, ignore, or "
                "version of the tracer; make it again with space.plan(widths)"
            )
            raise PlanError(msg)
        mask = np.zeros(self.layout.offsets[-1] + 1, dtype=bool)
        mask[-1] = True
        for group, start in zip(self.groups, self.layout.offsets[:-1].tolist(), strict=True):
            mask[start : start + group.units] = _kept_units(group, np.array(plan.kept[group.name]))
        return mask

    def slices(self, plan: PruningPlan) -> dict[str, dict[int, Ints]]:
        """``{parameter or buffer name: {dimension: kept indices}}`` of all that becomes smaller."""
        mask = self.mask(plan)
        kept: dict[int, Ints] = {}
        slices: dict[str, dict[int, Ints]] = {}
        for (name, dim), units in self.layout.slots.items():
            if id(units) not in kept:
                kept[id(units)] = np.flatnonzero(mask[units])
            if len(kept[id(units)]) < len(units):
                slices.setdefault(name, {})[dim] = kept[id(units)]
        return slices

    def attributes(self, plan: PruningPlan) -> dict[tuple[str, str], int]:
        """``{(module, attribute): value}`` of the integer attributes that follow the channels."""
        mask = self.mask(plan)
        held = self.layout.attributes.items()
        return {key: int(mask[units].sum()) // divisor for key, (units, divisor) in held}

    def check_model(self, model: nn.Module) -> None:
        """Refuse a model of another architecture.

        Raises:
            CheckpointError: parameters are missing or have other shapes than those that were traced.
        """
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if shapes != self.layout.shapes:
            wrong = [n for n in {**self.layout.shapes, **shapes} if shapes.get(n) != self.layout.shapes.get(n)]
            name = wrong[0]
            msg = (
                f"{type(model).__name__} is not the architecture that was traced: {name} is "
                f"{shapes.get(name, 'missing')}, traced {self.layout.shapes.get(name, 'without it')}"
                f" ({len(wrong)} such tensors); trace this model"
            )
            raise CheckpointError(msg)

    def to_json(self) -> dict[str, Any]:
        """Groups, frozen groups and dense cost as plain data."""
        cost = self.cost()
        return {
            "groups": [
                {"name": g.name, "channels": g.channels, "step": g.step, "layers": list(g.layers)} for g in self.groups
            ],
            "frozen": [
                {"name": f.name, "channels": f.channels, "layers": list(f.layers), "reason": f.reason}
                for f in self.frozen
            ],
            "dense": {"macs": cost.macs, "params": cost.params, "activation_bytes": cost.activation_bytes},
            "round_to": self.round_to,
            "min_width": self.min_width,
            "fingerprint": self.fingerprint,
        }


class Planner:
    """From widths to the plan that keeps the most important channels; made by :meth:`SearchSpace.planner`.

    Args:
        space: the search space of the plans.
        rankings: units of each group, the most important first.
    """

    def __init__(self, space: SearchSpace, rankings: Sequence[Ints]) -> None:
        self.space, self.rankings = space, rankings

    def __call__(self, widths: Widths | None = None) -> PruningPlan:
        """The plan at these widths, of the dense network without."""
        vector = self.space.vector(widths)
        kept = {}
        for group, ranking, width in zip(self.space.groups, self.rankings, vector.tolist(), strict=True):
            keep = np.zeros(group.units, dtype=bool)
            keep[ranking[: width // group.step]] = True
            kept[group.name] = tuple(np.flatnonzero(keep[group.unit_of_channel]).tolist())
        return PruningPlan.model_construct(space=self.space.fingerprint, channels=self.space.widths, kept=kept)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over space and rankings: equal for planners that make equal plans of equal widths."""
        digest = hashlib.sha256(self.space.fingerprint.encode())
        for ranking in self.rankings:
            digest.update(np.asarray(ranking, np.int64).tobytes())
        return digest.hexdigest()


def _rank(group: ChannelGroup, importance: torch.Tensor) -> Ints:
    """Units by falling mean importance of their channels."""
    values_C = importance.detach().to("cpu", torch.float64).numpy()
    if values_C.shape != (group.channels,) or not np.isfinite(values_C).all():
        msg = (
            f"the criterion must give {group.channels} finite numbers for group {group.name!r}, "
            f"it gave shape {values_C.shape}"
        )
        raise PlanError(msg)
    per_unit = np.bincount(group.unit_of_channel, weights=values_C, minlength=group.units)
    return np.argsort(-per_unit, kind="stable")


def _kept_units(group: ChannelGroup, channels: Ints) -> NDArray[np.bool_]:
    """Which units the kept channels make up."""
    if len(channels) and (channels[0] < 0 or channels[-1] >= group.channels):
        msg = f"group {group.name!r} has channels 0 to {group.channels - 1}, the plan keeps {channels[-1]}"
        raise PlanError(msg)
    counts = np.bincount(group.unit_of_channel[channels], minlength=group.units)
    if ((counts != 0) & (counts != group.step)).any() or not counts.any():
        msg = f"group {group.name!r}: the plan keeps a part of a unit of {group.step} channels, or nothing"
        raise PlanError(msg)
    return np.equal(counts, group.step)
