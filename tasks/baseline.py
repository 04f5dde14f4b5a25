"""Stage ``baseline``: a checkpoint or a training becomes the dense network, with its accuracy and its cost."""

import logging
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from eyas.config import PipelineParams
from eyas.data import Dataset
from eyas.data.tasks import Task
from eyas.errors import ParameterError
from eyas.networks.answers import require_repeating
from eyas.networks.architectures import build_model, find_architecture
from eyas.networks.checkpoint import load_checkpoint
from eyas.networks.constants import advice, checksums, same_constants
from eyas.networks.operated_network import OperatedNetwork, operate
from eyas.networks.saved_network import Network
from eyas.progress import Progress
from eyas.pruning.tracing.trace import trace
from eyas.training import EpochStore, Evaluation, TrainingResult, resume_key, write_history
from eyas.training.data_parallel import Processes
from tasks import stage
from tasks.comparable import comparability
from tasks.dense_network import save_as_loaded
from tasks.dense_source import DenseSource, classes_of_network, find_dense_source
from tasks.export_trial import try_exporters
from tasks.search_space import EXAMPLE_INPUTS
from tasks.source_version import SOURCE
from tasks.training_processes import start_processes
from tasks.training_support import TrainingData, check_fits, resume_folder, share_cores, training_fields

_log = logging.getLogger(__name__)
_MEASURED = 1024
"""At most so many calibration images tell surgeries what layers see."""

FIELDS = training_fields("baseline") | {
    "architecture": "baseline.architecture",
    "arguments": "baseline.arguments",
    "example_inputs": EXAMPLE_INPUTS,
    "exporters": "export.exporters",
    "key": "baseline.checkpoint_key",
    "surgeries": "baseline.surgeries",
}
"""The parameter behind each argument that the library's messages name."""


def baseline(params: PipelineParams, artifacts: Path, progress: Progress) -> stage.Metrics:
    """Load or train the network that ``params.baseline`` names; the test split is read once, at the end."""
    section, data, metrics = params.baseline, TrainingData.open(params, artifacts), {}
    source = find_dense_source(params)
    recipe = section.recipe if source.weights is None else section.recipe.for_trained(data.batch_size(section.recipe))
    epochs = section.epochs if source.weights is None else section.adapt_epochs
    network, operated = _build(params, source, data, data.length(recipe, epochs).steps)
    space = trace(network.model, (network.example(),))
    cost = space.cost()
    _require_repeating(network, space.constants, section.seed)
    network = replace(network, constants=space.constants)
    share_cores(params.runtime, data.batch_size(section.recipe), cost.macs)
    try_exporters(params, network, cost.macs, len(data.split("train")))
    inputs = [artifacts / "fetch" / "manifest.json"]
    compared = comparability(section, source, data.dataset)
    if source.weights is not None:
        inputs.append(source.weights)
        if epochs:
            metrics = _judge_checkpoint(data, replace(network, model=operated.before), compared.note)
    data = data.answered_by(network)
    settings = {"baseline": section.model_dump(mode="json"), "output": network.output}
    key = resume_key(settings, inputs)
    folder = resume_folder(params, "baseline", key)
    result = data.train(
        operated.model, recipe, epochs, seed=section.seed, folder=folder, progress=progress, output=network.output
    )
    if not Processes.running().first:
        return {}
    network = replace(network, model=operated.finish())
    metrics |= _judge(data, network, result, compared.note)
    save_as_loaded(network, artifacts / "baseline")
    compared.write(artifacts / "baseline")
    if not compared.comparable:
        _log.warning("accuracies of dense and pruned network are not comparable: %s", compared.reason)
    stage.write_json(artifacts / "baseline" / SOURCE, dict(source.versions))
    write_history(result.history, artifacts / "baseline" / "history.csv", result.best.measure)
    EpochStore(folder).clear()
    metrics["comparable"] = int(compared.comparable)
    return {**metrics, "macs": cost.macs, "params": cost.params, "activation_bytes": cost.activation_bytes}


def _build(
    params: PipelineParams, source: DenseSource, data: TrainingData, steps: int
) -> tuple[Network, OperatedNetwork]:
    """The architecture with fresh weights or those of the source, found to fit the data; and as surgeries left it."""
    section, dataset = params.baseline, data.dataset
    classes = classes_of_network(dataset.num_classes, source, section.checkpoint_key)
    named = find_architecture(source.architecture, source.arguments, classes)
    model = build_model(source.architecture, source.arguments, classes, seed=section.seed)
    output = check_fits(model, dataset, params.output, operated=bool(section.surgeries))
    if source.weights is not None:
        load_checkpoint(model, source.weights, section.checkpoint_key, dataset.class_names)
    seen = section.checkpoint is not None and section.seen_by_checkpoint is True
    if seen:
        _log.info("the checkpoint has seen the score and calibration images: scores on them are optimistic")
    operated = OperatedNetwork.untouched(model)
    if section.surgeries:
        operated = operate(model, section.surgeries, _calibration_images(dataset), steps=steps)
        named = operated.architecture(named)
        _log.info("normalisation changed: %s", operated.text)
    return Network(operated.finish(), named.factory, named.arguments, dataset.image_shape, seen, output), operated


def _calibration_images(dataset: Dataset) -> Tensor:
    return dataset.normalise(dataset.split("calibration").images(_MEASURED))


def _require_repeating(network: Network, constants: tuple[Tensor, ...], seed: int) -> None:
    """Refuse a factory that makes something else each time but weights, so that what is loaded computes otherwise.

    Raises:
        ParameterError: it does.
    """
    again = build_model(network.architecture, network.arguments, network.arguments["num_classes"], seed=seed + 1)
    if constants:
        other = trace(again, (network.example(),)).constants
        if not same_constants(checksums(constants), checksums(other)):
            raise ParameterError(f"the network cannot be saved whole: {advice(constants)}")
    require_repeating(network.model, again, ((network.example(2),), {}))


def _judge_checkpoint(data: TrainingData, network: Network, note: str) -> dict[str, float | int]:
    """The checkpoint as it came: what adapting it starts from."""
    score, test = (data.evaluate(network.model, split, network.output) for split in ("score", "test"))
    words = (score.words, score.value, test.words, test.value)
    _log.info("checkpoint as it is: score %s %.4f, test %s %.4f%s", *words, note)
    return score.metrics("checkpoint_score") | test.metrics("checkpoint_test")


def _judge(data: TrainingData, network: Network, result: TrainingResult, note: str) -> dict[str, float | int]:
    """The dense network as it goes on: score from its best epoch, test read now."""
    test = data.evaluate(network.model, "test", network.output)
    if test.measure == Task.measure:
        words = (result.best.words, result.best.value, test.words, test.value)
        _log.info("dense network: score %s %.4f, test %s %.4f%s", *words, note)
    else:
        _log.info("dense network: its answers to %d images stand for labels", result.best.images + test.images)
    return {
        **_told(result.best, "score"),
        **_told(test, "test"),
        "test_images": test.images,
        "score_images": result.best.images,
        "best_epoch": result.best_epoch,
        **result.length.as_metrics(),
    }


def _told(evaluation: Evaluation, split: str) -> dict[str, float]:
    """Its metrics; none of agreement, which the dense network has with itself."""
    return evaluation.metrics(split) if evaluation.measure == Task.measure else {}


if __name__ == "__main__":
    stage.main("baseline", baseline, FIELDS, start=start_processes)
