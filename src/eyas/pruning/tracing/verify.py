"""The safety net: slice the space once, run it, and freeze what does not compute what the masked network does.

Static rules cannot tell ``view(b, 64, -1)`` from ``view(b, c, -1)``: the exported graph holds the same
numbers for both. Running a smaller network can.
"""

import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from eyas.errors import ParityError
from eyas.pruning.groups import ChannelGroup
from eyas.pruning.mask_parity import (
    CHANGES,
    RANDOM,
    Example,
    answers,
    changed_buffer,
    compare,
    has_nan,
    in_precision,
    is_random,
    mask_consumers,
    random_like,
)
from eyas.pruning.plan import PruningPlan
from eyas.pruning.space import SearchSpace
from eyas.pruning.surgery import rebuild, slice_model
from eyas.pruning.tracing.layer_outputs import LayerOutputs, layers_apart

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}
"""Largest relative difference that is rounding and not an error."""
MAX_CHECKS = 160
"""Networks that are run at most; what is still suspect then freezes."""


@dataclass
class Prober:
    """Runs sliced against masked networks, on weights that hide nothing."""

    model: nn.Module
    example: Example
    random_line: str = ""
    """The user's line that draws random numbers, if one does."""
    checks: int = 0
    blind: str | None = field(init=False, default=None)
    """Why no two networks can be compared, if so."""
    _jittered: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        own, drawn = self.example, [random_like(self.example, seed) for seed in range(3)]
        for example, *batch in (drawn, [own, own, own]):
            self._jittered, self.example = jittered(self.model), example
            estimate_statistics(self._jittered, *batch)
            try:
                with torch.random.fork_rng(devices=[]):
                    first, second = (answers(self._jittered, *example) for _ in range(2))
                    self.blind = self._random_reason() if is_random(first, second) else None
                    compare(first, first)
            except ParityError as error:
                self.blind = str(error)
            except Exception as error:  # whatever the user's code raises on inputs outside its domain
                self.blind = _explain(error, "on random inputs")
                continue
            if not has_nan(first):
                break

    def _random_reason(self) -> str:
        args, kwargs = self.example
        if not self.random_line and (changed := changed_buffer(self._jittered, args, kwargs)):
            return f"{CHANGES.format(changed)}: change it only `if self.training`"
        return f"{RANDOM}{f', {self.random_line}' if self.random_line else ''}: draw only `if self.training`"

    def failure(self, space: SearchSpace, groups: Sequence[ChannelGroup], seed: int = 0) -> str | None:
        """Why a network with only ``groups`` narrowed is wrong; None if it is right."""
        if not groups:
            return None
        return self.failure_of(space, random_plan(space, groups, seed))

    def failure_of(self, space: SearchSpace, plan: PruningPlan) -> str | None:
        """Why the network at ``plan`` is wrong; None if it is right."""
        if self.blind is not None:
            return self.blind
        self.checks += 1
        apart = 0.0
        for dtype, tolerance in TOLERANCE.items():
            try:
                with torch.random.fork_rng(devices=[]):
                    apart = self._apart(space, plan, dtype)
            except _ForwardFailedError as failed:
                return _explain(failed.cause)
            except ParityError as error:
                return _explain(error)
            if apart <= tolerance:
                return None
        return (
            f"with fewer channels the forward code computes something else (relative difference "
            f"{apart:.1e}): a number of channels is hard-wired in it"
        )

    def _apart(self, space: SearchSpace, plan: PruningPlan, dtype: torch.dtype) -> float:
        """Largest relative difference of the sliced from the masked network, at the outputs and after each layer."""
        share = dtype == torch.float32  # a change of precision is made in place
        slices = space.slices(plan)
        sliced = slice_model(self._jittered, slices, space.attributes(plan), space.dropped(plan), share=share)
        masked = mask_consumers(self._jittered, space, slices, space.removed(plan), share=share)
        example = self.example
        if not share:
            sliced, masked, example = sliced.to(dtype), masked.to(dtype), in_precision(example, dtype)
        try:
            with LayerOutputs() as ours:
                actual = answers(sliced, *example)
            with LayerOutputs() as theirs:
                expected = answers(masked, *example)
        except Exception as error:  # anything the user's forward code may raise; what is ours is outside, and raises
            raise _ForwardFailedError(error) from error
        outputs_apart = compare(actual, expected).max_relative  # may be NaN, which Python's max would lose
        return float(np.maximum(outputs_apart, layers_apart(ours.layers, theirs.layers, masked, slices)))

    def culprits(self, space: SearchSpace, groups: Sequence[ChannelGroup]) -> dict[str, str]:
        """The groups that fail, with the reason; found by halving."""
        reason = self.failure(space, groups)
        if reason is None:
            return {}
        if len(groups) == 1 or self.checks >= MAX_CHECKS:
            return {group.name: reason for group in groups}
        half = len(groups) // 2
        culprits = {**self.culprits(space, groups[:half]), **self.culprits(space, groups[half:])}
        if not culprits:  # each half is right, both together are not
            culprits = {group.name: reason for group in groups[half:]}
        return culprits


class _ForwardFailedError(Exception):
    """The user's forward code raised on the narrowed or the masked network."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def random_plan(space: SearchSpace, groups: Iterable[ChannelGroup], seed: int) -> PruningPlan:
    """About half of the units of ``groups`` at random, all of the others."""
    generator = np.random.default_rng(seed)
    widths = {}
    for group in groups:
        fewest = max(1, -(-group.floor // group.step))
        widths[group.name] = group.step * max(fewest, group.units // 2 - int(generator.integers(0, 2)))
    return plan_with(space, widths, seed)


def plan_with(space: SearchSpace, widths: Mapping[str, int], seed: int = 0) -> PruningPlan:
    """Random units at the given widths, all of the groups left out."""
    generator = np.random.default_rng(seed)
    kept = {group.name: tuple(range(group.channels)) for group in space.groups}
    for name, width in widths.items():
        group = space.group(name)
        count = width // group.step
        keep = np.zeros(group.units, dtype=bool)
        keep[generator.permutation(group.units)[:count]] = True
        kept[group.name] = tuple(np.flatnonzero(keep[group.unit_of_channel]).tolist())
    return PruningPlan(space=space.fingerprint, channels=space.widths, kept=kept)


def jittered(model: nn.Module) -> nn.Module:
    """The network with vectors varied and vanishing weights filled: nothing is multiplied away."""
    generator = torch.Generator().manual_seed(0)

    def vary(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point() or tensor.numel() == 0:
            return tensor.detach().clone()
        value = tensor.detach()
        if float(value.abs().max()) < 0.01:
            value = (0.25 * torch.randn(tensor.shape, generator=generator)).to(tensor)
        elif max(tensor.shape, default=1) == tensor.numel():
            value = value * (0.5 + torch.rand(tensor.shape, generator=generator)).to(tensor)
        return nn.Parameter(value, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else value

    return rebuild(model, vary)


def estimate_statistics(model: nn.Module, first: Example, second: Example) -> None:
    """Give batch-norms the statistics of two inputs, so that activations neither vanish nor explode.

    Fresh and jittered weights can shrink a signal so far that no error shows at the outputs. A network that does
    not take two images at once keeps its statistics.
    """
    norms = [m for m in model.eval().modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    norms = [norm for norm in norms if norm.running_mean is not None]
    args, kwargs = pytree.tree_map(_one_batch, first, second)
    try:
        for norm in norms:
            norm.train()
            norm.momentum = 1.0
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            model(*args, **kwargs)
    except Exception:  # whatever the user's code raises: the statistics stay as far as they came
        return
    finally:
        model.eval()


def _one_batch(first: object, second: object) -> object:
    """Two inputs as one batch."""
    return (
        torch.cat([first, second]) if isinstance(first, Tensor) and isinstance(second, Tensor) and first.ndim else first
    )


def _explain(error: Exception, when: str = "with fewer channels") -> str:
    """The user's line where a network fails."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "/torch/" not in f.filename and "/eyas/" not in f.filename]
    first = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
    place = f"`{own[-1].line}` ({own[-1].filename.rsplit('/', 1)[-1]}:{own[-1].lineno})" if own else "the forward code"
    why = "a number of channels is hard-wired there " if when == "with fewer channels" else ""
    return f"{when} {place} fails: {why}({first})"
