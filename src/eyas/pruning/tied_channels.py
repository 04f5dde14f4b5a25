"""Telling that a criterion rates the channels of whole groups alike, so that nothing but their order decides."""

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eyas.pruning.groups import ChannelGroup

_log = logging.getLogger(__name__)
_SHOWN = 3
_ROUNDING = 1e-12  # of the largest rating: what sums in another order differ by
_INSTEAD = {"weight_activation": "group_norm", "group_norm": "weight_activation"}


def warn_of_ties(kind: str, groups: Sequence[ChannelGroup], ratings: Sequence[NDArray[np.float64]]) -> None:
    """Warn once, with the layers, where all units of a group are rated alike.

    Args:
        kind: of the criterion.
        groups: of the search space.
        ratings: of each group's channels, ``(channels,)``.
    """
    tied = [group.name for group, rating_C in zip(groups, ratings, strict=True) if _are_alike(group, rating_C)]
    if not tied:
        return
    more = f" and {len(tied) - _SHOWN} more groups" if len(tied) > _SHOWN else ""
    _log.warning(
        "criterion %s rates all channels of %s%s alike: the first in order are kept there; take %s",
        kind, ", ".join(tied[:_SHOWN]), more, _INSTEAD.get(kind, "weight_activation, or group_norm without images"),
    )  # fmt: skip


def _are_alike(group: ChannelGroup, rating_C: NDArray[np.float64]) -> bool:
    """Whether more than one unit have one rating, the mean of their channels."""
    if group.units < 2:
        return False
    sum_U = np.bincount(group.unit_of_channel, weights=rating_C)
    return bool(np.ptp(sum_U) <= _ROUNDING * np.abs(sum_U).max())
