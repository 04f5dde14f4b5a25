"""A plan as a network that can be trained or shipped: pruned, recalibrated, and refitted where that helps."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from eyas.pruning.surgery import prune
from eyas.recovery.base import Recovery
from eyas.recovery.refit import RefitReport, refit

if TYPE_CHECKING:
    from eyas.pruning.plan import PruningPlan
    from eyas.pruning.space import SearchSpace

_log = logging.getLogger(__name__)


def prune_and_refit(
    model: nn.Module,
    space: "SearchSpace",
    plan: "PruningPlan",
    images: Tensor,
    *,
    recovery: Recovery | str | Mapping[str, Any] | None,
    recalibrate: Callable[[nn.Module], object],
    losses: Callable[[Sequence[nn.Module]], Sequence[float]],
    device: torch.device | str = "cpu",
) -> tuple[nn.Module, RefitReport | None]:
    """Prune to ``plan`` and recalibrate; a refit is kept where the loss on held-out images does not rise by it.

    Args:
        model: the dense network; not touched.
        space: its search space.
        plan: what is kept.
        images: normalised floats ``(N, C, H, W)`` that a refit looks at.
        recovery: how layers are refitted; None refits nothing.
        recalibrate: re-estimates a network's batch-norm statistics in place.
        losses: of networks on held-out images.
        device: where the pruned network is to be.

    Returns:
        the network, and what the refit did; None where there was none, or it was not kept.
    """
    small = prune(model, space, plan).to(device)
    recalibrate(small)
    if recovery is None:
        return small, None
    refitted = prune(model, space, plan).to(device)
    report = refit(model, refitted, space, plan, images, recovery=recovery)
    recalibrate(refitted)
    before, after = losses([small, refitted])
    kept = after <= before
    _log.info(
        "%d layers refitted, %d left as they were: held-out loss %.4f, from %.4f%s",
        len(report.layers), len(report.left), after, before, "" if kept else "; the refit is not kept",
    )  # fmt: skip
    return (refitted, report) if kept else (small, None)
