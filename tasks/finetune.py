"""Stage ``finetune``: the winner is sliced, recalibrated and trained with the dense network as its teacher."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from eyas.config import PipelineParams
from eyas.networks.architectures import ANYWHERE
from eyas.networks.saved_network import Network, load_network, save_network
from eyas.progress import Progress
from eyas.pruning.plan import PruningPlan
from eyas.pruning.space import SearchSpace
from eyas.pruning.surgery import prune
from eyas.training import EpochStore, resume_key, write_history
from tasks import stage
from tasks.search_space import SPACE, read_space
from tasks.training_support import TrainingData, resume_folder, share_cores, training_fields

_log = logging.getLogger(__name__)
_INPUTS = (
    "fetch/manifest.json",
    "baseline/model.safetensors",
    "baseline/architecture.json",
    SPACE,
    "score/plan.json",
)


def finetune(params: PipelineParams, artifacts: Path, progress: Progress) -> stage.Metrics:
    """Prune the dense network to the winning plan and train it; the test split is read once, at the end."""
    data, dense = TrainingData.open(params, artifacts), load_network(artifacts / "baseline", allowed=ANYWHERE)
    plan = PruningPlan.from_json((artifacts / "score" / "plan.json").read_text())
    space = read_space(artifacts, dense)
    small = prune(dense.model, space, plan)
    share_cores(params.runtime, params.finetune.recipe, space.cost().macs)
    images = _recalibrate(params, data, small)
    before = data.evaluate(small, "score")
    _log.info("recalibrated on %d images: score accuracy %.4f", images, before.accuracy)
    given = params.finetune
    key = resume_key(_key_params(params), [artifacts / name for name in _INPUTS])
    folder = resume_folder(params, "finetune", key)
    result = data.train(
        small, given.recipe, given.epochs, seed=given.seed, folder=folder, progress=progress, teacher=dense.model
    )
    test = data.evaluate(small, "test")
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
        "best_epoch": result.best_epoch,
        "macs": cost.macs,
        "params": cost.params,
        "activation_bytes": cost.activation_bytes,
    }


def _recalibrate(params: PipelineParams, data: TrainingData, small: nn.Module) -> int:
    """Batch-norm statistics as the score stage estimated them; returns the number of images."""
    given = params.score
    split = data.dataset.split("calibration")
    images = split.images(given.calibration_images)

    def batches() -> Iterator[Tensor]:
        for start in range(0, len(images), given.batch_size):
            stored = images[start : start + given.batch_size].to(data.device)
            yield data.dataset.normalise(stored)

    return given.calibrator(small.to(data.device), batches())


def _key_params(params: PipelineParams) -> dict[str, object]:
    """The parameters this stage's result depends on."""
    score = params.score
    return {
        "finetune": params.finetune.model_dump(mode="json"),
        "calibration": [score.calibrator.model_dump(mode="json"), score.calibration_images, score.batch_size],
    }


def _save(folder: Path, small: nn.Module, space: SearchSpace, plan: PruningPlan, dense: Network) -> None:
    """Weights, plan and architecture, as ``eyas.load`` reads them."""
    save_network(replace(dense, model=small.cpu().eval()), folder, pruned_to=(space, plan))


if __name__ == "__main__":
    stage.main("finetune", finetune, training_fields("finetune"))
