"""Trace a network: capture it, follow its channels, verify the result."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import fx, nn

from eyas.errors import ParameterError, TraceError
from eyas.pruning.space import SearchSpace
from eyas.pruning.surgery import scratch_copy, uncompiled
from eyas.pruning.tracing.capture import capture
from eyas.pruning.tracing.captured_network import CapturedNetwork, doubled, ignored_modules, unread
from eyas.pruning.tracing.foreign_weights import check_weights
from eyas.pruning.tracing.image_batch import image_batch
from eyas.pruning.tracing.refine import refine, refine_depth
from eyas.pruning.tracing.residual_branches import residual_branches
from eyas.pruning.widths import RoundTo, check_round_to, usual_steps

_NO_BLOCKS = (
    "the network has no residual block that can be left out, that is one that is added to an identity and that nothing "
    "else reads, with no layer that is ignored: leave it out, and widths alone are searched"
)


def trace(
    model: nn.Module,
    example_inputs: tuple[Any, ...],
    example_kwargs: Mapping[str, Any] | None = None,
    *,
    ignore: Sequence[str | type[nn.Module]] = (),
    round_to: RoundTo | Literal["auto"] = 1,
    min_width: int = 1,
    depth: bool = False,
) -> SearchSpace:
    """Find the channel groups of any network that ``torch.export`` can capture; the model is not touched.

    Args:
        model: the dense network; analysed as it computes in eval mode.
        example_inputs: its positional inputs, a tuple; shapes matter, values do not. Images come in a batch or alone.
        example_kwargs: its keyword inputs.
        ignore: layers to leave alone: name patterns (``"layer4.*"``) or module types.
        round_to: widths are multiples of this, for devices that like aligned channels; of one per group, by its name.
            ``auto``: of 8 or 4 where that leaves a group four widths, as a run of the pipeline has it. Networks of odd
            widths may take longer than the dense one (docs/edge.md).
        min_width: smallest width of a group.
        depth: find the residual blocks, too, that can be left out whole (``space.blocks``).

    Raises:
        TraceError: the network cannot be captured, or reads weights in a way that no copy of it can follow.
        ParameterError: ``ignore`` matches nothing, ``round_to`` names no group, a number is below 1, or with ``depth``
            no block can be left out.
    """
    if isinstance(round_to, int):
        check_round_to(round_to, ())
    elif isinstance(round_to, str) and round_to != "auto":
        msg = f"`round_to` is a number, numbers by group, or 'auto'; given: {round_to!r}"
        raise ParameterError(msg)
    if min_width < 1:
        msg = f"`min_width` must be at least 1; given: {min_width}"
        raise ParameterError(msg)
    model = uncompiled(_own_code(model))
    example = (example_inputs, dict(example_kwargs or {}))
    ignored = frozenset(ignored_modules(model, tuple(ignore)))
    captured = [capture(scratch_copy(model).eval(), *example)]
    if unread(model, captured):
        with contextlib.suppress(TraceError):
            captured.append(capture(scratch_copy(model).train(), *doubled(example)))
    check_weights(model, example, captured)
    unused = unread(model, captured)
    images, _ = image_batch(model, example)
    branches = residual_branches(model, captured[0], ignored) if depth else ()
    network = CapturedNetwork(model, example, images, tuple(captured), ignored, unused, min_width, branches)
    space = refine_depth(network) if branches else refine(network)
    if depth and not space.blocks:
        raise ParameterError(f"`depth`: {_NO_BLOCKS}")
    space.constants = captured[0].constants
    if round_to == 1:
        return space
    return space.rounded(usual_steps(space.groups) if round_to == "auto" else round_to)


def _own_code(model: nn.Module) -> nn.Module:
    """``model``, if it and its layers run by their own code: a recorded program cannot be copied with fewer channels.

    Raises:
        TraceError: says which layer does not.
    """
    if not isinstance(model, nn.Module):
        msg = f"a {type(model).__name__} is no nn.Module: pass the network itself"
        raise TraceError(msg)
    for path, module in model.named_modules():
        if isinstance(module, (fx.GraphModule, torch.jit.ScriptModule)):
            msg = (
                f"{path or 'the network'} is a program that torch.fx, torch.jit or torch.export recorded "
                f"({type(module).__name__}), with its numbers of channels: trace the nn.Module that it was made from"
            )
            raise TraceError(msg)
    return model
