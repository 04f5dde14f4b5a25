"""Batch-norm layers of a network, and the first one of each residual block, read off the captured graph."""

from dataclasses import dataclass
from math import prod

from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from eyas.pruning.surgery import scratch_copy
from eyas.pruning.tracing.capture import Captured, capture
from eyas.pruning.tracing.layer_of_node import LayerOfNode, operator_of

_CONVOLUTIONS = {f"conv{dims}d" for dims in (1, 2, 3)}


@dataclass(frozen=True)
class BlockNorms:
    """Layers by name, in order of execution, that run once and share nothing."""

    every: tuple[str, ...]
    """All batch-norm over more than one position."""
    first: tuple[str, ...]
    """The first one of each residual block, but for blocks of the last resolution where there are others."""


def block_norms(model: nn.Module, example: Tensor) -> BlockNorms:
    """Find them; ``model`` is not changed, of ``example`` ``(N, C, ...)`` only the shape matters.

    Raises:
        TraceError: the network cannot be captured.
    """
    captured = capture(scratch_copy(model).eval(), (example,), {})
    reader = LayerOfNode(model, captured)
    layers = {
        node: layer
        for node in captured.graph.nodes
        if operator_of(node) == "batch_norm" and prod(_shape(node)[2:]) > 1
        if (layer := reader.own(node, _BatchNorm)) is not None
    }
    firsts = _first_in_blocks(captured)
    sizes = [_shape(node)[2:] for node in firsts]
    earlier = [node for node, size in zip(firsts, sizes, strict=True) if size != sizes[-1]]
    chosen = [layers[node] for node in earlier or firsts if node in layers]
    return BlockNorms(tuple(layers.values()), tuple(dict.fromkeys(chosen)))


def _first_in_blocks(captured: Captured) -> list[fx.Node]:
    """The first batch-norm of each branch that ends in a sum and has two convolutions at least."""
    order = {node: number for number, node in enumerate(captured.graph.nodes)}
    above: dict[fx.Node, frozenset[fx.Node]] = {}
    for node in order:
        inputs = [item for item in node.all_input_nodes if item.name not in captured.tensors]
        above[node] = frozenset(inputs).union(*(above[item] for item in inputs))
    firsts = []
    for addition in order:
        operands = [
            item for item in addition.args[:2] if isinstance(item, fx.Node) and item.name not in captured.tensors
        ]
        if operator_of(addition) != "add" or len(set(operands)) != 2:
            continue
        for one, other in (operands, operands[::-1]):
            branch = sorted((above[one] | {one}) - above[other] - {other}, key=order.__getitem__)
            norms = [node for node in branch if operator_of(node) == "batch_norm"]
            if norms and sum(operator_of(node) in _CONVOLUTIONS for node in branch) > 1:
                firsts.append(norms[0])
    return firsts


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)
