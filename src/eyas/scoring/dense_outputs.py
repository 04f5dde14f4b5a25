"""The unpruned network through the engine: its outputs to compare with, and the probe that judges the procedure."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eyas.calibration.batchnorm import evaluation_mode
from eyas.calibration.recalibrate import even_batches
from eyas.scoring.device_copy import on_device
from eyas.scoring.diagnostics import Probe, make_probe
from eyas.scoring.engine import Engine
from eyas.scoring.scorers.base import per_labelled_image

PROBE_IMAGES = 1024
"""At most so many of each purpose tell whether the procedure is sound."""


def dense_outputs(engine: Engine, batch_size: int, images: Tensor | None = None) -> Tensor:
    """The unpruned network's outputs on images, without any on all scoring images, with its own statistics."""
    images = engine.images.scoring if images is None else images
    with torch.inference_mode(), engine.precision_context(), evaluation_mode(engine.model):
        outputs = [engine.select_output(engine.model(batch)) for batch in even_batches(images, batch_size)]
        return torch.cat(outputs).float()


def probe(engine: Engine, batch_size: int) -> Probe:
    """The unpruned network's accuracy, with its own statistics and with new ones, on at most 1,024 images each."""
    assert engine.images.labels is not None
    scoring, labels = engine.images.scoring[:PROBE_IMAGES], engine.images.labels[:PROBE_IMAGES]
    model = on_device(engine.model, engine.device)
    right = [_right(engine, model, scoring, labels, batch_size)]
    if engine.has_statistics:
        engine.calibrate(model, engine.images.calibration[:PROBE_IMAGES], batch_size)
    right.append(_right(engine, model, scoring, labels, batch_size))
    return make_probe(right[0], right[-1], engine.example.shape[1])


def _right(
    engine: Engine, model: nn.Module, scoring: Tensor, labels: Tensor, batch_size: int
) -> NDArray[np.float64]:  # fmt: skip
    """How much of each image is answered right, in eval mode, ``(N,)``."""
    with torch.inference_mode(), engine.precision_context(), evaluation_mode(model):
        logits = torch.cat([engine.select_output(model(batch)) for batch in even_batches(scoring, batch_size)])
    return per_labelled_image((logits.argmax(1) == labels).double(), labels).cpu().numpy()
