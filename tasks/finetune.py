"""Stage ``finetune``: the winner is sliced, recalibrated and trained with the dense network as its teacher.

With ``finetune.gradual`` it is sliced in several cuts, and trained after each.
With ``finetune.compare_uniform`` the network of uniform widths is as well, to be held against it and not exported.

With ``finetune.epochs: 0`` nothing is trained; labels are then read to tell accuracies, and decide nothing where
``score.scorer`` needs none.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from eyas.calibration.recalibrate import recalibrate
from eyas.config import PipelineParams
from eyas.data.comparability import read_comparability
from eyas.networks.saved_network import Network
from eyas.operations.uniform_outcome import PREFIX, uniform_outcome
from eyas.progress import Progress
from eyas.pruning.cost import Cost
from eyas.pruning.nested_plans import nested_plans
from eyas.pruning.plan import PruningPlan
from eyas.pruning.space import SearchSpace
from eyas.recovery.prune_and_refit import prune_and_refit
from eyas.recovery.refit import RefitReport
from eyas.scoring.finalist import calibration_of, held_out_losses, loss_scorer
from eyas.training import EpochStore, Evaluation, TrainingResult, choose_length, resume_key, write_history
from eyas.training.gradual import Cut, divide_epochs, train_in_cuts
from tasks import stage
from tasks.dense_network import load_dense, save_as_loaded
from tasks.recorded_cost import require_winner
from tasks.search_space import SPACE, read_space
from tasks.training_support import TrainingData, resume_folder, share_cores, training_fields
from tasks.uniform_widths import UNIFORM, uniform_rival

_log = logging.getLogger(__name__)
FIELDS = training_fields("finetune") | {
    "images": "the images of the calibration split",
    "plan": "the winner's plan of score",
    "small": "the pruned network",
}
_BATCH_SIZE = 256
_WINNER = "score/plan.json"
_INPUTS = (
    "fetch/manifest.json",
    "baseline/model.safetensors",
    "baseline/architecture.json",
    SPACE,
)


@dataclass(frozen=True)
class _Finetuned:
    """A network that was pruned to a plan and trained, and how good it was before and after."""

    model: nn.Module
    refitted: RefitReport | None
    before: Evaluation
    """Recalibrated, on the score split."""
    result: TrainingResult
    test: Evaluation

    @property
    def accuracies(self) -> dict[str, float]:
        return {
            "recalibrated_score_accuracy": self.before.accuracy,
            "recalibrated_score_cross_entropy": self.before.cross_entropy,
            "score_accuracy": self.result.best.accuracy,
            "score_cross_entropy": self.result.best.cross_entropy,
            "test_accuracy": self.test.accuracy,
            "test_cross_entropy": self.test.cross_entropy,
            "best_epoch": self.result.best_epoch,
        }


def finetune(params: PipelineParams, artifacts: Path, progress: Progress) -> stage.Metrics:
    """Prune the dense network to the winning plan and train it; the test split is read once, at the end."""
    data, dense = TrainingData.open(params, artifacts), load_dense(params, artifacts)
    plan = PruningPlan.from_json((artifacts / _WINNER).read_text())
    space = read_space(artifacts, dense)
    space.mask(plan)  # a plan of another search space is refused as such
    require_winner(artifacts, space, plan)
    share_cores(params.runtime, data.batch_size(params.finetune.recipe), space.cost().macs)
    uniform = uniform_rival(plan, space, artifacts) if params.finetune.compare_uniform else None
    calibration = calibration_settings(params, artifacts)
    folders = [_resume_folder(params, artifacts, calibration, _WINNER)]
    halves = _halves(progress) if uniform else [progress]
    winner = _finetune(
        params, data, dense, (space, plan), calibration=calibration, folder=folders[0], progress=halves[0]
    )
    dense_test = data.evaluate(dense.model, "test", dense.output)
    note = read_comparability(artifacts / "baseline").note
    scored, tested = winner.result.best.accuracy, winner.test.accuracy
    _log.info("pruned network: score accuracy %.4f, test accuracy %.4f%s", scored, tested, note)
    metrics = _metrics(winner, dense_test, space.cost(plan.widths))
    if uniform:
        folders.append(_resume_folder(params, artifacts, calibration, UNIFORM))
        dense = load_dense(params, artifacts)  # as the file has it: training changed the memory layout of the other one
        other = _finetune(
            params, data, dense, (space, uniform), calibration=calibration, folder=folders[1], progress=halves[1]
        )
        further = {**other.accuracies, **_paired("test", other.test, winner.test)}
        metrics |= {f"{PREFIX}{name}": value for name, value in further.items()}
        _log.info("%s%s", uniform_outcome(metrics, _race(artifacts)), note)
    _save(artifacts / "finetune", winner.model, space, plan, dense)
    write_history(winner.result.history, artifacts / "finetune" / "history.csv")
    for folder in folders:
        EpochStore(folder).clear()
    return metrics


def _metrics(winner: _Finetuned, dense_test: Evaluation, cost: Cost) -> dict[str, float | int]:
    return {
        **winner.accuracies,
        "test_images": winner.test.images,
        **_paired("test", dense_test, winner.test),
        "score_images": winner.before.images,
        **_paired("score", winner.before, winner.result.best),
        **({"refitted_layers": len(winner.refitted.layers)} if winner.refitted else {}),
        **winner.result.length.as_metrics(),
        "macs": cost.macs,
        "params": cost.params,
        "activation_bytes": cost.activation_bytes,
    }


def _halves(progress: Progress) -> list[Progress]:
    """The progress of two trainings of equal length, one after the other, as that of both."""
    return [
        lambda done, total, text="": progress(done, 2 * total, text),
        lambda done, total, text="": progress(total + done, 2 * total, f"uniform widths, {text}"),
    ]


def _finetune(
    params: PipelineParams,
    data: TrainingData,
    dense: Network,
    pruned_to: tuple[SearchSpace, PruningPlan],
    *,
    calibration: Mapping[str, Any],
    folder: Path,
    progress: Progress,
) -> _Finetuned:
    """Prune, recalibrate, refit and train; goes on from ``folder``."""
    small, refitted = _pruned(params, data, dense, pruned_to, calibration=calibration, model=dense.model)
    before = data.evaluate(small, "score", dense.output)
    _log.info("before training: score accuracy %.4f, cross-entropy %.4f", before.accuracy, before.cross_entropy)
    if params.finetune.gradual is None:
        result = _train(params, data, dense, small, folder=folder, progress=progress)
    else:
        small, refitted, result = _train_in_cuts(
            params, data, dense, pruned_to, calibration=calibration, folder=folder, progress=progress
        )
    return _Finetuned(small, refitted, before, result, data.evaluate(small, "test", dense.output))


def _train(
    params: PipelineParams,
    data: TrainingData,
    dense: Network,
    small: nn.Module,
    *,
    folder: Path,
    progress: Progress,
    span: range | None = None,
) -> TrainingResult:
    """Train a pruned network in place; continues from ``folder``."""
    return data.train(
        small,
        params.finetune.recipe,
        params.finetune.epochs,
        seed=params.finetune.seed,
        folder=folder,
        progress=progress,
        teacher=dense.model,
        output=dense.output,
        span=span,
    )


def _train_in_cuts(
    params: PipelineParams,
    data: TrainingData,
    dense: Network,
    pruned_to: tuple[SearchSpace, PruningPlan],
    *,
    calibration: Mapping[str, Any],
    folder: Path,
    progress: Progress,
) -> tuple[nn.Module, RefitReport | None, TrainingResult]:
    """``finetune.gradual``: the winner, what its last refit did, and its training; continues from ``folder``."""
    gradual, (space, plan) = params.finetune.gradual, pruned_to
    assert gradual is not None
    images = _calibration_images(params, data)
    plans = nested_plans(space, plan, gradual.cuts, criterion=gradual.criterion, data=images)
    epochs = choose_length(len(data.split("train")), params.finetune.recipe.batch_size, params.finetune.epochs).epochs
    spans = divide_epochs(epochs, gradual.cuts, gradual.share)
    cuts = [Cut(number, *cut) for number, cut in enumerate(zip(plans, spans, strict=True), start=1)]
    reports: list[RefitReport | None] = []

    def prune(model: nn.Module, space: SearchSpace, plan: PruningPlan) -> nn.Module:
        small, report = _pruned(params, data, dense, (space, plan), calibration=calibration, model=model)
        reports.append(report)
        return small

    def train(small: nn.Module, cut: Cut) -> TrainingResult:
        macs = space.cost(cut.plan.widths).macs / space.cost().macs
        _log.info("cut %d of %d, to %.1f %% of the MACs", cut.number, len(cuts), 100 * macs)
        part = folder / f"cut-{cut.number}"
        return _train(params, data, dense, small, folder=part, progress=progress, span=cut.epochs)

    small, result = train_in_cuts(dense.model, space, cuts, prune=prune, train=train)
    return small, reports[-1], result


def _paired(split: str, before: Evaluation, after: Evaluation) -> dict[str, int]:
    """Images of a split that only one of two networks answers right."""
    gained, lost = after.correct & ~before.correct, before.correct & ~after.correct
    return {f"{split}_gained": int(gained.sum()), f"{split}_lost": int(lost.sum())}


def calibration_settings(params: PipelineParams, artifacts: Path) -> dict[str, Any]:
    """How the score stage's last rung calibrated, for :func:`eyas.recalibrate`: its own record says so."""
    return calibration_of(_race(artifacts)["settings"], params.score.calibrator, params.score.seed)


def _race(artifacts: Path) -> dict[str, Any]:
    """What the race said of itself."""
    race: dict[str, Any] = json.loads((artifacts / "score" / "diagnostics.json").read_text())
    return race


def _pruned(
    params: PipelineParams,
    data: TrainingData,
    dense: Network,
    pruned_to: tuple[SearchSpace, PruningPlan],
    *,
    calibration: Mapping[str, Any],
    model: nn.Module,
) -> tuple[nn.Module, RefitReport | None]:
    """A part of ``model`` with the statistics of the score stage's finalists, and what a refit did where it is kept."""
    scorer, split = params.score.scorer, data.split("score")

    def losses(networks: Sequence[nn.Module]) -> list[float]:
        batches = (
            (split.prepare(stored), labels if scorer.needs_labels else None)
            for stored, labels in split.batches(_BATCH_SIZE)
        )
        judge = loss_scorer(scorer)
        return held_out_losses(networks, dense.model, batches, scorer=judge, output=dense.output)

    images = _calibration_images(params, data)
    _log.info("recalibrating on %d images", min(len(images), calibration["num_images"] or len(images)))
    return prune_and_refit(
        model,
        *pruned_to,
        images,
        recovery=params.finetune.recovery,
        recalibrate=lambda network: recalibrate(network, images, **calibration),
        losses=losses,
        device=data.device,
    )


def _calibration_images(params: PipelineParams, data: TrainingData) -> Tensor:
    """Those that statistics, refits and criteria look at, normalised."""
    return data.dataset.normalise(data.dataset.split("calibration").images(params.score.calibration_images))


def _resume_folder(params: PipelineParams, artifacts: Path, calibration: Mapping[str, Any], plan: str) -> Path:
    """Where the training of the network of ``plan``, a file, keeps its epochs: keyed by all that it depends on."""
    key = resume_key(_key_params(params, calibration), [artifacts / name for name in (*_INPUTS, plan)])
    return resume_folder(params, "finetune", key)


def _key_params(params: PipelineParams, calibration: Mapping[str, Any]) -> dict[str, object]:
    """The parameters that the result of one training depends on."""
    return {
        "finetune": params.finetune.model_dump(mode="json", exclude={"compare_uniform"}),
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
