"""Stage ``finetune``: the winner is sliced, recalibrated and trained with the dense network as its teacher.

With ``finetune.gradual`` it is sliced in several cuts, and trained after each.
With ``finetune.compare_uniform`` the network of uniform widths is as well, to be held against it and not exported.

With ``finetune.epochs: 0`` nothing is trained; labels are then read to tell accuracies, and decide nothing where
``score.scorer`` needs none.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from eyas.config import PipelineParams
from eyas.data.comparability import read_comparability
from eyas.networks.saved_network import Network
from eyas.operations.paired_difference import compare
from eyas.operations.uniform_outcome import PREFIX, uniform_outcome
from eyas.progress import Progress
from eyas.pruning.cost import Cost
from eyas.pruning.nonzero_cost import nonzero_cost
from eyas.pruning.plan import PruningPlan
from eyas.pruning.space import SearchSpace
from eyas.scoring.finalist import calibration_of
from eyas.scoring.scorers import Scorer
from eyas.training import EpochStore, Evaluation, resume_key, write_history
from eyas.training.data_parallel import Processes
from eyas.training.recorded_answers import ANSWERS, write_answers
from tasks import stage
from tasks.dense_network import load_dense, save_as_loaded
from tasks.pruned_training import Finetuned, PrunedTraining
from tasks.recorded_cost import require_winner
from tasks.search_space import SPACE, read_space
from tasks.training_processes import start_processes
from tasks.training_support import TrainingData, resume_folder, share_cores, training_fields
from tasks.uniform_widths import UNIFORM, uniform_rival

_log = logging.getLogger(__name__)
FIELDS = training_fields("finetune") | {
    "images": "the images of the calibration split",
    "plan": "the winner's plan of score",
    "small": "the pruned network",
}
_WINNER = "score/plan.json"
_INPUTS = (
    "fetch/manifest.json",
    "baseline/model.safetensors",
    "baseline/architecture.json",
    SPACE,
)


def finetune(params: PipelineParams, artifacts: Path, progress: Progress) -> stage.Metrics:
    """Prune the dense network to the winning plan and train it; the test split is read once, at the end."""
    dense = load_dense(params, artifacts)
    data = TrainingData.open(params, artifacts).answered_by(dense)
    plan = PruningPlan.from_json((artifacts / _WINNER).read_text())
    space = read_space(artifacts, dense)
    space.mask(plan)  # a plan of another search space is refused as such
    require_winner(artifacts, space, plan)
    share_cores(params.runtime, data.batch_size(params.finetune.recipe), space.cost().macs)
    uniform = uniform_rival(plan, space, artifacts) if params.finetune.compare_uniform else None
    calibration = calibration_settings(params, artifacts)
    folders = [_resume_folder(params, artifacts, calibration, _WINNER)]
    halves = _halves(progress) if uniform else [progress]
    training = PrunedTraining(params, data, dense, space, calibration, race_scorer(artifacts))
    winner = training.run(plan, folders[0], halves[0])
    dense_test = data.evaluate(dense.model, "test", dense.output)
    note = read_comparability(artifacts / "baseline").note
    best, test = winner.result.best, winner.test
    _log.info("pruned network: score %s %.4f, test %s %.4f%s", best.words, best.value, test.words, test.value, note)
    metrics, tests = _metrics(winner, dense_test, space.cost(plan.widths)), {"dense": dense_test, "pruned": winner.test}
    if params.finetune.sparsity is not None:
        metrics |= nonzero_cost(winner.model, dense.example().to(data.device)).as_metrics()
    if uniform:
        folders.append(_resume_folder(params, artifacts, calibration, UNIFORM))
        dense = load_dense(params, artifacts)  # as the file has it: training changed the memory layout of the other one
        other = replace(training, dense=dense).run(uniform, folders[1], halves[1])
        further, tests["uniform"] = {**other.accuracies, **_paired("test", other.test, winner.test)}, other.test
        metrics |= {f"{PREFIX}{name}": value for name, value in further.items()}
        _log.info("%s%s", uniform_outcome(metrics, _race(artifacts)), note)
    if not Processes.running().first:
        return {}
    _save(artifacts / "finetune", winner.model, space, plan, dense)
    write_history(winner.history, artifacts / "finetune" / "history.csv", best.measure)
    write_answers(artifacts / "finetune" / ANSWERS, data.split("test"), tests)
    for folder in folders:
        EpochStore(folder).clear()
    return metrics


def _metrics(winner: Finetuned, dense_test: Evaluation, cost: Cost) -> dict[str, float | int]:
    return {
        **winner.accuracies,
        "test_images": winner.test.images,
        **_paired("test", dense_test, winner.test),
        **_paired("finetuning", winner.test_before, winner.test),
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


def _paired(split: str, before: Evaluation, after: Evaluation) -> dict[str, float | int]:
    """How two networks compare on the images of a split, image by image."""
    return {f"{split}_{name}": value for name, value in compare(before, after).metrics().items()}


def calibration_settings(params: PipelineParams, artifacts: Path) -> dict[str, Any]:
    """How the score stage's last rung calibrated, for :func:`eyas.recalibrate`: its own record says so."""
    return calibration_of(_race(artifacts)["settings"], params.score.calibrator, params.score.seed)


def race_scorer(artifacts: Path) -> Scorer:
    """What ranked the candidates."""
    return Scorer.parse(_race(artifacts)["settings"]["scorer"])


def _race(artifacts: Path) -> dict[str, Any]:
    """What the race said of itself."""
    race: dict[str, Any] = json.loads((artifacts / "score" / "diagnostics.json").read_text())
    return race


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
        "scorer": params.score.model_dump(mode="json")["scorer"],
    }


def _save(folder: Path, small: nn.Module, space: SearchSpace, plan: PruningPlan, dense: Network) -> None:
    """Weights, plan and architecture, as ``eyas.load`` reads them."""
    save_as_loaded(replace(dense, model=small.cpu().eval()), folder, pruned_to=(space, plan))


if __name__ == "__main__":
    stage.main("finetune", finetune, FIELDS, start=start_processes)
