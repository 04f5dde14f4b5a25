"""What training changed, scaled by depth: general early layers keep more of what they were.

N images, C channels, H x W pixels.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from eyas.calibration.batchnorm import evaluation_mode
from eyas.training.blocks import middle_blocks
from eyas.training.evaluation import Evaluation

SHARES = tuple(tenth / 10 for tenth in range(10))
"""What is tried for the share of the update that the first block keeps; 1 is the trained network."""


@dataclass(frozen=True)
class DepthScaled:
    """The best of a trained network and those between it and what it began as."""

    model: nn.Module
    share: float
    """Of the update that the first block keeps; 1 where nothing was scaled."""
    evaluation: Evaluation
    """On what judges."""


def choose_depth_scaling(
    start: nn.Module,
    trained: nn.Module,
    images_NCHW: Tensor,
    *,
    evaluation: Evaluation,
    recalibrate: Callable[[nn.Module], object],
    judge: Callable[[nn.Module], Evaluation],
    shares: Sequence[float] = SHARES,
) -> DepthScaled:
    """LiNeS (Wang et al. 2024, arXiv:2410.17146) for networks with batch-norm: see :func:`scaled_by_depth`.

    Where none is better than ``trained``, that stays.

    Args:
        start: what training began with.
        trained: what it ended with, of the same shape; neither is touched.
        images_NCHW: one is enough: it tells in which order blocks are run.
        evaluation: of ``trained``, by ``judge``.
        recalibrate: re-estimates a network's batch-norm statistics in place.
        judge: on held-out images.
        shares: to try.
    """
    levels, best = depth_levels(trained, images_NCHW), DepthScaled(trained, 1.0, evaluation)
    for share in shares:
        model = scaled_by_depth(start, trained, levels, share)
        recalibrate(model)
        judged = judge(model)
        if judged.better_than(best.evaluation):
            best = DepthScaled(model, share, judged)
    return best


def scaled_by_depth(start: nn.Module, trained: nn.Module, levels: dict[str, float], share: float) -> nn.Module:
    r"""A new network between two, its statistics still to be re-estimated.

    .. math:: \theta = \theta_0 + s(l) (\theta_{ft} - \theta_0), \quad s(l) = a + (1 - a) \frac{l}{L - 1}

    Args:
        start: theta_0.
        trained: theta_ft.
        levels: l / (L - 1) of parameters and buffers, as :func:`depth_levels` tells.
        share: a.
    """
    model, before = copy.deepcopy(trained), start.state_dict()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                scale = share + (1 - share) * levels[name]
                tensor.copy_(before[name] + scale * (tensor - before[name]))
    return model


def depth_levels(model: nn.Module, images_NCHW: Tensor) -> dict[str, float]:
    """How deep each parameter and buffer lies: 0 up to the first block, 1 from the last on, evenly in between.

    What stands between two blocks lies where the one before does. Blocks count in the order in which they are run.
    """
    order = _order_of_calls(model, images_NCHW)
    blocks = [[name for name in order if _is_inside(name, block)] for block in middle_blocks(model)]
    blocks = sorted((names for names in blocks if names), key=lambda names: order.index(names[0]))
    last = max((order.index(names[-1]) for names in blocks), default=len(order) - 2)
    by_module, level = {}, 0.0
    for place, name in enumerate(order):
        inside = next((number for number, names in enumerate(blocks) if name in names), None)
        if inside is not None:
            level = inside / max(1, len(blocks) - 1)
        by_module[name] = 1.0 if place > last else level
    tensors = (name for name, _ in chain(model.named_parameters(), model.named_buffers()))
    return {name: by_module.get(name.rpartition(".")[0], 0.0) for name in tensors}


def _is_inside(name: str, block: Sequence[str]) -> bool:
    return any(name == outer or name.startswith(f"{outer}.") for outer in block)


@torch.no_grad()
def _order_of_calls(model: nn.Module, images_NCHW: Tensor) -> list[str]:
    """Names of the modules that hold tensors themselves, by their first call."""
    names: dict[str, None] = {}
    handles = [
        module.register_forward_pre_hook(lambda _module, _input, name=name: names.setdefault(name))
        for name, module in model.named_modules()
        if module._parameters or module._buffers
    ]
    try:
        with evaluation_mode(model):
            model(images_NCHW)
    finally:
        for handle in handles:
            handle.remove()
    return list(names)
