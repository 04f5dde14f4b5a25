"""Stage ``finetune``: the winner is sliced, recalibrated and trained with the dense network as its teacher.

With ``finetune.epochs: 0`` nothing is trained; labels are then read to tell accuracies, and decide nothing where
``score.scorer`` needs none.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from eyas.calibration.recalibrate import recalibrate
from eyas.config import PipelineParams
from eyas.data.comparability import read_comparability
from eyas.networks.saved_network import Network
from eyas.progress import Progress
from eyas.pruning.plan import PruningPlan
from eyas.pruning.space import SearchSpace
from eyas.recovery.prune_and_refit import prune_and_refit
from eyas.recovery.refit import RefitReport
from eyas.scoring.finalist import calibration_of, held_out_losses, loss_scorer
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
_BATCH_SIZE = 256
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
    space.mask(plan)  # a plan of another search space is refused as such
    require_winner(artifacts, space, plan)
    share_cores(params.runtime, data.batch_size(params.finetune.recipe), space.cost().macs)
    calibration = calibration_settings(params, artifacts)
    small, refitted = _winner(params, data, dense, (space, plan), calibration)
    before = data.evaluate(small, "score", dense.output)
    _log.info("before training: score accuracy %.4f, cross-entropy %.4f", before.accuracy, before.cross_entropy)
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
    note = read_comparability(artifacts / "baseline").note
    _log.info("pruned network: score accuracy %.4f, test accuracy %.4f%s", result.best.accuracy, test.accuracy, note)
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
        **({"refitted_layers": len(refitted.layers)} if refitted else {}),
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
    """How the score stage's last rung calibrated, for :func:`eyas.recalibrate`: its own record says so."""
    race = json.loads((artifacts / "score" / "diagnostics.json").read_text())["settings"]
    return calibration_of(race, params.score.calibrator, params.score.seed)


def _winner(
    params: PipelineParams,
    data: TrainingData,
    dense: Network,
    pruned_to: tuple[SearchSpace, PruningPlan],
    calibration: Mapping[str, Any],
) -> tuple[nn.Module, RefitReport | None]:
    """The winner with the statistics of the score stage's finalists, and what a refit did where it is kept."""
    scorer, split = params.score.scorer, data.split("score")

    def losses(networks: Sequence[nn.Module]) -> list[float]:
        batches = (
            (split.prepare(stored), labels if scorer.needs_labels else None)
            for stored, labels in split.batches(_BATCH_SIZE)
        )
        judge = loss_scorer(scorer)
        return held_out_losses(networks, dense.model, batches, scorer=judge, output=dense.output)

    stored = data.dataset.split("calibration").images(params.score.calibration_images)
    images = data.dataset.normalise(stored)
    _log.info("recalibrating on %d images", min(len(images), calibration["num_images"] or len(images)))
    return prune_and_refit(
        dense.model,
        *pruned_to,
        images,
        recovery=params.finetune.recovery,
        recalibrate=lambda network: recalibrate(network, images, **calibration),
        losses=losses,
        device=data.device,
    )


def _key_params(params: PipelineParams, calibration: Mapping[str, Any]) -> dict[str, object]:
    """The parameters this stage's result depends on."""
    return {
        "finetune": params.finetune.model_dump(mode="json"),
        "calibration_images": params.score.calibration_images,
        **calibration,
        "calibrator": params.score.calibrator.model_dump(mode="json"),
        "scorer": params.score.scorer.model_dump(mode="json"),
    }


def _save(folder: Path, small: nn.Module, space: SearchSpace, plan: PruningPlan, dense: Network) -> None:
    """Weights, plan and architecture, as ``eyas.load`` reads them."""
    save_as_loaded(replace(dense, model=small.cpu().eval()), folder, pruned_to=(space, plan))


if __name__ == "__main__":
    stage.main("finetune", finetune, FIELDS)
