"""The search space of a network: its coupled channel groups, their legal widths, and what they cost."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from eyas.errors import CheckpointError, PlanError
from eyas.pruning import space_json
from eyas.pruning.cost import Cost, CostModel, Costs
from eyas.pruning.dropped_layers import is_below
from eyas.pruning.groups import ChannelGroup, FrozenGroup, Ints, Layout
from eyas.pruning.model_digests import code_digest, modules_digest
from eyas.pruning.plan import PruningPlan, canonical_json
from eyas.pruning.planner import Planner, kept_units, rank_all
from eyas.pruning.residual_block import ResidualBlock, blocks_from_json, blocks_to_json
from eyas.pruning.widths import LegalWidths, RoundTo, Widths, parse_round_to

if TYPE_CHECKING:
    from eyas.pruning.criteria import Criterion


class SearchSpace:
    """All that a network can be pruned to. Made by :func:`eyas.trace`, or by :meth:`from_json`."""

    def __init__(
        self,
        model: nn.Module,
        groups: tuple[ChannelGroup, ...],
        frozen: tuple[FrozenGroup, ...],
        layout: Layout,
        costs: CostModel,
        *,
        example: space_json.Example,
        round_to: RoundTo = 1,
        min_width: int = 1,
        blocks: tuple[ResidualBlock, ...] = (),
    ) -> None:
        self.model, self.groups, self.frozen = model, groups, frozen
        self.layout, self.example = layout, example
        self.round_to, self.min_width = round_to, min_width
        self.constants: tuple[torch.Tensor, ...] = ()
        """Tensors that the forward code reads and that no state dict holds; known where the space was traced."""
        self.cost_model, self.legal = costs, LegalWidths(groups, round_to, min_width, blocks)

    def __repr__(self) -> str:
        return f"SearchSpace({type(self.model).__name__}: {len(self.groups)} groups, {len(self.frozen)} frozen)"

    @property
    def blocks(self) -> tuple[ResidualBlock, ...]:
        """Residual blocks that may be left out, in order of execution; none where depth is not searched."""
        return self.legal.blocks

    @property
    def widths(self) -> dict[str, int]:
        """The dense width of every group."""
        return {group.name: group.channels for group in self.groups}

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over groups and shapes: equal for models of one architecture, whether depth is searched or not."""
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
        return self.legal.group(name)

    def legal_widths(self, group: ChannelGroup | str) -> Ints:
        """Widths that are proposed for a group, ascending: multiples of step and ``round_to``, at least ``min_width``.

        The dense width is always among them; :meth:`plan` takes any multiple of the step.
        """
        return self.legal.of(self.group(group) if isinstance(group, str) else group)

    def rounded(self, round_to: RoundTo | Literal["auto"]) -> Self:
        """This space with widths that are multiples of other numbers, as :func:`eyas.trace` takes them.

        Raises:
            ParameterError: a number is no whole one from 1 on, or a name is no group's.
        """
        round_to = parse_round_to(round_to, self.groups)
        space = type(self)(
            self.model, self.groups, self.frozen, self.layout, self.cost_model,
            example=self.example, round_to=round_to, min_width=self.min_width, blocks=self.blocks,
        )  # fmt: skip
        space.constants = self.constants
        return space

    def vector(self, widths: Widths | None) -> Ints:
        """Widths as a vector in the order of the groups, checked; groups left out keep their dense width.

        Raises:
            PlanError: unknown group, wrong length, or a width that is not legal.
        """
        return self.legal.vector(widths)

    def cost(self, widths: Widths | None = None) -> Cost:
        """Cost per image at these widths, of the dense model without; closed form, builds nothing."""
        return self.cost_model.evaluate((self.vector(widths) // self.legal.steps)[None])[0]

    def costs(self, width_matrix: ArrayLike) -> Costs:
        """Costs of many candidates, ``(num_candidates, num_groups)`` kept channels in the groups' order.

        Raises:
            PlanError: the matrix has another shape, or holds a width that is not legal.
        """
        return self.cost_model.evaluate(self.legal.units(width_matrix))

    def planner(
        self,
        criterion: "Criterion | str | Mapping[str, Any] | None" = None,
        *,
        model: nn.Module | None = None,
        data: Any = None,
    ) -> Planner:
        """A function from widths to plans; importance is computed once, now."""
        return Planner(self.fingerprint, self.legal, self.ranking(criterion, model=model, data=data))

    def plan(
        self,
        widths: Widths | None = None,
        criterion: "Criterion | str | Mapping[str, Any] | None" = None,
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
        self,
        criterion: "Criterion | str | Mapping[str, Any] | None" = None,
        *,
        model: nn.Module | None = None,
        data: Any = None,
    ) -> tuple[Ints, ...]:
        """Units of each group, the most important first; ties keep the order of the channels.

        ``criterion`` is a member, its kind, or a mapping with ``kind`` and options; ``data`` are normalised images
        ``(N, C, H, W)`` for those that look at any; with labels, a :class:`.CalibrationSet`.

        Raises:
            DataError: the criterion lacks what it reads.
            ParameterError: there is no such criterion, or it takes no such options.
        """
        model = self.model if model is None else model
        self.check_model(model)
        return rank_all(self, "l1_norm" if criterion is None else criterion, model, data)

    def mask(self, plan: PruningPlan) -> NDArray[np.bool_]:
        """Which units are kept, shape ``(num_units + 1,)``; the last entry stands for what is fixed.

        Raises:
            PlanError: the plan was made for another search space, or keeps a part of a unit.
        """
        if plan.space != self.fingerprint or list(plan.kept) != list(self.widths):
            msg = (
                "the plan was made for another search space: another architecture, input shape, ignored layers, or "
                "version of the tracer; make it again with space.plan(widths)"
            )
            raise PlanError(msg)
        if not all(plan.kept.values()):
            self.vector(plan.widths)  # a group is 0 wide with a whole block
        mask = np.zeros(self.layout.offsets[-1] + 1, dtype=bool)
        mask[-1] = True
        for group, start in zip(self.groups, self.layout.offsets[:-1].tolist(), strict=True):
            mask[start : start + group.units] = kept_units(group, np.array(plan.kept[group.name], dtype=np.int64))
        return mask

    def dropped(self, plan: PruningPlan) -> tuple[ResidualBlock, ...]:
        """The residual blocks that a plan leaves out."""
        names = list(self.widths)
        return tuple(block for block in self.blocks if not plan.kept[names[block.own[0]]])

    def removed(self, plan: PruningPlan) -> frozenset[str]:
        """Parameters and buffers that go with the blocks that a plan leaves out."""
        return frozenset(name for block in self.dropped(plan) for name in block.tensors)

    def slices(self, plan: PruningPlan) -> dict[str, dict[int, Ints]]:
        """``{parameter or buffer name: {dimension: kept indices}}`` of all that becomes smaller and stays."""
        mask, removed = self.mask(plan), self.removed(plan)
        kept: dict[int, Ints] = {}
        slices: dict[str, dict[int, Ints]] = {}
        for (name, dim), units in self.layout.slots.items():
            if id(units) not in kept:
                kept[id(units)] = np.flatnonzero(mask[units])
            if len(kept[id(units)]) < len(units) and name not in removed:
                slices.setdefault(name, {})[dim] = kept[id(units)]
        return slices

    def attributes(self, plan: PruningPlan) -> dict[tuple[str, str], int]:
        """``{(module, attribute): value}`` of the integer attributes that follow the channels."""
        mask = self.mask(plan)
        gone = [layer for block in self.dropped(plan) for layer in block.layers]
        held = self.layout.attributes.items()
        return {key: int(mask[units].sum()) // divisor for key, (units, divisor) in held if not is_below(key[0], gone)}

    def check_model(self, model: nn.Module) -> None:
        """Refuse a model of another architecture.

        Raises:
            CheckpointError: parameters are missing or have other shapes than those that were traced.
        """
        if "_orig_mod" in model._modules:
            msg = "the network is compiled: pass the one that `torch.compile` was given, `model._orig_mod`"
            raise CheckpointError(msg)
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
        """All that the space is but the network's weights, as plain data with a digest.

        Raises:
            ParameterError: the example inputs hold what JSON cannot.
        """
        content = {
            "groups": space_json.groups_to_json(self.groups),
            "frozen": space_json.frozen_to_json(self.frozen),
            "layout": space_json.layout_to_json(self.layout),
            "costs": self.cost_model.to_json(),
            "dense": asdict(self.cost()),
            "example": space_json.example_to_json(self.example),
            "modules": modules_digest(self.model),
            "code": code_digest(self.model),
            "round_to": self.round_to if isinstance(self.round_to, int) else dict(self.round_to),
            "min_width": self.min_width,
            "fingerprint": self.fingerprint,
        } | ({"blocks": blocks_to_json(self.blocks)} if self.blocks else {})
        return space_json.sealed(content)

    @classmethod
    def from_json(cls, model: nn.Module, content: Mapping[str, Any] | str | bytes) -> Self:
        """The space that :meth:`to_json` wrote, without tracing; gives the same answers to every question.

        Args:
            model: the dense network it was traced from, or one of its architecture, with any weights.
            content: what ``to_json`` gave, or its text.

        Raises:
            PlanError: no search space, one that was changed, or one of another version.
            CheckpointError: ``model`` is of another architecture.
        """
        content = space_json.unsealed(content)
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        with space_json.malformed_is_told():
            layout = space_json.layout_from_json(content["layout"])
            groups = space_json.groups_from_json(content["groups"], layout)
            space = cls(
                model,
                groups,
                space_json.frozen_from_json(content["frozen"]),
                layout,
                CostModel.from_json(content["costs"], len(groups)),
                example=space_json.example_from_json(content["example"], device),
                round_to=content["round_to"],
                min_width=content["min_width"],
                blocks=blocks_from_json(content.get("blocks", ())),
            )
            expected = content["modules"], content["code"]
        space.check_model(model)
        if modules_digest(model) != expected[0]:
            msg = (
                f"{type(model).__name__} has the shapes that were traced, but other layers, or layers with other "
                "strides, paddings, sizes or options: trace this model"
            )
            raise CheckpointError(msg)
        if code_digest(model) != expected[1]:
            msg = (
                f"{type(model).__name__} has the layers that were traced, but other code, which may connect them in "
                "another way: trace this model"
            )
            raise CheckpointError(msg)
        return space
