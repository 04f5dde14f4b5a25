"""Which convolutions of a network a normalisation reads, read off the captured graph."""

from collections import Counter
from dataclasses import dataclass

from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from eyas.pruning.surgery import scratch_copy
from eyas.pruning.tracing.call import module_of
from eyas.pruning.tracing.capture import Captured, capture
from eyas.pruning.tracing.rule_registry import operator_name

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
    reader = _Reader(model, captured)
    nodes = (node for node in captured.graph.nodes if _operator(node) in _CONVOLUTIONS)
    return [held for node in nodes if (held := reader.convolution(node))]


class _Reader:
    """Whose tensors a node reads."""

    def __init__(self, model: nn.Module, captured: Captured) -> None:
        self.model, self.tensors = model, captured.tensors
        placeholders = [node for node in captured.graph.nodes if node.name in captured.tensors]
        self.reads = {node.name: len(node.users) for node in placeholders}
        held = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
        self.names = Counter(id(tensor) for _, tensor in held)
        self.held = dict(held)

    def convolution(self, node: fx.Node) -> Convolution | None:
        layer = self._own_layer(node, _ConvNd)
        if layer is None:
            return None
        users = list(node.users)
        normalised = any(_operator(user) in _NORMS for user in users)
        batch_norm = None
        if len(users) == 1 and _operator(users[0]) == "batch_norm" and users[0].args[0] is node:
            batch_norm = self._own_layer(users[0], _BatchNorm)
        return Convolution(layer, batch_norm, normalised, not _is_read_on(node))

    def _own_layer(self, node: fx.Node, of_type: type[nn.Module]) -> str | None:
        """The module that a node runs, if it has this type, and none but this node reads its tensors."""
        layer = module_of(node)
        module = self.model.get_submodule(layer)
        inputs = [item for item in node.all_input_nodes if item.name in self.tensors]
        names = [self.tensors[item.name] for item in inputs]
        own = {f"{layer}.{name}" for name in module.state_dict()} - {f"{layer}.num_batches_tracked"}
        alone = all(self.reads[item.name] == 1 for item in inputs)
        alone &= all(self.names[id(self.held[name])] == 1 for name in names)
        return layer if isinstance(module, of_type) and set(names) == own and alone else None


def _operator(node: fx.Node) -> str:
    return operator_name(node.target) if node.op == "call_function" else ""


def _is_read_on(node: fx.Node) -> bool:
    """Whether another layer works on what a node made."""
    waiting, seen = list(node.users), set[fx.Node]()
    while waiting:
        user = waiting.pop()
        if _operator(user) in _READERS:
            return True
        if user not in seen:
            seen.add(user)
            waiting += list(user.users)
    return False
