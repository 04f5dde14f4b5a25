"""``eyas.refit``: the layers that read pruned channels, fitted in closed form to what the dense network makes.

One pass of the dense network says what every such layer should make. One pass of the pruned one, all images in a
single batch whose statistics batch-norm takes, meets the layers in order of execution and fits each on the spot.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from eyas.calibration.batchnorm import batch_statistics
from eyas.calibration.recalibrate import like_weights
from eyas.data.image_tensors import normalised_images
from eyas.errors import CheckpointError, DataError
from eyas.pruning.surgery import Slices
from eyas.recovery.base import Recovery
from eyas.recovery.dense_targets import DenseTargets
from eyas.recovery.fit_in_order import FitInOrder, FitReport, recalibrated_answer
from eyas.recovery.weight_transfer import transfer

if TYPE_CHECKING:
    from eyas.pruning.plan import PruningPlan
    from eyas.pruning.space import SearchSpace

_log = logging.getLogger(__name__)
_SHOWN = 3
_TWICE = "its weight is read along two dimensions"
_UNCALLED = "no layer was called with it as its weight"
_OTHERWISE = "something else than a layer's output is computed from it, too"
_UNDONE = "undone: the answers were led away from the dense network's"
_GROUPED = "a grouped convolution loses its inputs with its outputs: what it still makes, it makes of what it did"


@dataclass
class RefitReport(FitReport):
    """What a refit did."""

    error_before: float = 0.0
    """Squared error of the network's answers on held-out images, relative to the dense network's, recalibrated only."""
    error_after: float = 0.0
    """The same after the refit."""

    @property
    def undone(self) -> list[str]:
        """Layers that were fitted and put back."""
        return [name.removesuffix(".weight") for name, why in self.left.items() if why == _UNDONE]


def refit(
    model: nn.Module,
    small: nn.Module,
    space: "SearchSpace",
    plan: "PruningPlan",
    images: Tensor,
    *,
    recovery: Recovery | str | Mapping[str, Any] = "least_squares",
    targets: DenseTargets | None = None,
) -> RefitReport:
    """Refit a pruned network in place, without labels or training; batch-norm statistics become those of ``images``.

    Where its answers on held-out images are further from the dense network's than before, all weights are put back,
    and a warning says so.

    Args:
        model: the dense network; not touched.
        small: what ``eyas.prune(model, space, plan)`` gave, on any device.
        space: the search space.
        plan: what ``small`` keeps.
        images: normalised floats ``(N, C, H, W)``, a tensor or an array, faster channels-last; the first
            ``recovery.images`` of them count.
        recovery: who says what a layer's weights become.
        targets: what :meth:`DenseTargets.record` gave with the same images and recovery, where many networks are
            refitted; made here without it.

    Raises:
        CheckpointError: ``model`` is of another architecture, or ``small`` is not what ``plan`` keeps.
        PlanError: the plan belongs to another search space.
        DataError: there are fewer than two images, or they are no normalised floats, or not finite.
        ParameterError: there is no such recovery, or it gives something else than a change of the weights.

    Example::

        small = eyas.prune(model, space, plan)
        eyas.refit(model, small, space, plan, images)
        eyas.recalibrate(small, calibration_images)
    """
    images = normalised_images("images", images)
    report = refit_silently(model, small, space, plan, images, recovery=recovery, targets=targets)
    if report.undone:
        _log.warning("%s", undone_words(report.undone))
    return report


def undone_words(layers: Sequence[str], where: str = "") -> str:
    """That refits were undone, and what to do.

    Args:
        layers: that keep their weights.
        where: in which of several networks.
    """
    shown = ", ".join(layers[:_SHOWN]) + (f" and {len(layers) - _SHOWN} more" if len(layers) > _SHOWN else "")
    return (
        f"the refit of {shown} is undone{where}: on held-out images it led the answers away from the dense network's; "
        "give more calibration images (64 or more), or refit nothing"
    )


def refit_silently(
    model: nn.Module,
    small: nn.Module,
    space: "SearchSpace",
    plan: "PruningPlan",
    images: Tensor,
    *,
    recovery: Recovery | str | Mapping[str, Any] = "least_squares",
    targets: DenseTargets | None = None,
) -> RefitReport:
    """:func:`refit` for whoever refits many networks: the report alone says what was undone; images are checked."""
    recovery = Recovery.parse(recovery)
    slices = space.slices(plan)
    _check(model, small, space, plan, images)
    readers, left = _readers(space, slices)
    if not readers:
        return RefitReport(left=left)
    images = images[: recovery.images]
    targets = targets or DenseTargets.record(model, images, readers, recovery)
    for name in sorted(readers.keys() & targets.used_otherwise):
        left[name] = _OTHERWISE
        del readers[name]
    calls = {name: outputs for name, outputs in targets.outputs.items() if name in readers}
    wanted = {name: [output.kept(readers[name]) for output in outputs] for name, outputs in calls.items()}
    images = like_weights(small, images)
    kept = {name: weight.detach().clone() for name, weight in small.named_parameters()}
    with torch.no_grad(), batch_statistics(small):
        before = targets.error(small(images))
    transfer(recovery, model, small, space, plan)
    fit = FitInOrder(small, wanted, recovery, targets.normalised)
    after, fitted = targets.error(fit(images)), fit.report
    if not after <= before:
        for name, weight in small.named_parameters():
            weight.data.copy_(kept[name])
        left |= dict.fromkeys(fitted.layers, _UNDONE)
        fitted.layers, after = {}, targets.error(recalibrated_answer(small, images))
    left |= fitted.left | dict.fromkeys(readers.keys() - calls.keys(), _UNCALLED)
    left |= dict.fromkeys(sorted(targets.grouped & slices.keys()), _GROUPED)
    return RefitReport(fitted.layers, left, before, after)


def _readers(space: "SearchSpace", slices: Slices) -> tuple[dict[str, Tensor | None], dict[str, str]]:
    """Weights that lost inputs, each with its kept outputs (None for all); those that cannot be fitted, and why."""
    inputs: dict[str, set[int]] = {}
    for group in space.groups:
        for member in group.members:
            if member.role == "in" and member.dim in slices.get(member.parameter, {}):
                inputs.setdefault(member.parameter, set()).add(member.dim)
    readers: dict[str, Tensor | None] = {}
    left = {name: _TWICE for name, dims in inputs.items() if len(dims) > 1}
    for name, dims in inputs.items():
        if name not in left:
            outputs = slices[name].get(1 - min(dims))
            readers[name] = None if outputs is None else torch.from_numpy(outputs)
    return readers, left


def _check(model: nn.Module, small: nn.Module, space: "SearchSpace", plan: "PruningPlan", images: Tensor) -> None:
    space.check_model(model)
    removed = space.removed(plan)
    sizes = {name: {dim: len(kept) for dim, kept in dims.items()} for name, dims in space.slices(plan).items()}
    expected = {
        name: tuple(sizes.get(name, {}).get(dim, size) for dim, size in enumerate(shape))
        for name, shape in space.layout.shapes.items()
        if name not in removed
    }
    actual = {name: tuple(tensor.shape) for name, tensor in (*small.named_parameters(), *small.named_buffers())}
    wrong = [name for name in {**expected, **actual} if expected.get(name) != actual.get(name)]
    if wrong:
        msg = (
            f"`small` is not what `plan` keeps: {wrong[0]} is {actual.get(wrong[0], 'missing')}, expected "
            f"{expected.get(wrong[0], 'none')}; make it with eyas.prune(model, space, plan)"
        )
        raise CheckpointError(msg)
    if len(images) < 2:
        msg = f"`images` holds {len(images)}: give two at least, better some dozens"
        raise DataError(msg)
    traced = next(iter(space.example[0]), None)
    if isinstance(traced, Tensor) and (images.ndim, images.shape[1]) != (traced.ndim, traced.shape[1]):
        msg = f"`images` is {tuple(images.shape)}, and the network was traced with {tuple(traced.shape)}"
        raise DataError(msg)
