"""Walk an exported graph and carry channel ids along its edges."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from eyas.pruning.tracing.call import Call, fixed_output, unknown, values_in
from eyas.pruning.tracing.capture import WRAPPERS, Captured, wrapped_graph
from eyas.pruning.tracing.rule_registry import Rule, UnsupportedForm, find_rule
from eyas.pruning.tracing.state import Trace


def interpret(trace: Trace, captured: Captured, *, counting: bool = True) -> None:
    """Run a captured graph abstractly; what it finds is added to ``trace``."""

    def enter(node: fx.Node) -> Any:
        name = captured.tensors.get(node.name)
        return trace.tensor(name) if name is not None else fixed_output(node)

    trace.counting = counting
    for value in values_in(_walk(trace, captured.graph, enter)):
        trace.channels.freeze(value.ids(), "is an output of the network")


def _walk(trace: Trace, graph: fx.Graph, enter: Callable[[fx.Node], Any]) -> list[Any]:
    """Carry values from the placeholders, which ``enter`` makes, to the outputs, which are returned."""
    environment: dict[fx.Node, Any] = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            environment[node] = enter(node)
        elif node.op == "call_function":
            environment[node] = _call(trace, node, environment)
        elif node.op == "output":
            return list(_resolve(node.args, environment))
        else:
            environment[node] = wrapped_graph(node) or fixed_output(node)
    return []


def _call(trace: Trace, node: fx.Node, environment: dict[fx.Node, Any]) -> Any:
    """Apply the operator's rule; without one, freeze all that enters."""
    if node.target is operator.getitem:
        source, index = _resolve(node.args, environment)
        return source[index] if isinstance(source, (list, tuple)) else fixed_output(node)
    if str(node.target) in WRAPPERS:
        return _inline(trace, _resolve(node.args, environment))
    call = Call(trace, node, _bind(node, environment), _shape(node.meta.get("val")))
    rule = find_rule(node.target)
    computes = isinstance(call.outputs, (tuple, list)) or node.meta.get("val") is None
    if rule is None or not computes:
        result: Any = unknown(call)
    else:
        result = _apply(rule, call)
    for value in values_in([result]):
        if value.labels:
            trace.touched.append((call.module, value.ids()))
    return result


def _inline(trace: Trace, arguments: list[Any]) -> Any:
    """Walk the graph that a wrapper runs on the arguments behind it; its outputs."""
    position = next(index for index, item in enumerate(arguments) if isinstance(item, fx.Graph))
    operands = iter(arguments[position + 1 :])
    (outputs,) = _walk(trace, arguments[position], lambda _: next(operands))
    return outputs


def _apply(rule: Rule, call: Call) -> Any:
    """Apply a rule; a form it does not follow freezes what enters. Any other error is a bug of the rule."""
    try:
        return rule(call)
    except UnsupportedForm as form:
        return unknown(call, f" {form}")


def _bind(node: fx.Node, environment: dict[fx.Node, Any]) -> dict[str, Any]:
    """Arguments by the names of the operator's schema, defaults filled in."""
    args, kwargs = _resolve(node.args, environment), _resolve(node.kwargs, environment)
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return {**{str(index): arg for index, arg in enumerate(args)}, **kwargs}
    bound = {item.name: item.default_value for item in schema.arguments if item.has_default_value()}
    bound.update({item.name: arg for item, arg in zip(schema.arguments, args, strict=False)})
    return {**bound, **kwargs}


def _resolve(argument: Any, environment: dict[fx.Node, Any]) -> Any:
    """Nodes replaced by their values, in nested lists, tuples and dictionaries."""
    if isinstance(argument, fx.Node):
        return environment.get(argument)
    if isinstance(argument, (list, tuple)):
        return [_resolve(item, environment) for item in argument]
    if isinstance(argument, dict):
        return {key: _resolve(item, environment) for key, item in argument.items()}
    return argument


def _shape(value: Any) -> Any:
    """Shapes of what a node produces."""
    if isinstance(value, torch.Tensor):
        return tuple(int(size) for size in value.shape)
    if isinstance(value, (list, tuple)):
        return [_shape(item) for item in value]
    return None
