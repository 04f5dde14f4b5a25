"""From widths to plans: the most important channels of every group are kept."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from eyas.data.image_tensors import as_images, check_finite
from eyas.errors import PlanError
from eyas.pruning.groups import ChannelGroup, Ints
from eyas.pruning.plan import PruningPlan
from eyas.pruning.tied_channels import warn_of_ties
from eyas.pruning.widths import LegalWidths, Widths

if TYPE_CHECKING:
    from eyas.pruning.criteria import Criterion
    from eyas.pruning.space import SearchSpace


class Planner:
    """From widths to the plan that keeps the most important channels; made by ``SearchSpace.planner``.

    Args:
        space: fingerprint of the search space of the plans.
        legal: its groups and their widths.
        rankings: units of each group, the most important first.
    """

    def __init__(self, space: str, legal: LegalWidths, rankings: Sequence[Ints]) -> None:
        self.space, self.legal, self.rankings = space, legal, rankings

    def __call__(self, widths: Widths | None = None) -> PruningPlan:
        """The plan at these widths, of the dense network without."""
        vector = self.legal.vector(widths)
        kept = {}
        for group, ranking, width in zip(self.legal.groups, self.rankings, vector.tolist(), strict=True):
            keep = np.zeros(group.units, dtype=bool)
            keep[ranking[: width // group.step]] = True
            kept[group.name] = tuple(np.flatnonzero(keep[group.unit_of_channel]).tolist())
        channels = {group.name: group.channels for group in self.legal.groups}
        return PruningPlan.model_construct(space=self.space, channels=channels, kept=kept)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over space and rankings: equal for planners that make equal plans of equal widths."""
        digest = hashlib.sha256(self.space.encode())
        for ranking in self.rankings:
            digest.update(np.asarray(ranking, np.int64).tobytes())
        return digest.hexdigest()


def rank_all(
    space: "SearchSpace", criterion: "Criterion | str | Mapping[str, Any]", model: nn.Module, data: Any
) -> tuple[Ints, ...]:
    """Units of each group, the most important first; see :meth:`.SearchSpace.ranking`."""
    from eyas.pruning.criteria import Criterion

    chosen = Criterion.parse(criterion)
    if isinstance(data, (torch.Tensor, np.ndarray)):
        data = as_images("data", data)
        check_finite("data", data)
    data = chosen.prepare_groups(space, model, data)
    ratings = [rating(chosen, group, model, data) for group in space.groups]
    rankings = tuple(map(rank, space.groups, ratings))
    warn_of_ties(chosen.kind, space.groups, ratings)
    return rankings


def rating(criterion: "Criterion", group: ChannelGroup, model: nn.Module, data: Any) -> NDArray[np.float64]:
    """What a criterion gives to the channels of a group, ``(channels,)``.

    Raises:
        PlanError: it is not one finite number per channel.
    """
    importance = criterion(group, model, data)
    what = f"a {type(importance).__name__}"
    if isinstance(importance, torch.Tensor):
        values_C: NDArray[np.float64] = importance.detach().to("cpu", torch.float64).numpy()
        if values_C.shape == (group.channels,) and np.isfinite(values_C).all():
            return values_C
        what = "NaN or infinity among them" if values_C.shape == (group.channels,) else f"shape {values_C.shape}"
    msg = (
        f"criterion {criterion.kind or type(criterion).__name__} must give {group.channels} finite numbers for group "
        f"{group.name!r}, as a tensor; it gave {what}"
    )
    raise PlanError(msg)


def rank(group: ChannelGroup, rating_C: NDArray[np.float64]) -> Ints:
    """Units by falling mean importance of their channels; ties keep the order of the channels."""
    per_unit = np.bincount(group.unit_of_channel, weights=rating_C, minlength=group.units)
    return np.argsort(-per_unit, kind="stable")


def kept_units(group: ChannelGroup, channels: Ints) -> NDArray[np.bool_]:
    """Which units the kept channels make up, ``(units,)``.

    Raises:
        PlanError: a channel that the group does not have, or a part of a unit, is kept.
    """
    if len(channels) and (channels[0] < 0 or channels[-1] >= group.channels):
        msg = f"group {group.name!r} has channels 0 to {group.channels - 1}, the plan keeps {channels[-1]}"
        raise PlanError(msg)
    counts = np.bincount(group.unit_of_channel[channels], minlength=group.units)
    if ((counts != 0) & (counts != group.step)).any():
        msg = f"group {group.name!r}: the plan keeps a part of a unit of {group.step} channels"
        raise PlanError(msg)
    return np.equal(counts, group.step)
