"""Where images have no labels: what the dense network answers, in their place."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from eyas.calibration.batchnorm import evaluation_mode
from eyas.data import Dataset, Split
from eyas.networks.saved_network import Network
from eyas.pruning.output_paths import primary_output

JUDGED = ("calibration", "score", "test")
"""Splits that networks are judged on; nobody reads labels of the one that they are trained on."""
_BATCH_SIZE = 256


def with_dense_answers(dataset: Dataset, dense: Network) -> Dataset:
    """The data set; where images have no labels, with the classes that ``dense`` answers with, on its device."""
    splits = [name for name in JUDGED if not dataset.task_of(name).labelled]
    if not splits:
        return dataset
    with torch.inference_mode():
        classes = primary_output(dense.model.eval()(dense.example(2).to(device_of(dense.model))), dense.output).shape[1]
    answers = {name: _answers(dense, dataset.split(name), dataset.normalise) for name in splits}
    return dataset.answered_by(answers, classes)


def _answers(dense: Network, split: Split, normalise: Callable[[Tensor], Tensor]) -> Tensor:
    """Top-1 class of every image, ``(N,)`` on the CPU."""
    device = device_of(dense.model)
    with torch.inference_mode(), evaluation_mode(dense.model):
        answers = [
            primary_output(dense.model(normalise(stored.to(device))), dense.output).argmax(1).cpu()
            for stored, _ in split.batches(_BATCH_SIZE)
        ]
    return torch.cat(answers)


def device_of(model: nn.Module) -> torch.device:
    """Where a network's tensors are."""
    return next((tensor.device for tensor in model.state_dict().values()), torch.device("cpu"))
