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


def as_recorded(
    metrics: Mapping[str, float], candidate: ExportedModel, dense: MeasuredNetwork, *, dataset: str, agreement: float
) -> Iterator[Gate]:
    """What a version's record allows to be held against; nothing of what it does not tell.

    Args:
        metrics: as they were when the version was registered, ``<stage>.<name>``.
        candidate: its files.
        dense: what ``dense.onnx`` answered.
        dataset: digest of the data whose test images it answered; of other images nothing was recorded.
        agreement: share of images that an exported file answers like PyTorch.
    """
    recorded = metrics.get("baseline.test_accuracy")
    if recorded is not None and candidate.manifest["dataset"] == dataset:
        yield _accuracy(dense, recorded, agreement)
    if all(f"finetune.{name}" in metrics for name in COSTS) and (candidate.folder / SPACE_FILE).exists():
        yield _cost(candidate, {name: metrics[f"finetune.{name}"] for name in COSTS})


def _accuracy(dense: MeasuredNetwork, recorded: float, agreement: float) -> Gate:
    """As many images as an export may change, and one for rounding."""
    difference, limit = abs(dense.accuracy - recorded), 1 - agreement + 1 / len(dense.labels)
    words = (
        f"dense.onnx has test accuracy {dense.accuracy:.4f}, the baseline's record says {recorded:.4f}: allowed is a "
        f"difference of {limit:.4f}"
    )
    return Gate("dense_as_recorded", difference, limit, difference <= limit + 1e-9, words)


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
