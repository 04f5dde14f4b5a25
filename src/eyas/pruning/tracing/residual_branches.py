"""Residual branches of a captured graph: what lies between a tensor and the addition that takes it up again."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import fx, nn

from eyas.pruning.dropped_layers import is_below
from eyas.pruning.groups import ChannelGroup
from eyas.pruning.residual_block import ResidualBlock
from eyas.pruning.tracing.call import module_of
from eyas.pruning.tracing.capture import Captured
from eyas.pruning.tracing.rule_registry import operator_name
from eyas.pruning.tracing.state import canonical_names


@dataclass(frozen=True)
class ResidualBranch:
    """``addition = shortcut + branch(shortcut)``, where nothing else reads what the branch computes.

    Or the branch begins at an earlier summand of the shortcut: of ``x + a(x) + b(x)`` each is a branch.
    """

    name: str
    """The module that adds; several of one module are numbered."""
    nodes: frozenset[fx.Node]
    """What computes it."""
    layers: tuple[str, ...]
    """Modules that run in it alone, the outermost ones."""
    tensors: frozenset[str]
    """Parameters and buffers that are read in it alone, by their first names."""

    def inner_groups(self, groups: tuple[ChannelGroup, ...]) -> set[int]:
        """Numbers of the groups that live in it alone."""
        return {
            number
            for number, group in enumerate(groups)
            if all(member.parameter in self.tensors for member in group.members)
        }


def residual_branches(
    model: nn.Module, captured: Captured, ignored: frozenset[str] = frozenset()
) -> tuple[ResidualBranch, ...]:
    """Every branch beside an identity, in order of execution; none that runs one of the ``ignored`` modules."""
    reader = _Reader(model, captured)
    branches: list[ResidualBranch] = []
    for addition in captured.graph.nodes:
        nodes = next((nodes for nodes in _around(addition, captured) if nodes), None)
        if nodes and not ignored & {module_of(node) for node in nodes} and (branch := reader.branch(addition, nodes)):
            same = sum(other.name.partition("/")[0] == branch.name for other in branches)
            name = f"{branch.name}/{same + 1}" if same else branch.name
            branches.append(ResidualBranch(name, branch.nodes, branch.layers, branch.tensors))
    return tuple(branches)


def residual_blocks(
    branches: tuple[ResidualBranch, ...], groups: tuple[ChannelGroup, ...]
) -> tuple[tuple[ResidualBlock, ...], dict[fx.Node | str, int]]:
    """Those of the branches that have a group of their own, and the smallest block of each node and tensor."""
    inner = {branch.name: branch.inner_groups(groups) for branch in branches}
    own: dict[str, set[int]] = {}
    for branch in sorted(branches, key=lambda branch: len(branch.nodes)):
        nested = [other for other in branches if other.name in own and other.nodes < branch.nodes]
        left = inner[branch.name].difference(*(inner[other.name] for other in nested))
        own |= {branch.name: left} if left else {}
    offered = [branch for branch in branches if branch.name in own]
    smallest: dict[fx.Node | str, int] = {}
    for number, branch in sorted(enumerate(offered), key=lambda item: -len(item[1].nodes)):
        smallest |= dict.fromkeys(branch.nodes, number) | dict.fromkeys(branch.tensors, number)
    blocks = (
        ResidualBlock(
            branch.name,
            own=tuple(sorted(own[branch.name])),
            groups=tuple(sorted(inner[branch.name])),
            layers=branch.layers,
            tensors=tuple(sorted(branch.tensors)),
        )
        for branch in offered
    )
    return tuple(blocks), smallest


def _around(addition: fx.Node, captured: Captured) -> Iterator[frozenset[fx.Node]]:
    """The nodes of a branch that ends in ``addition``, by either of its operands as the shortcut."""
    operands = [item for item in addition.args[:2] if isinstance(item, fx.Node)]
    if _is_sum(addition) and len(set(operands)) == 2:
        yield _between(_summands(operands[0]), operands[1], addition, captured)
        yield _between(_summands(operands[1]), operands[0], addition, captured)


def _is_sum(node: fx.Node) -> bool:
    is_addition = node.op == "call_function" and operator_name(node.target) == "add"
    return is_addition and bool(node.kwargs.get("alpha", 1) == 1)


def _summands(shortcut: fx.Node) -> set[fx.Node]:
    """The shortcut, and what it is a sum of."""
    waiting, summands = [shortcut], set[fx.Node]()
    while waiting:
        node = waiting.pop()
        if node not in summands:
            summands.add(node)
            waiting += [item for item in node.args[:2] if isinstance(item, fx.Node)] if _is_sum(node) else []
    return summands


def _between(shortcuts: set[fx.Node], end: fx.Node, addition: fx.Node, captured: Captured) -> frozenset[fx.Node]:
    """What computes ``end`` from ``shortcuts`` and from parameters alone, and is read nowhere else; else nothing."""
    waiting, nodes, reached = [end], set[fx.Node](), False
    while waiting:
        node = waiting.pop()
        reached |= node in shortcuts
        if node in shortcuts or node in nodes or node.name in captured.tensors:
            continue
        if node.op == "placeholder":
            return frozenset()
        nodes.add(node)
        waiting += node.all_input_nodes
    is_closed = all(user in nodes or user is addition for node in nodes for user in node.users)
    return frozenset(nodes) if reached and is_closed else frozenset()


class _Reader:
    """Who reads which tensor, and which nodes each module runs."""

    def __init__(self, model: nn.Module, captured: Captured) -> None:
        self._names, self._captured = canonical_names(model), captured
        self._runs: dict[str, set[fx.Node]] = {}
        self._readers: dict[str, set[fx.Node]] = {}
        for node in captured.nodes():
            name = captured.tensors.get(node.name)
            if name is not None:
                self._readers.setdefault(self._names.get(name, name), set()).update(node.users)
            for path, *_ in (node.meta.get("nn_module_stack") or {}).values():
                self._runs.setdefault(str(path).partition("@")[0], set()).add(node)

    def branch(self, addition: fx.Node, nodes: frozenset[fx.Node]) -> ResidualBranch | None:
        """The branch of these nodes; None where others read its weights, too, or it has none."""
        whole = [path for path, runs in self._runs.items() if path and runs <= nodes]
        layers = tuple(path for path in whole if not is_below(path.rpartition(".")[0], whole))
        read = {name for name, readers in self._readers.items() if readers & nodes}
        held = {self._names[name] for name in self._names if is_below(name.rpartition(".")[0], layers)}
        tensors = read | held
        if not read or any(self._readers.get(name, set()) - nodes for name in tensors):
            return None
        name = module_of(addition) or (*layers, *sorted(tensors))[0]
        return ResidualBranch(name, nodes, layers, frozenset(tensors))
