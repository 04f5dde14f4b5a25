"""Branches of the forward code that depend on widths: ``if y.shape == x.shape: y = y + x``.

An exported graph holds only the branch the dense network takes. Two widths that differ there can be pruned to the
same number, and the code then takes the other one. So widths are made equal, the operators that run are listed on
the meta device (shapes alone, no arithmetic), and where they differ the networks are run and compared.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import lcm
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from eyas.pruning.groups import ChannelGroup
from eyas.pruning.space import SearchSpace
from eyas.pruning.surgery import rebuild, slice_model
from eyas.pruning.tracing.verify import MAX_CHECKS, Prober, plan_with

REASON = "where its width equals another one, the forward code takes another branch: decide it in __init__ instead"


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Lists the operators that run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operators: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operators.append(str(func))
        return func(*args, **(kwargs or {}))


def branching(space: SearchSpace, prober: Prober) -> dict[str, str]:
    """Groups whose widths decide what the forward code does, with the reason."""
    form = rebuild(prober.model, _on_meta).eval()
    example = pytree.tree_map(lambda item: _on_meta(item) if isinstance(item, Tensor) else item, space.example)
    dense = operators(form, example)
    if dense is None:
        return {}
    reasons: dict[str, str] = {}

    def fails(widths: Mapping[str, int]) -> bool:
        plan = plan_with(space, widths)
        small = slice_model(form, space.slices(plan), space.attributes(plan), share=True)
        return operators(small, example) != dense and prober.failure_of(space, plan) is not None

    for widths in coincidences(space):
        while prober.checks < MAX_CHECKS:
            left = {name: width for name, width in widths.items() if name not in reasons}
            if not left or not fails(left):
                break
            culprits = {name: left[name] for name in smallest(left, fails)}
            message = prober.failure_of(space, plan_with(space, culprits))
            reasons.update(dict.fromkeys(culprits, message if message and "fails" in message else REASON))
    return reasons


def operators(model: nn.Module, example: tuple[tuple[Any, ...], dict[str, Any]]) -> list[str] | None:
    """Names of the operators that run, in order; None if the forward code cannot run on the meta device."""
    args, kwargs = example
    recorder = _Recorder()
    try:
        with torch.no_grad(), recorder:
            model(*args, **kwargs)
    except Exception:  # whatever the user's code raises
        return None
    return recorder.operators


def coincidences(space: SearchSpace) -> Iterator[dict[str, int]]:
    """Widths of the groups such that many are equal: all of them, then all that can take a dense layer's width."""
    if not space.groups:
        return
    common = lcm(*(group.step for group in space.groups))
    half = max(2, min(group.channels for group in space.groups) // 2)
    yield _set(space.groups, -(-half // common) * common)
    inputs = (item.shape[1] for item in pytree.tree_leaves(space.example) if isinstance(item, Tensor) and item.ndim > 1)
    dense = (*(group.channels for group in space.groups), *(frozen.channels for frozen in space.frozen))
    for width in sorted({int(width) for width in (*inputs, *dense)}):
        narrowed = _set(space.groups, width)
        if width > 0 and narrowed:
            yield narrowed


def _set(groups: Sequence[ChannelGroup], width: int) -> dict[str, int]:
    """``width`` for every group that can be narrowed to it."""
    return {g.name: width for g in groups if max(g.floor, 1) <= width < g.channels and width % g.step == 0}


def smallest(widths: Mapping[str, int], fails: Callable[[Mapping[str, int]], bool]) -> list[str]:
    """A smallest set of groups that fails, by bisection; all of ``widths`` together do."""
    names, needed = list(widths), list[str]()
    while names and not (needed and fails({name: widths[name] for name in needed})):
        low, high = 1, len(names)
        while low < high:
            middle = (low + high) // 2
            tried = [*names[:middle], *needed]
            low, high = (low, middle) if fails({name: widths[name] for name in tried}) else (middle + 1, high)
        needed.append(names[low - 1])
        names = names[: low - 1]
    return needed


def _on_meta(tensor: Tensor) -> Tensor:
    """The tensor's shape alone."""
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
