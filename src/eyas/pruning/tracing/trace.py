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
from eyas.pruning.widths import RoundTo, parse_round_to, whole_number

_NO_BLOCKS = (
    "the network has no residual block that can be left out, that is one that is added to an identity and that nothing "
    "else reads, with no layer that is ignored: leave it out, and widths alone are searched"
)


def trace(
    model: nn.Module,
    example_inputs: tuple[Any, ...],
    example_kwargs: Mapping[str, Any] | None = None,
    *,
    ignore: str | type[nn.Module] | Sequence[str | type[nn.Module]] = (),
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
            ``auto``: of 8 or 4 where that leaves a group four widths; a run also goes finer where the budget holds too
            few of such networks. Those of odd widths may take longer than the dense one (docs/edge.md).
        min_width: smallest width of a group.
        depth: find the residual blocks, too, that can be left out whole (``space.blocks``).

    Raises:
        TraceError: the network cannot be captured, or reads weights in a way that no copy of it can follow.
        ParameterError: ``ignore`` matches nothing, ``round_to`` names no group, a number is no whole one from 1 on, or
            with ``depth`` no block can be left out.
    """
    if not isinstance(round_to, Mapping):
        parse_round_to(round_to, ())
    min_width = whole_number("`min_width`", min_width)
    model = uncompiled(_own_code(model))
    example = (example_inputs, dict(example_kwargs or {}))
    ignored = frozenset(ignored_modules(model, ignore))
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
    return space if round_to == 1 else space.rounded(round_to)


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
