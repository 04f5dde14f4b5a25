"""Stage ``finetune``: the winner is sliced, recalibrated and trained with the dense network as its teacher."""

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from eyas.calibration.recalibrate import recalibrate
from eyas.config import PipelineParams
from eyas.networks.saved_network import Network
from eyas.progress import Progress
from eyas.pruning.plan import PruningPlan
from eyas.pruning.space import SearchSpace
from eyas.pruning.surgery import prune
from eyas.recovery import Recovery
from eyas.recovery.refit import refit
from eyas.training import EpochStore, Evaluation, resume_key, write_history
from tasks import stage
from tasks.dense_network import load_dense, save_as_loaded
from tasks.recorded_cost import require_winner
from tasks.search_space import SPACE, read_space
from tasks.training_support import TrainingData, resume_folder, share_cores, training_fields

_log = logging.getLogger(__name__)
FIELDS = training_fields("finetune") | {
    "images": "the images of the calibration split",
    "plan": "the winner's plan of score",
    "small": "the pruned network",
}
_INPUTS = (
    "fetch/manifest.json",
    "baseline/model.safetensors",
    "baseline/architecture.json",
    SPACE,
    "score/plan.json",
)


def finetune(params: PipelineParams, artifacts: Path, progress: Progress) -> stage.Metrics:
    """Prune the dense network to the winning plan and train it; the test split is read once, at the end."""
    data, dense = TrainingData.open(params, artifacts), load_dense(params, artifacts)
    plan = PruningPlan.from_json((artifacts / "score" / "plan.json").read_text())
    space = read_space(artifacts, dense)
    small = prune(dense.model, space, plan)
    require_winner(artifacts, space, plan)
    share_cores(params.runtime, data.batch_size(params.finetune.recipe), space.cost().macs)
    calibration = calibration_settings(params, artifacts)
    images = _recalibrate(params, data, small, calibration)
    before = data.evaluate(small, "score", dense.output)
    _log.info("recalibrated on %d images: score accuracy %.4f", images, before.accuracy)
    if params.finetune.recovery is not None:
        refitted = _refitted(params.finetune.recovery, data, dense, space, plan)
        _recalibrate(params, data, refitted, calibration)
        after = data.evaluate(refitted, "score")
        _log.info("refitted: score accuracy %.4f, loss %.4f", after.accuracy, after.cross_entropy)
        if after.cross_entropy < before.cross_entropy:
            small, before = refitted, after
    key = resume_key(_key_params(params, calibration), [artifacts / name for name in _INPUTS])
    folder = resume_folder(params, "finetune", key)
    result = data.train(
        small,
        params.finetune.recipe,
        params.finetune.epochs,
        seed=params.finetune.seed,
        folder=folder,
        progress=progress,
        teacher=dense.model,
        output=dense.output,
    )
    dense_test, test = (data.evaluate(model, "test", dense.output) for model in (dense.model, small))
    _log.info("pruned network: score accuracy %.4f, test accuracy %.4f", result.best.accuracy, test.accuracy)
    _save(artifacts / "finetune", small, space, plan, dense)
    write_history(result.history, artifacts / "finetune" / "history.csv")
    EpochStore(folder).clear()
    cost = space.cost(plan.widths)
    return {
        "recalibrated_score_accuracy": before.accuracy,
        "recalibrated_score_cross_entropy": before.cross_entropy,
        "score_accuracy": result.best.accuracy,
        "score_cross_entropy": result.best.cross_entropy,
        "test_accuracy": test.accuracy,
        "test_cross_entropy": test.cross_entropy,
        "test_images": test.images,
        **_paired("test", dense_test, test),
        "score_images": before.images,
        **_paired("score", before, result.best),
        "best_epoch": result.best_epoch,
        **result.length.as_metrics(),
        "macs": cost.macs,
        "params": cost.params,
        "activation_bytes": cost.activation_bytes,
    }


def _paired(split: str, before: Evaluation, after: Evaluation) -> dict[str, int]:
    """Images of a split that only one of two networks answers right."""
    gained, lost = after.correct & ~before.correct, before.correct & ~after.correct
    return {f"{split}_gained": int(gained.sum()), f"{split}_lost": int(lost.sum())}


def calibration_settings(params: PipelineParams, artifacts: Path) -> dict[str, Any]:
    """How the score stage's last rung calibrated, for :func:`eyas.recalibrate`: its own record says so.

    A last rung that is fused calibrated on the images it scored; then all calibration images count.
    """
    race = json.loads((artifacts / "score" / "diagnostics.json").read_text())["settings"]
    return {
        "calibrator": params.score.calibrator,
        "num_images": race["rungs"][-1]["calibration_images"],
        "batch_size": race["batch_size"],
        "seed": params.score.seed,
    }


def _refitted(
    recovery: Recovery, data: TrainingData, dense: Network, space: SearchSpace, plan: PruningPlan
) -> nn.Module:  # fmt: skip
    """The pruned network, refitted on images of the calibration split."""
    small = prune(dense.model, space, plan).to(data.device)
    images = data.dataset.normalise(data.dataset.split("calibration").images(recovery.images))
    report = refit(dense.model, small, space, plan, images, recovery=recovery)
    _log.info("%d layers refitted, %d left as they were", len(report.layers), len(report.left))
    return small


def _recalibrate(params: PipelineParams, data: TrainingData, small: nn.Module, calibration: Mapping[str, Any]) -> int:
    """Statistics from the images and in the batches of the score stage's finalists; returns the number of images."""
    stored = data.dataset.split("calibration").images(params.score.calibration_images)
    return recalibrate(small.to(data.device), data.dataset.normalise(stored), **calibration)


def _key_params(params: PipelineParams, calibration: Mapping[str, Any]) -> dict[str, object]:
    """The parameters this stage's result depends on."""
    return {
        "finetune": params.finetune.model_dump(mode="json"),
        "calibration_images": params.score.calibration_images,
        **calibration,
        "calibrator": params.score.calibrator.model_dump(mode="json"),
    }


def _save(folder: Path, small: nn.Module, space: SearchSpace, plan: PruningPlan, dense: Network) -> None:
    """Weights, plan and architecture, as ``eyas.load`` reads them."""
    save_as_loaded(replace(dense, model=small.cpu().eval()), folder, pruned_to=(space, plan))


if __name__ == "__main__":
    stage.main("finetune", finetune, FIELDS)
