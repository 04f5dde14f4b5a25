"""An adapted network on its way to the registry: made, judged by the rule, exported, judged by the gates, entered."""

from dataclasses import dataclass

import torch
from torch import nn

from eyas.adaptation.drift import DriftReference
from eyas.adaptation.fewest_images import FEWEST_IMAGES
from eyas.adaptation.revert_rule import RevertVerdict
from eyas.cli.run_view import step
from eyas.data import Dataset
from eyas.data.comparability import read_comparability
from eyas.data.manifest import INDEX
from eyas.deploy.exported_model import ExportedModel
from eyas.errors import RefusedError
from eyas.networks.named_tensors import state
from eyas.operations.adapted_decision import MENTIONED_LOSS
from eyas.operations.tracking import Version, model_registry
from eyas.operations.tracking.adaptation_run import AdaptationRecord
from eyas.operations.tracking.model_registry import CHAMPION
from eyas.training.evaluation import evaluate
from eyas.training.labelled_images import LabelledImages, StoredSplit, TensorSplit
from tasks.adaptation_case import Case
from tasks.adapted_export import export_adapted
from tasks.adapted_gates import BY_LABELS, FIELD_ACCURACY
from tasks.adapted_version import AdaptedVersion, adaptation_key
from tasks.compared_adaptation import TEST_SET
from tasks.compared_networks import digest_of_test
from tasks.judge_version import judge_export
from tasks.registered_network import RegisteredNetwork
from tasks.watch import REFERENCE


@dataclass(frozen=True)
class BesideParent:
    """Accuracy without and with adaptation."""

    adapter: str
    test: tuple[float, float]
    """On the test images."""
    field: tuple[float, float] | None
    """On the field's; None where they have no labels."""

    def lines(self) -> list[str]:
        """Both beside each other, and before them what a strong change costs."""
        unknown = "not known without labels"
        rows = [
            f"{'':<32}{'no adaptation':>14}{self.adapter:>14}",
            f"{'test images, not of the field':<32}{self.test[0]:>14.2%}{self.test[1]:>14.2%}",
            f"{'images of the field':<32}"
            + (f"{self.field[0]:>14.2%}{self.field[1]:>14.2%}" if self.field else f"{unknown:>28}"),
        ]
        was, now = self.test
        if was - now <= MENTIONED_LOSS:
            return rows
        gain = "" if self.field else "; what is gained in the field shows with --labels"
        return [f"caution: where images become as before, accuracy falls from {was:.2%} to {now:.2%}{gain}", *rows]


def make_adapted(case: Case, origin: RegisteredNetwork) -> nn.Module:
    """A copy of the network that has followed the field.

    Raises:
        RefusedError: it is what it was.
    """
    adapted = case.follow(origin.network.model, case.followed)
    before, after = state(origin.network.model), state(adapted)
    if before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before):
        kind = case.section.adapter.kind
        msg = f"{kind} leaves {origin.version} as it is: there is nothing to propose; take another --adapter"
        raise RefusedError(msg)
    return adapted


def propose(
    case: Case,
    origin: RegisteredNetwork,
    adapted: nn.Module,
    verdict: RevertVerdict,
    beside: BesideParent,
    *,
    record: AdaptationRecord,
) -> Version:
    """Export the network, let the gates judge the files, and register them as candidate.

    Raises:
        RefusedError: a gate said no; nothing was registered.
        ParityError: a file computes something else than PyTorch.
    """
    export = case.scratch / "export"
    export.mkdir()
    dataset = answered(case.dataset, origin.exported)
    with step("export") as shown:
        words = f"its statistics follow {len(case.field):,} images of the field, and test images are not of the field"
        caution = "; ".join(filter(None, (read_comparability(case.workspace.artifacts / "baseline").reason, words)))
        exported = export_adapted(
            case.workspace.params, origin.exported, adapted, case.field, dataset=dataset, folder=export, caution=caution
        )
        if len(case.field) >= FEWEST_IMAGES:
            DriftReference.of(adapted, case.images).save(export / REFERENCE)
        shown.note = f"agrees with PyTorch (largest difference {exported['max_difference']:.2g})"
    tested = evaluate(adapted, labelled_test(dataset), output=origin.network.output)
    version = AdaptedVersion(
        parent=origin,
        export=export,
        run_id=record.run_id,
        key=adaptation_key(origin.version, case.field, case.section, len(case.followed)),
        record=made_of(case, verdict, beside),
        metrics={
            **tested.metrics("finetune.test"),
            "finetune.test_images": tested.images,
            **{f"export.{name}": value for name, value in exported.items()},
        },
        description=f"{origin.version}, adapted by {case.section.adapter.kind} to {len(case.field):,} field images.",
    )
    require_gates(case, version)
    with step("register") as shown:
        registered = version.register(case.store, case.workspace.params.register_.alias)
        shown.note = str(registered)
    return registered


def require_gates(case: Case, version: AdaptedVersion) -> None:
    """The gates of ``eyas promote`` hold, as they will be asked again there.

    Raises:
        RefusedError: one does not.
    """
    unregistered = version.unregistered()
    champion = model_registry.get_alias(case.store, unregistered.name, CHAMPION)
    with step("gates"):
        files = ExportedModel.open(version.export)
        decision = judge_export(case.store, case.workspace, unregistered, files, champion=champion)
    reasons = [gate.reason for gate in decision.gates if not gate.passed]
    if reasons:
        way = "give other images, or set the limit that is named"
        msg = f"{version.parent.version} stays as it is, what was adapted is refused: {'; '.join(reasons)}; {way}"
        raise RefusedError(msg)


def made_of(case: Case, verdict: RevertVerdict, beside: BesideParent) -> dict[str, object]:
    """What a version records of its adaptation."""
    return {
        "adapter": case.section.adapter.model_dump(mode="json"),
        "batch_size": case.section.batch_size,
        BY_LABELS: verdict.by_labels,
        "copies": case.field.copies,
        "dates": case.field.dates,
        FIELD_ACCURACY: beside.field,
        "images": len(case.field),
        "images_digest": case.field.digest,
        "keep": verdict.keep,
        "labelled": case.field.labels is not None,
        "seed": case.section.seed,
        TEST_SET: digest_of_test(case.workspace.artifacts / "fetch" / INDEX),
        "verdict": verdict.sentence,
    }


def answered(dataset: Dataset, exported: ExportedModel) -> Dataset:
    """The data set; where images have no labels, with the answers of the dense network's file in their place."""
    splits = [name for name in ("calibration", "test") if not dataset.task_of(name).labelled]
    if not splits:
        return dataset
    answers = {name: torch.from_numpy(exported.answers(dataset.split(name).images(), "dense.onnx")) for name in splits}
    return dataset.answered_by(answers, len(exported.manifest["classes"]))


def labelled_test(dataset: Dataset) -> LabelledImages:
    """Those of the workspace, which are not of the field."""
    return StoredSplit(dataset.split("test"), dataset.normalise, dataset.task_of("test"))


def compare_with_parent(case: Case, origin: RegisteredNetwork, adapted: nn.Module) -> BesideParent:
    """No adaptation beside the adapted network: on the test images, and on the field where it has labels."""

    def both(split: LabelledImages) -> tuple[float, float]:
        models = (origin.network.model, adapted)
        was, now = (evaluate(model, split, output=origin.network.output).accuracy for model in models)
        return was, now

    labels = case.field.labels
    return BesideParent(
        case.section.adapter.kind,
        both(labelled_test(answered(case.dataset, origin.exported))),
        None if labels is None else both(TensorSplit(case.images, labels)),
    )
