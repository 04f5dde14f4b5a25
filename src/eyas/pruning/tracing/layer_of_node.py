"""Which layer of a network a node of its captured graph runs."""

from collections import Counter

from torch import fx, nn

from eyas.pruning.tracing.call import module_of
from eyas.pruning.tracing.capture import Captured
from eyas.pruning.tracing.rule_registry import operator_name


class LayerOfNode:
    """Looks up layers that run once and share no tensor."""

    def __init__(self, model: nn.Module, captured: Captured) -> None:
        self.model, self.tensors = model, captured.tensors
        placeholders = [node for node in captured.graph.nodes if node.name in captured.tensors]
        self.reads = {node.name: len(node.users) for node in placeholders}
        held = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
        self.names = Counter(id(tensor) for _, tensor in held)
        self.held = dict(held)

    def own(self, node: fx.Node, of_type: type[nn.Module]) -> str | None:
        """The module that a node runs, if it has this type, and none but this node reads its tensors."""
        layer = module_of(node)
        module = self.model.get_submodule(layer)
        inputs = [item for item in node.all_input_nodes if item.name in self.tensors]
        names = [self.tensors[item.name] for item in inputs]
        own = {f"{layer}.{name}" for name in module.state_dict()} - {f"{layer}.num_batches_tracked"}
        alone = all(self.reads[item.name] == 1 for item in inputs)
        alone &= all(self.names[id(self.held[name])] == 1 for name in names)
        return layer if isinstance(module, of_type) and set(names) == own and alone else None


def operator_of(node: fx.Node) -> str:
    """The plain name of the operator that a node calls; empty where it calls none."""
    return operator_name(node.target) if node.op == "call_function" else ""
