"""The trial of the chosen exporters on the dense network: what none takes is told before hours of training.

What a trial finds changes no output of a stage, so no stage depends on its parameters: another number of timed runs
makes nothing stale. Exporters that are chosen later are told of by ``export`` itself.
"""

import torch

from eyas.config import PipelineParams
from eyas.networks.saved_network import Network
from eyas.pruning.operators import operators_of
from eyas.pruning.surgery import share_structure
from eyas.training import choose_length

LONG = 10**13
"""Multiply-adds of a training beside which a trial, some seconds, is nothing: usual operators are tried then, too."""


def try_exporters(params: PipelineParams, network: Network, macs: int, images: int) -> None:
    """Write and run the dense network in every chosen format, unless its operators leave no doubt.

    Args:
        params: which exporters, and how long the trainings are.
        network: with any weights.
        macs: multiply-adds of one image.
        images: that one epoch trains on.

    Raises:
        ExportError: an exporter does not take the network; names operator and layer.
    """
    model = share_structure(network.model)
    operators = operators_of(model, network.example(2))
    is_long = _training_macs(params, macs, images) >= LONG
    images_NCHW = torch.rand(2, *network.input_shape, generator=torch.Generator().manual_seed(0))
    for exporter in params.export.chosen.values():
        if is_long or not exporter.surely_takes(operators):
            exporter.try_on(model, images_NCHW)


def _training_macs(params: PipelineParams, macs: int, images: int) -> int:
    """Multiply-adds of both trainings: forward, and twice that backward."""
    section, last = params.baseline, params.finetune
    first = section.epochs if section.checkpoint is None else section.adapt_epochs
    trainings = ((section.recipe, first), (last.recipe, last.epochs))
    total = 0
    for recipe, epochs in trainings:
        looked_at = max(1, round(images * recipe.fraction))
        total += looked_at * choose_length(looked_at, recipe.batch_size, epochs).epochs
    return 3 * macs * total
