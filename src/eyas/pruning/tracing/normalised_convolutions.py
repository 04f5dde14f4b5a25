"""Which convolutions of a network a normalisation reads, read off the captured graph."""

from dataclasses import dataclass

from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from eyas.pruning.surgery import scratch_copy
from eyas.pruning.tracing.capture import capture
from eyas.pruning.tracing.layer_of_node import LayerOfNode, operator_of

_NORMS = {"batch_norm", "instance_norm", "group_norm", "layer_norm", "rms_norm"}
_TRANSPOSED = {f"conv_transpose{dims}d" for dims in (1, 2, 3)}
_CONVOLUTIONS = {f"conv{dims}d" for dims in (1, 2, 3)} | _TRANSPOSED
_READERS = _CONVOLUTIONS | {"linear", "matmul", "bmm", "mm", "addmm", "scaled_dot_product_attention"}
"""Operators after which an output is no answer of the network yet."""


@dataclass(frozen=True)
class Convolution:
    """A layer that runs once, with a weight that it alone reads."""

    layer: str
    batch_norm: str | None
    """The batch-norm layer that alone reads its output and runs once itself, if there is one."""
    normalised: bool
    """A normalisation of any kind reads its output, whoever else does."""
    read_raw: bool
    """Something that is no normalisation reads its output."""
    answers: bool
    """No other layer follows: what it makes are the network's answers."""


def normalised_convolutions(model: nn.Module, example: Tensor) -> list[Convolution]:
    """The convolutions in order of execution.

    Left out are those that share weights, run twice, or are called past their module.

    Args:
        model: any network that ``torch.export`` captures; it is not changed.
        example: images ``(N, C, ...)``; only their shape matters.

    Raises:
        TraceError: the network cannot be captured.
    """
    captured = capture(scratch_copy(model).eval(), (example,), {})
    reader = LayerOfNode(model, captured)
    nodes = (node for node in captured.graph.nodes if operator_of(node) in _CONVOLUTIONS)
    return [held for node in nodes if (held := _convolution(reader, node))]


def _convolution(reader: LayerOfNode, node: fx.Node) -> Convolution | None:
    layer = reader.own(node, _ConvNd)
    if layer is None:
        return None
    users = list(node.users)
    norms = [operator_of(user) in _NORMS for user in users]
    batch_norm = None
    if len(users) == 1 and operator_of(users[0]) == "batch_norm" and users[0].args[0] is node:
        batch_norm = reader.own(users[0], _BatchNorm)
    return Convolution(layer, batch_norm, any(norms), not all(norms), not _is_read_on(node))


def _is_read_on(node: fx.Node) -> bool:
    """Whether another layer works on what a node made."""
    waiting, seen = list(node.users), set[fx.Node]()
    while waiting:
        user = waiting.pop()
        if operator_of(user) in _READERS:
            return True
        if user not in seen:
            seen.add(user)
            waiting += list(user.users)
    return False
