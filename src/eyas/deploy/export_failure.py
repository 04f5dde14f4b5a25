"""Why PyTorch's ONNX exporters do not take a network, in one line: the operator, its layer, the line of code."""

import re
from collections.abc import Sequence

from torch import Tensor, fx, nn

from eyas.deploy.named_outputs import NamedOutputs
from eyas.errors import TraceError
from eyas.pruning.surgery import scratch_copy
from eyas.pruning.tracing.call import module_of, user_line
from eyas.pruning.tracing.capture import capture
from eyas.pruning.tracing.rule_registry import operator_name

_OPERATOR = re.compile(r"operator '(?P<traced>[\w:]+)'|OpOverload\(op='(?P<dispatched>[\w.]+)'")


def describe_failure(model: nn.Module, images: Tensor, errors: Sequence[BaseException], opset: int) -> str:
    """What to tell the user.

    Args:
        model: the network, or its :class:`NamedOutputs`.
        images: that it was to be exported with.
        errors: what the exporters raised, the one that says it best first.
        opset: that was asked for.
    """
    network = model.network if isinstance(model, NamedOutputs) else model
    reasons = list(map(innermost_reason, errors))
    named = next((match for match in map(_OPERATOR.search, reasons) if match), None)
    if named is None:
        return f"no ONNX exporter takes {type(network).__name__} at opset {opset}: {'; '.join(reasons)}"
    operator = named["traced"] or named["dispatched"].replace(".", "::")
    place = _place(network, images, operator)
    return (
        f"no ONNX exporter takes {type(network).__name__}: operator {operator}{place} has no form in opset {opset}: "
        "compute it by other operators, or choose other `exporters`"
    )


def innermost_reason(error: BaseException) -> str:
    """The first line of the error that began it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _place(network: nn.Module, images: Tensor, operator: str) -> str:
    """Layer and line of code that run an operator, where the network can be captured."""
    try:
        nodes = list(capture(scratch_copy(network).eval(), (images,), {}).nodes())
    except TraceError:
        return ""
    plain = operator.rpartition("::")[2].removeprefix("special_")
    for node in nodes:
        if node.op == "call_function" and operator_name(node.target).removeprefix("special_") == plain:
            return f" in {_layer(node)}"
    return ""


def _layer(node: fx.Node) -> str:
    line = user_line(str(node.meta.get("stack_trace") or ""))
    return ", ".join(filter(None, (module_of(node) or "the network itself", line)))
