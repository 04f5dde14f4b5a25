"""What a network answers to seeded inputs: two networks that are to be one are held against each other.

A state dict is not all that a network computes with: numbers, functions and buffers with ``persistent=False`` come from
the factory, which may draw them, or were set after it. All is computed on the CPU; rounding is forgiven.
"""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from eyas.errors import BadInputError, CheckpointError, ParameterError, PlanError
from eyas.networks.architecture_record import Answers
from eyas.networks.checkpoint import apply_weights
from eyas.pruning.mask_parity import SMALLEST, Example, answers, is_random, random_like
from eyas.pruning.space_json import example_from_json, example_to_json, malformed_is_told
from eyas.pruning.surgery import rebuild
from eyas.pruning.tracing.verify import estimate_statistics, jittered

_SCALES = (1.0, -3.0)
"""Magnitude and sign of the inputs, one run each: of images, and of what reaches other parts of an activation."""
_SUMS = 64
"""Numbers kept per output."""
_RELATIVE, _ROUNDINGS, _MOVES = 1e-4, 64, 32
"""Forgiven: this share of an output's largest sum, so many roundings of it, so many moves by inputs off by four."""
_ADVICE = (
    "its factory draws what no state dict holds (a buffer with persistent=False, a number, a function), or it was set "
    "after the factory ran: keep it by register_buffer, or let the factory set it from its arguments"
)


class _NoAnswerError(Exception):
    """The user's forward code raised on drawn inputs: there is nothing to compare."""


def record_answers(model: nn.Module, example: Example) -> Answers | None:
    """Answers for a saved network's record; None where they say nothing: drawn at random, no floats, or no answer."""
    try:
        inputs = example_to_json(example)
        example = example_from_json(inputs, torch.device("cpu"))
    except (ParameterError, PlanError, NotImplementedError):  # JSON cannot hold them; the last one is pytree's
        return None
    try:
        with torch.random.fork_rng(devices=[]):
            sums, again, moved = (_sums(model, example, roundings) for roundings in (0, 0, 4))
    except _NoAnswerError:
        return None
    if not sums or is_random(sums, again):
        return None
    tolerances = [_tolerance(value, other) for value, other in zip(sums, moved, strict=True)]
    values = [
        [round(number / (tolerance / 8)) * (tolerance / 8) for number in value.tolist()]
        for value, tolerance in zip(sums, tolerances, strict=True)
    ]
    return Answers(inputs=inputs, values=values, tolerances=tolerances)


def require_answers(model: nn.Module, recorded: Answers | None, source: str) -> None:
    """Refuse a network that answers otherwise than the saved one; one that does not run here is not judged.

    Raises:
        CheckpointError: says what to do.
        PlanError: the recorded inputs are none.
    """
    if recorded is None:
        return
    with malformed_is_told():
        example = example_from_json(recorded.inputs, torch.device("cpu"))
    try:
        with torch.random.fork_rng(devices=[]):
            values = _sums(model, example)
    except _NoAnswerError:  # nothing is silently wrong then
        return
    if not _agree(values, recorded):
        msg = f"{source} does not hold all that the network computes with, which answers otherwise now: {_ADVICE}"
        raise CheckpointError(msg)


def require_repeating(model: nn.Module, again: nn.Module, example: Example) -> None:
    """Refuse a factory that built two networks which answer differently with the same weights; ``again`` is changed.

    Raises:
        ParameterError: they do, or do not take the same weights.
    """
    varied, persistent = jittered(model), model.state_dict().keys()
    estimate_statistics(varied, *(random_like(example, seed) for seed in range(2)))
    own = dict(model.named_buffers())
    with torch.no_grad():
        for name, buffer in varied.named_buffers():
            if name not in persistent:
                buffer.copy_(own[name])
    try:
        apply_weights(again, varied.state_dict(), source="what the factory built first")
    except BadInputError as error:
        msg = f"the network cannot be saved whole: its factory builds another one each time: {error}"
        raise ParameterError(msg) from error
    try:
        require_answers(again, record_answers(varied, example), "what the factory built again")
    except CheckpointError as error:
        msg = f"the network cannot be saved whole: built twice it answers differently with the same weights: {_ADVICE}"
        raise ParameterError(msg) from error


def _agree(values: list[Tensor], recorded: Answers) -> bool:
    """Whether all outputs are the recorded ones but for rounding."""
    lengths = [len(value) for value in values]
    alike = lengths == [len(numbers) for numbers in recorded.values] and len(lengths) == len(recorded.tolerances)
    return alike and all(
        bool(((value.double() - torch.tensor(numbers, dtype=torch.float64)).abs() <= tolerance).all())
        for value, numbers, tolerance in zip(values, recorded.values, recorded.tolerances, strict=True)
    )


def _sums(model: nn.Module, example: Example, roundings: int = 0) -> list[Tensor]:
    """Of each floating-point output up to 64 sums, in its own precision; the inputs are off by so many roundings."""
    sums = []
    for seed, scale in enumerate(_SCALES):
        args, kwargs = pytree.tree_map(partial(_scaled, scale=scale, roundings=roundings), random_like(example, seed))
        network = _on_cpu(model)
        try:
            outputs = answers(network, args, kwargs)
        except Exception as error:  # whatever the user's code raises; what is ours is outside, and raises
            raise _NoAnswerError from error
        reals = [torch.view_as_real(output) if output.is_complex() else output for output in outputs]
        sums += [_signed_sums(real) for real in reals if real.is_floating_point()]
    return sums


def _scaled(item: Any, scale: float, roundings: int) -> Any:
    if not isinstance(item, Tensor) or not item.is_floating_point():
        return item
    return item.abs() * (scale * (1 + roundings * torch.finfo(item.dtype).eps))


def _signed_sums(output: Tensor) -> Tensor:
    """Entries with random signs, summed in at most 64 runs; undefined and infinite ones are none."""
    flat = output.double().flatten().nan_to_num(0.0, 0.0, 0.0)
    length = max(1, math.ceil(len(flat) / _SUMS))
    signs = torch.randint(0, 2, flat.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    padded = nn.functional.pad(flat * signs, (0, -len(flat) % length)).view(-1, length)
    return padded.sum(1).to(output.dtype)


def _tolerance(sums: Tensor, moved: Tensor) -> float:
    """What is rounding."""
    relative = max(_RELATIVE, _ROUNDINGS * torch.finfo(sums.dtype).eps)
    move = (sums.double() - moved.double()).abs().nan_to_num(0.0)
    return max(relative * float(sums.abs().max()), _MOVES * float(move.max()), SMALLEST)


def _on_cpu(model: nn.Module) -> nn.Module:
    """A network of its own buffers, which a forward may change, on the CPU."""

    def take(tensor: Tensor) -> Tensor:
        held = tensor.detach().cpu()
        return nn.Parameter(held, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else held.clone()

    return rebuild(model, take)
