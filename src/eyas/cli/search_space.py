"""``eyas inspect``: the search space of any network, without a run."""

import importlib
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch

from eyas.cli.network_arguments import parse_arguments, parse_shape
from eyas.cli.terminal import terminal_width, wrapped
from eyas.errors import ParameterError, TraceError, nearest
from eyas.networks.architectures import build_architecture, build_model
from eyas.pruning.inspection import render, report
from eyas.pruning.space import SearchSpace
from eyas.pruning.tracing.trace import trace

_IMAGE = 3
"""Numbers in the shape of an image alone."""


def search_space(
    model: str, inputs: Sequence[str], arguments: str, num_classes: int, *, as_json: bool, **limits: Any
) -> str:
    """Groups, frozen groups with reasons, dense cost and reachable budgets, as a table or as JSON.

    Args:
        model: a name in ``models/``, or ``package.module:factory``.
        inputs: the shape of each input, as text.
        arguments: of the factory, as JSON.
        num_classes: of a name in ``models/``.
        as_json: JSON instead of a table.
        limits: what :func:`eyas.trace` takes (``ignore``, ``round_to``, ``min_width``, ``depth``).

    Raises:
        ParameterError: the input's shape or the arguments cannot be read, or the factory is unknown.
        TraceError: the network cannot be captured.
    """
    space = traced(model, inputs, arguments, num_classes, **limits)
    if as_json:
        return json.dumps(report(space), indent=2)
    width = terminal_width()
    return wrapped(render(space) if width is None else render(space, width), width)


def traced(model: str, inputs: Sequence[str], arguments: str, num_classes: int, **limits: Any) -> SearchSpace:
    """The search space of a network that the command line names; see :func:`search_space`."""
    keywords = parse_arguments(arguments)
    if ":" in model:
        # Naming it on the command line is the permission to import it.
        network = build_architecture(model, keywords, allowed=[model])
    else:
        _require_known(model)
        network = build_model(model, keywords, num_classes)
    examples = tuple(torch.zeros(parse_shape(text)) for text in inputs)
    try:
        return trace(network.eval(), examples, **limits)
    except TraceError as error:
        without_batch = [text for text in inputs if len(parse_shape(text)) == _IMAGE]
        if not without_batch:
            raise
        shape = without_batch[0]
        msg = f"--input {shape} has no number for the batch: give 1,{shape} (batch, channels, height, width); {error}"
        raise ParameterError(msg) from error


def _require_known(model: str) -> None:
    """A name is one of the project's ``models/``; where that cannot be imported, building the network says why."""
    names: Sequence[str] | None = None
    with suppress(ImportError):
        names = importlib.import_module("models").names()
    if names is not None and model not in names:
        msg = (
            f"--model {model}: models/ has no such name{nearest(model, names)}, but {', '.join(names)}; any other "
            "network is package.module:factory, such as torchvision.models:resnet18"
        )
        raise ParameterError(msg)
