"""Mask parity: a sliced network computes what the dense one computes with the removed channels unread.

Zeroing what makes a channel is not enough (batch-norm turns zero into its shift), so the dense network is
masked at the readers: every consumer's weights on removed channels are zero.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from eyas.errors import ParityError
from eyas.pruning.surgery import Slices, prune, rebuild, uncompiled

if TYPE_CHECKING:
    from eyas.pruning.plan import PruningPlan
    from eyas.pruning.space import SearchSpace


SMALLEST = 1e-6
"""Outputs that stay below this are compared as if they were this large: what is zero but for rounding."""


@dataclass(frozen=True)
class Parity:
    """How far two networks' outputs are apart."""

    max_absolute: float
    """Largest difference of any two entries."""
    max_relative: float
    """That difference over the largest absolute entry of the masked network's outputs."""
    outputs: int
    """Number of output tensors compared."""

    def require(self, tolerance: float = 1e-5) -> "Parity":
        """This result, if the relative difference is within ``tolerance``.

        Raises:
            ParityError: it is not.
        """
        if not self.max_relative <= tolerance:
            msg = (
                f"the sliced network differs from the masked one by {self.max_relative:.2e} (relative), "
                f"allowed {tolerance:.2e}; please report the network"
            )
            raise ParityError(msg)
        return self


def check_parity(
    model: nn.Module,
    space: "SearchSpace",
    plan: "PruningPlan",
    inputs: tuple[Any, ...] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    dtype: torch.dtype | None = None,
    seed: int = 0,
) -> Parity:
    """Compare the sliced with the masked network in eval mode.

    Args:
        model: the dense network; not changed.
        space: its search space.
        plan: what to keep.
        inputs: positional inputs; without them random ones shaped like the example inputs.
        kwargs: keyword inputs.
        dtype: compute in another precision, such as ``torch.float64``.
        seed: of the random inputs.
    """
    model = uncompiled(model)
    if inputs is None:
        inputs, kwargs = random_like(space.example, seed)
    sliced = prune(model, space, plan)
    masked = mask_consumers(model, space, space.slices(plan))
    return compare(masked, sliced, inputs, dict(kwargs or {}), dtype)


def compare(
    masked: nn.Module, sliced: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any], dtype: torch.dtype | None
) -> Parity:
    """Run two networks on the same inputs in eval mode; both may be changed (mode, precision)."""
    if dtype is not None:
        masked, sliced = masked.to(dtype), sliced.to(dtype)
        inputs, kwargs = pytree.tree_map(lambda item: _cast(item, dtype), (inputs, kwargs))
    with torch.no_grad():
        actual = list(_tensors(sliced.eval()(*inputs, **kwargs)))
        expected = list(_tensors(masked.eval()(*inputs, **kwargs)))
    if [t.shape for t in expected] != [t.shape for t in actual]:
        msg = f"outputs have shapes {[tuple(t.shape) for t in actual]}, expected {[tuple(t.shape) for t in expected]}"
        raise ParityError(msg)
    absolute = [_largest(a.double() - b.double()) for a, b in zip(actual, expected, strict=True)]
    scale = [_largest(b.double()) for b in expected]
    relative = [a / max(s, SMALLEST) for a, s in zip(absolute, scale, strict=True)]
    return Parity(max(absolute, default=0.0), max(relative, default=0.0), len(expected))


def mask_consumers(model: nn.Module, space: "SearchSpace", slices: Slices, *, share: bool = False) -> nn.Module:
    """A dense copy of ``model`` whose consumers do not read the channels that ``slices`` remove.

    With ``share``, tensors that are not masked are the original's own.
    """
    readers: dict[str, list[int]] = {}
    for group in space.groups:
        for member in group.members:
            if member.role == "in" and member.dim in slices.get(member.parameter, {}):
                readers.setdefault(member.parameter, []).append(member.dim)
    masked = {id(parameter) for name, parameter in model.named_parameters() if name in readers}

    def take(tensor: Tensor) -> Tensor:
        if share and id(tensor) not in masked:
            return tensor
        return _copy(tensor) if isinstance(tensor, nn.Parameter) else tensor.clone()

    copied = rebuild(model, take)
    with torch.no_grad():
        for name, parameter in copied.named_parameters():
            for dim in set(readers.get(name, [])):
                mask = torch.zeros(parameter.shape[dim], dtype=torch.bool)
                mask[torch.from_numpy(slices[name][dim])] = True
                removed = torch.nonzero(~mask).ravel().to(parameter.device)
                parameter.index_fill_(dim, removed, 0)
    return copied


def random_like(example: tuple[tuple[Any, ...], dict[str, Any]], seed: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Random inputs shaped like the example's; integer and boolean inputs stay as they are."""
    generator = torch.Generator().manual_seed(seed)

    def draw(item: Any) -> Any:
        if isinstance(item, Tensor) and item.is_floating_point():
            return torch.randn(item.shape, generator=generator).to(item)
        return item

    return pytree.tree_map(draw, example)  # type: ignore[no-any-return]


def _copy(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach().clone(), requires_grad=tensor.requires_grad)


def _cast(item: Any, dtype: torch.dtype) -> Any:
    return item.to(dtype) if isinstance(item, Tensor) and item.is_floating_point() else item


def _tensors(output: Any) -> Iterator[Tensor]:
    """All tensors of nested tuples, lists, dictionaries and objects with attributes."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for item in output.values():
            yield from _tensors(item)
    elif isinstance(output, (list, tuple)):
        for item in output:
            yield from _tensors(item)


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0
