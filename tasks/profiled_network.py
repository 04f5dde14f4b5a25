"""The network of a profile of parameters, as its latency is measured: any weights, the classes of its data."""

import torch

from eyas.errors import DataError
from eyas.networks.architectures import build_model
from eyas.networks.operated_network import operate
from eyas.pruning.space import SearchSpace
from eyas.pruning.tracing.trace import trace
from tasks.preflight_data import list_classes
from tasks.workspace import Workspace


def profiled_space(workspace: Workspace) -> SearchSpace:
    """The search space that ``sample`` will trace, of a network that nobody trained: weights change no time.

    Raises:
        DataError: how many classes there are is not known yet.
    """
    params = workspace.params
    classes = list_classes(params, workspace.root, workspace.artifacts)
    if classes is None:
        msg = (
            "how many classes the network tells apart is known when the data is here: let eyas run fetch it, or name "
            "the network with --model and --input"
        )
        raise DataError(msg)
    model = build_model(
        params.baseline.architecture, params.baseline.arguments, len(classes), seed=params.baseline.seed
    )
    shape = (len(params.fetch.mean), params.fetch.image_size, params.fetch.image_size)
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    model = operate(model.eval(), params.baseline.surgeries, images).finish()
    return trace(model, (images[:1],), ignore=params.sample.ignore)
