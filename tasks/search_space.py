"""The search space among the stages: traced by ``sample``, read by those after it."""

from pathlib import Path

from eyas.config import SampleParams
from eyas.errors import CheckpointError
from eyas.networks.saved_network import Network
from eyas.pruning.space import SearchSpace
from eyas.pruning.tracing.trace import trace

SPACE = "sample/space.json"
EXAMPLE_INPUTS = "an image of the data set's shape"
"""What the stages trace a network with, for messages."""


def trace_network(network: Network, params: SampleParams) -> SearchSpace:
    """The search space as ``params.sample`` limits it; any widths where ``round_to`` is ``auto``.

    Raises:
        TraceError: the network cannot be captured.
        ParameterError: ``ignore`` matches no layer.
    """
    return trace(
        network.model,
        (network.example(),),
        ignore=params.ignore,
        round_to=1 if params.round_to == "auto" else params.round_to,
        min_width=params.min_width,
        depth=params.depth,
    )


def read_space(artifacts: Path, network: Network) -> SearchSpace:
    """The search space that ``sample`` left for this network.

    Raises:
        CheckpointError: it has not run, or ran on another network, or at another image size.
        PlanError: the file was changed since.
    """
    path = artifacts / SPACE
    if not path.exists():
        msg = f"{path} is missing: run the sample stage first"
        raise CheckpointError(msg)
    space = SearchSpace.from_json(network.model, path.read_text())
    traced, image = [tuple(item.shape[1:]) for item in space.example[0]], tuple(network.input_shape)
    if traced != [image]:
        shapes = ", ".join(map(str, traced))
        msg = f"{path} was traced for images of shape {shapes}, this network takes {image}: run the sample stage again"
        raise CheckpointError(msg)
    return space
