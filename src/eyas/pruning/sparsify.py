"""A network's weights made sparse by a pattern: which layers have it, which stay dense and why."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from eyas.errors import ParameterError
from eyas.pruning.rearrangement import rearrange_filters
from eyas.pruning.sparsity import Sparsity
from eyas.pruning.sparsity.one_by_n import OneByN

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace

_log = logging.getLogger(__name__)
_LAYERS = (nn.modules.conv._ConvNd, nn.Linear)
_FIRST = "it reads the images"
_SHOWN = 3
_USUAL = 0.5
"""Share of a network's weights in layers that have the pattern; with less there is a warning."""


@dataclass(frozen=True)
class SparseLayers:
    """The layers of one network that a pattern is for."""

    weights: dict[str, nn.Parameter] = field(repr=False)
    """Their weights, by the names of these parameters."""
    dense: dict[str, str]
    """Layers that stay dense, and why."""

    @classmethod
    def choose(cls, model: nn.Module, sparsity: Sparsity) -> "SparseLayers":
        """All layers that can have the pattern, but the first, which reads the images.

        Raises:
            ParameterError: there is none.
        """
        weights: dict[str, nn.Parameter] = {}
        dense: dict[str, str] = {}
        layers = [(name, module) for name, module in model.named_modules() if isinstance(module, _LAYERS)]
        for number, (name, layer) in enumerate(layers):
            ignored = any(fnmatchcase(name, pattern) for pattern in sparsity.ignore)
            reason = "ignored" if ignored else _FIRST if number == 0 else sparsity.refusal(layer)
            weight = layer._parameters.get("weight")
            if reason is None and weight is not None:
                weights[f"{name}.weight".removeprefix(".")] = weight
            else:
                dense[name] = str(reason)
        if not weights:
            why = "; ".join(f"{name}: {reason}" for name, reason in list(dense.items())[:_SHOWN])
            raise ParameterError(f"`sparsity` {sparsity.kind} fits no layer of this network ({why})")
        count = sum(weight.numel() for weight in weights.values())
        if not round(sparsity.share * count):
            raise ParameterError(
                f"`sparsity` {sparsity.kind} takes none of {count} weights: a larger share makes zeros"
            )
        unmatched = [p for p in sparsity.ignore if not any(fnmatchcase(name, p) for name, _ in layers)]
        if unmatched:
            names = ", ".join(name for name, _ in layers)
            raise ParameterError(f"`sparsity` ignores {unmatched[0]!r}, which is no layer; layers are: {names}")
        return cls(weights, dense)

    def log(self, model: nn.Module) -> None:
        """Tell how many layers stay dense, and why the first of them; warn where most weights do."""
        why = "; ".join(f"{name}: {reason}" for name, reason in list(self.dense.items())[:_SHOWN])
        more = f" and {len(self.dense) - _SHOWN} more" if len(self.dense) > _SHOWN else ""
        total = sum(module.weight.numel() for module in model.modules() if isinstance(module, _LAYERS))
        share = sum(weight.numel() for weight in self.weights.values()) / total
        _log.log(
            logging.INFO if share >= _USUAL else logging.WARNING,
            "sparsity: %d layers with %.0f %% of the weights; %d stay dense (%s%s)",
            len(self.weights), 100 * share, len(self.dense), why, more,
        )  # fmt: skip


def sparsify(
    model: nn.Module, sparsity: Sparsity | str | Mapping[str, Any], *, space: "SearchSpace | None" = None
) -> dict[str, Tensor]:
    """Set the weights that a pattern takes to zero, in place.

    A training that keeps them at zero: ``eyas.training.train(..., sparse=eyas.training.SparseTraining(...))``.

    Args:
        model: any network; batch-norm statistics are best re-estimated afterwards (:func:`eyas.recalibrate`).
        sparsity: the pattern, its kind, or a mapping with ``kind`` and its options.
        space: the search space of ``model``, for patterns that sort filters first; without it they keep their order.

    Returns:
        masks by parameter, truth values of its shape, False where a weight is zero now.

    Raises:
        ParameterError: no layer can have the pattern; says why.
    """
    sparsity = Sparsity.parse(sparsity)
    prepare_sparsity(model, sparsity, space)
    layers = SparseLayers.choose(model, sparsity)
    masks = sparsity.masks(layers.weights)
    apply_masks(layers.weights, masks)
    layers.log(model)
    return masks


def prepare_sparsity(model: nn.Module, sparsity: Sparsity, space: "SearchSpace | None") -> tuple[str, ...]:
    """Sort filters where the pattern asks for it and the search space is known; which groups were sorted."""
    if space is None or not isinstance(sparsity, OneByN) or not sparsity.rearrange:
        return ()
    return rearrange_filters(model, space, frozenset(SparseLayers.choose(model, sparsity).weights))


@torch.no_grad()
def apply_masks(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Zero what is masked, in place; an infinity or a NaN there as well."""
    for name, mask in masks.items():
        weights[name].masked_fill_(~mask, 0.0)
