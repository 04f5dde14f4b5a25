"""Capture a network as a graph of ATen operators with parameter names, by ``torch.export``."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from eyas.errors import TraceError
from eyas.pruning.output_paths import answering_plainly
from eyas.pruning.tracing.call import user_line

WRAPPERS = ("wrap_with_set_grad_enabled", "wrap_with_autocast")
"""Operators that run a graph of their own as it stands: ``with torch.no_grad():`` and the like in the forward code."""


@dataclass(frozen=True)
class Captured:
    """An exported graph, and the parameter or buffer behind each of its placeholders."""

    graph: fx.Graph
    tensors: dict[str, str]
    constants: tuple[Tensor, ...] = ()
    """Tensors that the forward code reads and that no parameter or buffer holds."""

    def nodes(self) -> Iterator[fx.Node]:
        """All nodes, those of wrapped graphs included."""
        waiting = [self.graph]
        while waiting:
            for node in waiting.pop().nodes:
                yield node
                waiting += [graph for graph in [wrapped_graph(node)] if graph is not None]

    def read(self) -> set[str]:
        """Parameters and buffers that an operator reads."""
        used = {node.name for node in self.graph.nodes if node.op == "placeholder" and node.users}
        return {name for placeholder, name in self.tensors.items() if placeholder in used}


def capture(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None) -> Captured:
    """Export ``model`` in the mode it is in; give a structural copy, since it is changed.

    Raises:
        TraceError: ``torch.export`` cannot capture the network; its own message is passed on.
    """
    if not isinstance(args, tuple):
        msg = f"`example_inputs` must be a tuple of the model's positional inputs, not {type(args).__name__}"
        raise TraceError(msg)
    network = answering_plainly(model)
    try:
        # Without gradients, for what the forward code computes in inference mode is not to be computed with otherwise.
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(network, args, dict(kwargs or {}), strict=False)
    except Exception as error:
        first = str(error).strip().splitlines() or [type(error).__name__]
        msg = (
            f"torch.export cannot capture {type(model).__name__}: {first[0]}. Check that the model runs on "
            "`example_inputs` in eval mode and has no control flow that depends on the values of tensors"
        )
        raise TraceError(msg) from error
    _require_sizes(model, program.graph)
    signature = program.graph_signature
    tensors = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    constants = (program.constants[name] for name in signature.inputs_to_lifted_tensor_constants.values())
    return Captured(program.graph, dict(tensors), tuple(item for item in constants if isinstance(item, Tensor)))


def _require_sizes(model: nn.Module, graph: fx.Graph) -> None:
    """Refuse tensors whose size depends on values, such as ``y[y > 0]``.

    Raises:
        TraceError: names the line.
    """
    for node in graph.nodes:
        tensors = [item for item in pytree.tree_leaves(node.meta.get("val")) if isinstance(item, Tensor)]
        if any(isinstance(size, torch.SymInt) for tensor in tensors for size in tensor.shape):
            line = user_line(str(node.meta.get("stack_trace") or "")) or str(node.target)
            msg = (
                f"{type(model).__name__} makes a tensor whose size depends on values, {line}: what is computed per "
                "image has to have one shape; use torch.where or a product with the mask"
            )
            raise TraceError(msg)


def wrapped_graph(node: fx.Node) -> fx.Graph | None:
    """The graph of its own that a node stands for, if it does."""
    if node.op != "get_attr":
        return None
    held = getattr(node.graph.owning_module, str(node.target), None)
    return held.graph if isinstance(held, fx.GraphModule) else None
