"""Tensors that a network reads and no state dict holds (plain attributes, closures): the factory has to repeat them.

A saved network records what they were. Rounding may differ from machine to machine; other values are refused.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from eyas.errors import CheckpointError, TraceError
from eyas.pruning.surgery import scratch_copy
from eyas.pruning.tracing.capture import capture

Checksum = tuple[float, ...]
_TOLERANCE = 1e-5


def checksums(constants: Sequence[Tensor]) -> list[Checksum]:
    """Of each tensor the number of entries, the sum of magnitudes, and two weighted sums."""
    return [_checksum(constant.detach().cpu().double().flatten()) for constant in constants if constant.numel()]


def same_constants(first: Sequence[Checksum], second: Sequence[Checksum]) -> bool:
    """Whether checksums are equal but for rounding."""
    return len(first) == len(second) and all(
        math.isclose(x, y, abs_tol=_TOLERANCE * max(a[1], b[1]))
        for a, b in zip(first, second, strict=True)
        for x, y in zip(a, b, strict=True)
    )


def require_constants(
    model: nn.Module, input_shape: tuple[int, ...], recorded: Sequence[Checksum], source: str
) -> tuple[Tensor, ...]:
    """The constants of a network; refuses those that its factory made otherwise than when it was saved.

    Raises:
        CheckpointError: says what to do.
    """
    if not recorded:
        return ()
    try:
        constants = capture(scratch_copy(model).eval(), (torch.zeros(2, *input_shape),), {}).constants
    except TraceError:
        return ()  # several inputs, of which the record knows one
    if not same_constants(checksums(constants), recorded):
        msg = f"{source} does not hold all that the network computes with: {advice(constants)}"
        raise CheckpointError(msg)
    return constants


def advice(constants: Sequence[Tensor]) -> str:
    """What to say of constants that do not repeat."""
    shapes = ", ".join(str(tuple(constant.shape)) for constant in constants) or "none any more"
    return (
        f"its forward code reads tensors of shape {shapes} that are neither parameters nor buffers (plain attributes, "
        "variables of a closure), and the factory makes others each time: keep them by register_buffer"
    )


def _checksum(values_N: Tensor) -> Checksum:
    position_N = torch.arange(len(values_N), dtype=torch.float64)
    weighted = (values_N * torch.cos(position_N * step) for step in (0.7, 1.9))
    return (float(len(values_N)), float(values_N.abs().sum()), *(float(each.sum()) for each in weighted))
