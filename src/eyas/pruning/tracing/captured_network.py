"""A network with what was captured of it, and how it is interpreted."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from eyas.errors import ParameterError
from eyas.pruning.groups import Ints
from eyas.pruning.space_json import Example
from eyas.pruning.tracing.call import user_line
from eyas.pruning.tracing.capture import Captured
from eyas.pruning.tracing.interpreter import interpret
from eyas.pruning.tracing.residual_branches import ResidualBranch
from eyas.pruning.tracing.state import Trace, canonical_names


@dataclass
class Findings:
    """What running smaller networks has taught: readings of ambiguous lines, and what has to freeze."""

    choices: dict[str, int] = field(default_factory=dict)
    frozen: list[tuple[str, int, Ints, str]] = field(default_factory=list)
    """Parameter, dimension, positions along it, reason."""


@dataclass(frozen=True)
class CapturedNetwork:
    """A network and everything that was captured of it."""

    model: nn.Module
    example: Example
    images: int
    """How many the example holds."""
    captured: tuple[Captured, ...]
    ignored: frozenset[str]
    unused: Mapping[str, tuple[str, ...]]
    """Modules with parameters that no captured graph reads, and which; a bare parameter stands for itself."""
    min_width: int
    branches: tuple[ResidualBranch, ...] = ()
    """Residual branches that may be left out; none where depth is not searched."""

    def interpret(self, findings: Findings) -> Trace:
        """Interpret the captured graphs under the given findings."""
        trace = Trace(self.model, findings.choices)
        for index, captured in enumerate(self.captured):
            interpret(trace, captured, counting=index == 0)
        for module, ids in trace.touched:
            if module in self.ignored:
                trace.channels.freeze(ids, "ignored")
        for parameter, dim, positions, reason in findings.frozen:
            trace.channels.freeze(trace.slots[parameter][dim].ids[positions], reason)
        return trace

    def random_line(self) -> str:
        """The first line of the user's code that draws random numbers; empty where none does."""
        nodes = (node for node in self.captured[0].nodes() if node.op == "call_function")
        drawing = (node for node in nodes if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()))
        return next((user_line(str(node.meta.get("stack_trace") or "")) for node in drawing), "")


def unread(model: nn.Module, captured: Sequence[Captured]) -> dict[str, tuple[str, ...]]:
    """Modules with parameters that no captured graph reads, and the names of these; see ``CapturedNetwork.unused``."""
    names = canonical_names(model)
    read = {names.get(name, name) for graph in captured for name in graph.read()}
    unused: dict[str, tuple[str, ...]] = {}
    for name in (name for name, _ in model.named_parameters() if name not in read):
        module, _, leaf = name.rpartition(".")
        unused[module or name] = (*unused.get(module or name, ()), leaf if module else "")
    return unused


def doubled(example: Example) -> Example:
    """Two of each image: batch statistics of one value do not exist."""
    args, kwargs = pytree.tree_map(
        lambda item: torch.cat([item, item]) if isinstance(item, torch.Tensor) and item.ndim else item, example
    )
    return args, kwargs


def ignored_modules(model: nn.Module, ignore: Any) -> set[str]:
    """Paths of the matched modules and of all inside them; one pattern or type may come without a list.

    Raises:
        ParameterError: a pattern or type matches nothing, or is neither.
    """
    ignore = (ignore,) if isinstance(ignore, (str, type)) else ignore
    kinds_fit = isinstance(ignore, Collection) and all(isinstance(item, (str, type)) for item in ignore)
    if not kinds_fit:
        msg = f"`ignore` is a list of name patterns and module types; given: {ignore!r:.100}"
        raise ParameterError(msg)
    modules = dict(model.named_modules())
    roots: set[str] = set()
    for item in ignore:
        if isinstance(item, str):
            matched = [path for path in modules if fnmatchcase(path, item)]
        else:
            matched = [path for path, module in modules.items() if isinstance(module, item)]
        if not matched:
            what = repr(item) if isinstance(item, str) else item.__name__
            some = ", ".join(path for path in list(modules)[1:9])
            msg = f"`ignore`: {what} matches no layer; layers are named {some} ..."
            raise ParameterError(msg)
        roots.update(matched)
    return {path for path in modules if any(path == root or path.startswith(f"{root}.") or not root for root in roots)}
