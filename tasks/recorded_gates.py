"""Gates that hold a version against its own record: files that agree with each other may all be wrong together."""

from collections.abc import Iterator, Mapping

from eyas.deploy.exported_model import ExportedModel
from eyas.errors import PlanError
from eyas.networks.architecture_record import PLAN
from eyas.operations.gate import Gate
from eyas.operations.measured_network import MeasuredNetwork
from eyas.pruning.plan import PruningPlan
from eyas.pruning.space_json import cost_of
from tasks.recorded_cost import COSTS

SPACE_FILE = "space.json"
"""The search space among a version's files."""
RECORDED = {"dense": ("dense.onnx", "baseline"), "candidate": ("model.onnx", "finetune")}
"""By role: the file, and the stage that recorded its test accuracy."""


def as_recorded(
    metrics: Mapping[str, float],
    candidate: ExportedModel,
    measured: Mapping[str, MeasuredNetwork],
    *,
    dataset: str,
    agreement: float,
    made_by: str = "finetune",
) -> Iterator[Gate]:
    """What a version's record allows to be held against; nothing of what it does not tell.

    Args:
        metrics: as they were when the version was registered, ``<stage>.<name>``.
        candidate: its files.
        measured: what ``dense.onnx`` and its ``model.onnx`` (``candidate``) answered.
        dataset: digest of the data whose test images they answered; of other images nothing was recorded.
        agreement: share of images that an exported file answers like PyTorch.
        made_by: what made the candidate, in words: whose record that is.
    """
    for role, (file, stage) in RECORDED.items():
        measure = "accuracy" if measured[role].labelled else measured[role].task.measure
        recorded = metrics.get(f"{stage}.test_{measure}")
        if recorded is not None and candidate.manifest["dataset"] == dataset:
            recorder = made_by if role == "candidate" else stage
            words = f"{file} has test {measure} {measured[role].accuracy:.4f}, the record of {recorder} says"
            yield _accuracy(f"{role}_as_recorded", measured[role], recorded, agreement, words)
    if all(f"finetune.{name}" in metrics for name in COSTS) and (candidate.folder / SPACE_FILE).exists():
        yield _cost(candidate, {name: metrics[f"finetune.{name}"] for name in COSTS})


def _accuracy(name: str, network: MeasuredNetwork, recorded: float, agreement: float, words: str) -> Gate:
    """As many images as an export may change, and one for rounding."""
    difference, limit = abs(network.accuracy - recorded), 1 - agreement + 1 / len(network.labels)
    reason = f"{words} {recorded:.4f}: allowed is a difference of {limit:.4f}"
    return Gate(name, difference, limit, difference <= limit + 1e-9, reason)


def _cost(candidate: ExportedModel, recorded: Mapping[str, float]) -> Gate:
    """The plan's widths cost what finetune recorded, by the search space that was registered with it."""
    plan = PruningPlan.from_json((candidate.folder / PLAN).read_bytes())
    try:
        cost = cost_of((candidate.folder / SPACE_FILE).read_bytes(), plan)
    except PlanError as error:
        return Gate("cost_as_recorded", 0.0, recorded["macs"], False, f"the plan's cost cannot be told: {error}")
    wrong = [name for name in COSTS if getattr(cost, name) != recorded[name]]
    name = wrong[0] if wrong else "macs"
    words = f"the plan's widths cost {getattr(cost, name)} {name}, recorded are {recorded[name]:.0f}"
    return Gate("cost_as_recorded", float(getattr(cost, name)), float(recorded[name]), not wrong, words)
