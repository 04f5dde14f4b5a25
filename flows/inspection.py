"""``python -m flows inspect``: the search space of any network, without a run."""

import argparse
import json
import math
from typing import Any

import torch

from eyas.errors import ParameterError
from eyas.networks.architectures import build_architecture, build_model
from eyas.pruning.inspection import render, report
from eyas.pruning.tracing.trace import trace


def inspect(options: argparse.Namespace) -> int:
    """Print groups, frozen groups with reasons, dense cost and reachable budgets, as a table or as JSON.

    Raises:
        ParameterError: the input's shape or the arguments cannot be read, or the factory is unknown.
        TraceError: the network cannot be captured.
    """
    arguments = parse_arguments(options.arguments)
    if ":" in options.model:
        # Naming it on the command line is the permission to import it.
        model = build_architecture(options.model, arguments, allowed=[options.model.partition(":")[0]])
    else:
        model = build_model(options.model, arguments, options.num_classes)
    examples = tuple(torch.zeros(parse_shape(text)) for text in options.input)
    limits = {"round_to": options.round_to, "min_width": options.min_width}
    space = trace(model.eval(), examples, ignore=tuple(options.ignore), **limits)
    text = json.dumps(report(space), indent=2) if options.json else render(space)
    print(text)  # noqa: T201
    return 0


def parse_shape(text: str) -> tuple[int, ...]:
    """``1,3,224,224`` as a shape.

    Raises:
        ParameterError: it is not made of positive integers.
    """
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts) or math.prod(int(part) for part in parts) == 0:
        msg = f"--input {text}: expected positive integers such as 1,3,224,224 (batch, channels, height, width)"
        raise ParameterError(msg)
    return tuple(int(part) for part in parts)


def parse_arguments(text: str) -> dict[str, Any]:
    """The factory's keyword arguments from JSON.

    Raises:
        ParameterError: it is not a JSON object.
    """
    try:
        arguments = json.loads(text)
    except ValueError as error:
        msg = f'--arguments {text}: not JSON ({error}); expected for instance {{"width": 16}}'
        raise ParameterError(msg) from error
    if not isinstance(arguments, dict):
        msg = f'--arguments {text}: expected an object such as {{"width": 16}}'
        raise ParameterError(msg)
    return arguments
