"""Warnings that a network, its images and the rungs give cause for, before anything is measured."""

import hashlib
from collections import Counter
from collections.abc import Sequence

from torch import Tensor, nn

from eyas.calibration import Calibrator
from eyas.calibration.batchnorm import batch_norms, frozen_norms
from eyas.scoring.image_sets import ImageSets
from eyas.scoring.race.rungs import Rung

_SHOWN = 5


def preflight_warnings(
    model: nn.Module, rungs: Sequence[Rung], calibrator: Calibrator, plans: int, images: ImageSets
) -> list[str]:
    """What to tell the user before the race.

    Args:
        model: the dense network.
        rungs: as they will be run.
        calibrator: who re-estimates the statistics in held-out rungs.
        plans: how many candidates there are.
        images: those that are looked at.
    """
    warnings = _about_norms(model)
    if batch_norms(model):
        warnings += _about_rungs(rungs, calibrator, plans)
    if batch_norms(model) or images.training is not None:
        warnings += _about_images(rungs, images)
    return warnings


def _about_norms(model: nn.Module) -> list[str]:
    warnings = []
    if others := frozen_norms(model):
        names = ", ".join(others[:_SHOWN]) + (", ..." if len(others) > _SHOWN else "")
        warnings.append(
            f"{len(others)} normalisation layers with running statistics are no torch.nn.BatchNorm ({names}) and keep "
            "the dense network's statistics: a frozen batch-norm made a torch.nn.BatchNorm2d would be recalibrated"
        )
    norms = batch_norms(model)
    if not norms:
        warnings.append(
            "the network has no batch-norm with running statistics: there is nothing to calibrate, candidates are "
            "scored by plain evaluation, which may say little about their accuracy after fine-tuning; where it was "
            "folded into the convolutions, the surgery unfold_batch_norm gives it back"
        )
    owners = Counter(id(layer.running_mean) for layer in norms)
    if shared := sum(count for count in owners.values() if count > 1):
        warnings.append(
            f"{shared} batch-norm layers share their statistics with another: in held-out rungs the last one's "
            "estimate counts for all; use one layer several times, or layers with statistics of their own"
        )
    return warnings


def _about_rungs(rungs: Sequence[Rung], calibrator: Calibrator, plans: int) -> list[str]:
    warnings = []
    if rungs[-1].mode == "fused" and plans > 1:
        warnings.append("the last rung is fused: the winner is judged on the images that calibrated it")
    kind = calibrator.model_dump()["kind"]
    if kind != "pooled" and not any(rung.mode == "held_out" for rung in rungs):
        warnings.append(f"calibrator {kind} is not used: it works in held-out rungs, and there is none")
    return warnings


def _about_images(rungs: Sequence[Rung], images: ImageSets) -> list[str]:
    if not any(rung.mode == "held_out" for rung in rungs):
        return []
    scoring, warnings = _digests(images.scoring), []
    for purpose, others in (("calibration", images.calibration), ("training", images.training)):
        seen = set() if others is None else set(_digests(others))
        if both := sum(digest in seen for digest in scoring):
            warnings.append(
                f"{both} of {len(scoring)} scoring images are {purpose} images, too: held-out rungs do not hold "
                "them out; give disjoint sets"
            )
    return warnings


def _digests(images: Tensor) -> list[bytes]:
    """A hash per image."""
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images.float().cpu().numpy()]
