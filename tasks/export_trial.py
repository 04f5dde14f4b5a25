"""The chosen exporters, and their trial on the dense network: what none takes is told before hours of training.

What a trial finds changes no output of a stage, so no stage depends on its parameters: another number of timed runs
makes nothing stale. Exporters that are chosen later are told of by ``export`` itself.
"""

import torch

from eyas.config import ExportParams, PipelineParams
from eyas.deploy.exporters import Exporter
from eyas.networks.saved_network import Network
from eyas.pruning.operators import operators_of
from eyas.pruning.surgery import share_structure

LONG = 10**13
"""Multiply-adds of a training beside which a trial, some seconds, is nothing: usual operators are tried then, too."""


def chosen_exporters(settings: ExportParams) -> dict[str, Exporter]:
    """By kind; float32 ONNX is always written, for latency and accuracy are measured on it."""
    return {"onnx": Exporter.parse("onnx"), **{exporter.kind: exporter for exporter in settings.exporters}}


def try_exporters(params: PipelineParams, network: Network, macs: int) -> None:
    """Write and run the dense network in every chosen format, unless its operators leave no doubt.

    Args:
        params: which exporters.
        network: with any weights.
        macs: multiply-adds of all that is trained before anything is exported.

    Raises:
        ExportError: an exporter does not take the network; names operator and layer.
    """
    model = share_structure(network.model)
    operators = operators_of(model, network.example(2))
    images_NCHW = torch.rand(2, *network.input_shape, generator=torch.Generator().manual_seed(0))
    for exporter in chosen_exporters(params.export).values():
        if macs >= LONG or not exporter.surely_takes(operators):
            exporter.try_on(model, images_NCHW)
