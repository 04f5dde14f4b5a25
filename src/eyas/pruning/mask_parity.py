"""Mask parity: a sliced network computes what the dense one computes with the removed channels unread.

Zeroing what makes a channel is not enough (batch-norm turns zero into its shift), so the dense network is
masked at the readers: every consumer's weights on removed channels are zero.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from eyas.errors import ParityError
from eyas.pruning.output_paths import output_leaves
from eyas.pruning.surgery import Slices, prune, rebuild, scratch_copy, uncompiled

if TYPE_CHECKING:
    from eyas.pruning.plan import PruningPlan
    from eyas.pruning.space import SearchSpace


SMALLEST = 1e-6
"""Outputs that stay below this are compared as if they were this large: what is zero but for rounding."""
REPEATABLE = 1e-4
"""Relative difference of two runs of one network that is no randomness, but another order of summation."""
RANDOM = "the forward code draws random numbers in eval mode"
CHANGES = "the forward code changes the buffer {} in eval mode"
Example = tuple[tuple[Any, ...], dict[str, Any]]


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
        seed: of the random inputs; where the network answers them with NaN, the example inputs themselves are used.

    Raises:
        ParityError: the answers hold no floating-point tensor, or the forward code draws random numbers or changes a
            buffer.
    """
    model = uncompiled(model)
    if inputs is None:
        inputs, kwargs = drawn_inputs(model, space.example, seed)
    kwargs = dict(kwargs or {})
    sliced = prune(model, space, plan)
    masked = mask_consumers(model, space, space.slices(plan), space.removed(plan))
    if dtype is not None:
        masked, sliced = masked.to(dtype), sliced.to(dtype)
        inputs, kwargs = in_precision((inputs, kwargs), dtype)
    with torch.random.fork_rng(devices=[]):
        expected = answers(masked, inputs, kwargs)
        if is_random(expected, answers(masked, inputs, kwargs)):
            changed = changed_buffer(masked, inputs, kwargs)
            what, way = (CHANGES.format(changed), "change it") if changed else (RANDOM, "draw")
            msg = f"{what}, so that two networks cannot be compared: {way} only `if self.training`"
            raise ParityError(msg)
        return compare(answers(sliced, inputs, kwargs), expected)


def answers(model: nn.Module, inputs: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """All tensors that a network answers with in eval mode; its mode is set."""
    with torch.no_grad():
        # Detached, for the forward code may turn gradients on again.
        return [tensor.detach() for _, tensor in output_leaves(model.eval()(*inputs, **kwargs))]


def compare(actual: Sequence[Tensor], expected: Sequence[Tensor]) -> Parity:
    """How far answers are apart; integers say too little (a class number agrees by chance) and do not count.

    Raises:
        ParityError: the answers have other shapes, or hold nothing that can be compared.
    """
    if [t.shape for t in expected] != [t.shape for t in actual]:
        msg = f"outputs have shapes {[tuple(t.shape) for t in actual]}, expected {[tuple(t.shape) for t in expected]}"
        raise ParityError(msg)
    pairs = [(_real(a), _real(b)) for a, b in zip(actual, expected, strict=True) if _is_inexact(b)]
    if not any(b.isfinite().any() for _, b in pairs):
        msg = f"nothing to compare: {_nothing(expected)}"
        raise ParityError(msg)
    absolute = torch.tensor([gap(a, b) for a, b in pairs], dtype=torch.float64)
    scale = torch.tensor([largest(b) for _, b in pairs], dtype=torch.float64)
    return Parity(float(absolute.max()), float((absolute / scale.clamp(min=SMALLEST)).max()), len(pairs))


def gap(actual: Tensor, expected: Tensor) -> float:
    """Largest difference; infinite or undefined entries that agree do not differ, others give NaN or infinity."""
    same = (actual == expected) | (actual.isnan() & expected.isnan())
    difference = (actual.double() - expected.double()).abs().masked_fill(same, 0.0)
    return float(difference.max()) if difference.numel() else 0.0


def is_random(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    """Whether two answers of one network to the same inputs differ."""
    pairs = [(_real(a), _real(b)) for a, b in zip(first, second, strict=True) if _is_inexact(a)]
    return any(not gap(a, b) <= REPEATABLE * max(largest(b), SMALLEST) for a, b in pairs)


def changed_buffer(model: nn.Module, inputs: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """The first buffer that another run in eval mode changes; empty where none does. Buffers are changed by it."""
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    answers(model, inputs, kwargs)
    after = model.named_buffers()
    return next((name for name, buffer in after if not buffer.equal(before[name]) and not buffer.isnan().any()), "")


def has_nan(tensors: Sequence[Tensor]) -> bool:
    """Whether an entry is undefined."""
    return any(bool(_real(tensor).isnan().any()) for tensor in tensors if _is_inexact(tensor))


def mask_consumers(
    model: nn.Module,
    space: "SearchSpace",
    slices: Slices,
    removed: Collection[str] = (),
    *,
    share: bool = False,
) -> nn.Module:
    """A dense copy of ``model`` whose consumers do not read the channels that ``slices`` remove.

    Tensors that are ``removed``, with all of a branch, are zero: weights, scales and shifts, so that its output is.

    With ``share``, tensors that are not masked are the original's own.
    """
    readers: dict[str, list[int]] = {}
    for group in space.groups:
        for member in group.members:
            if member.role == "in" and member.dim in slices.get(member.parameter, {}):
                readers.setdefault(member.parameter, []).append(member.dim)
    changed = readers.keys() | set(removed)
    masked = {id(t) for name, t in (*model.named_parameters(), *model.named_buffers()) if name in changed}

    def take(tensor: Tensor) -> Tensor:
        if share and id(tensor) not in masked:
            return tensor
        return _copy(tensor) if isinstance(tensor, nn.Parameter) else tensor.clone()

    copied = rebuild(model, take)
    with torch.no_grad():
        for name, parameter in (*copied.named_parameters(), *copied.named_buffers()):
            if name in removed:
                parameter.zero_()
            for dim in set(readers.get(name, [])):
                mask = torch.zeros(parameter.shape[dim], dtype=torch.bool)
                mask[torch.from_numpy(slices[name][dim])] = True
                parameter.index_fill_(dim, torch.nonzero(~mask).ravel().to(parameter.device), 0)
    return copied


def drawn_inputs(model: nn.Module, example: Example, seed: int) -> Example:
    """:func:`random_like`, or the example itself where the network has no answer to drawn values (a logarithm)."""
    drawn, scratch = random_like(example, seed), scratch_copy(model)
    try:
        with torch.random.fork_rng(devices=[]):
            outputs = answers(scratch, *drawn)
    except ParityError:
        raise
    except Exception:  # whatever the user's code raises on inputs outside its domain
        return example
    return example if has_nan(outputs) else drawn


def random_like(example: Example, seed: int) -> Example:
    """Random inputs shaped like the example's; integer and boolean inputs stay as they are."""
    generator = torch.Generator().manual_seed(seed)

    def draw(item: Any) -> Any:
        if isinstance(item, Tensor) and item.is_floating_point():
            return torch.randn(item.shape, generator=generator).to(item)
        return item

    return pytree.tree_map(draw, example)  # type: ignore[no-any-return]


def in_precision(example: Example, dtype: torch.dtype) -> Example:
    """Inputs in another precision."""
    return pytree.tree_map(  # type: ignore[no-any-return]
        lambda item: item.to(dtype) if isinstance(item, Tensor) and item.is_floating_point() else item, example
    )


def _copy(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach().clone(), requires_grad=tensor.requires_grad)


def _nothing(expected: Sequence[Tensor]) -> str:
    """Why answers hold nothing to compare."""
    if not expected:
        return "the network answers with no tensor"
    if not any(map(_is_inexact, expected)):
        return "the network answers with integers only; let it return what they are computed from"
    return "all that the network answers with is undefined (NaN), infinite or empty"


def _is_inexact(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _real(tensor: Tensor) -> Tensor:
    """Dense and real, a complex number as two."""
    tensor = tensor if tensor.layout == torch.strided else tensor.to_dense()
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def largest(tensor: Tensor) -> float:
    """Largest finite magnitude."""
    finite = tensor.detach()[tensor.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0
