"""A finalist outside of its race: the statistics that it was judged with, and its loss beside that of others.

Shapes: N images, K classes.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from eyas.calibration import Calibrator
from eyas.calibration.batchnorm import evaluation_mode
from eyas.scoring.scorers import Outputs, Scorer
from eyas.scoring.scorers.base import image_scores
from eyas.scoring.scorers.cross_entropy import CrossEntropy
from eyas.scoring.scorers.dense_kl import DenseKL


def calibration_of(settings: Mapping[str, Any], calibrator: Calibrator, seed: int) -> dict[str, Any]:
    """How the last rung of a race calibrated, as arguments of :func:`eyas.recalibrate`.

    A fused rung calibrated on the images that it scored; then all calibration images count.

    Args:
        settings: of the race's table.
        calibrator: who estimated.
        seed: of the race.
    """
    images, batch_size = settings["rungs"][-1]["calibration_images"], settings["batch_size"]
    return {"calibrator": calibrator, "num_images": images, "batch_size": batch_size, "seed": seed}


def loss_scorer(scorer: Scorer) -> Scorer:
    """What judges a network after a race by ``scorer``: labels are read only where the race read them.

    Cross-entropy in place of any measure that needs labels, ``dense_kl`` in place of one that refits the last layer; a
    scorer with answers of its own stays.
    """
    if scorer.own_answers:
        return scorer
    if scorer.needs_labels:
        return CrossEntropy()
    return DenseKL() if scorer.needs_features else scorer


def held_out_losses(
    models: Sequence[nn.Module],
    dense: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor | None]],
    *,
    scorer: Scorer,
    output: int | str | None = None,
) -> list[float]:
    """Minus the mean score of each network, as it is, in eval mode.

    Args:
        models: the networks.
        dense: the network that they were pruned from.
        batches: normalised images ``(N, C, H, W)`` and their labels; None where ``scorer`` needs none.
        scorer: a number per image, higher is better.
        output: which of several outputs is judged.
    """
    totals, images = [0.0] * len(models), 0
    for batch, labels in batches:
        images += len(batch)
        answers = [_answer(model, batch, scorer, output) for model in (dense, *models)]
        labels_here = None if labels is None else labels.cpu().long()
        for number, logits in enumerate(answers[1:]):
            totals[number] -= float(image_scores(scorer, Outputs(logits, labels_here, answers[0])).double().sum())
    return [total / max(images, 1) for total in totals]


def _answer(model: nn.Module, images: Tensor, scorer: Scorer, output: int | str | None) -> Tensor:
    """The judged output, on the CPU."""
    weights = next((tensor for tensor in chain(model.parameters(), model.buffers())), images)
    with torch.inference_mode(), evaluation_mode(model):
        return scorer.answer(model(images.to(weights.device, weights.dtype)), output).float().cpu()
