"""The bundle among the files of stage ``export``, or why there is none."""

import logging
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eyas.config import PipelineParams
from eyas.data import Dataset
from eyas.data.tasks import class_overlap
from eyas.deploy.bundle.contents import BUNDLE, TAR, pack
from eyas.deploy.bundle.make_bundle import DeviceAdaptation, make_bundle
from eyas.deploy.bundle.model_card import CardFacts, model_card
from eyas.deploy.exporters.onnx import Onnx
from eyas.deploy.logit_parity import LogitParity
from eyas.deploy.named_outputs import outputs_of
from eyas.deploy.runtimes import LOGITS, Runtime
from eyas.pruning.cost import Cost
from eyas.pruning.plan import PruningPlan
from tasks.stage import Metrics

log = logging.getLogger(__name__)
UNLICENSED = "no licence was stated (export.licence): ask whoever gave you this"


def write_bundle(
    params: PipelineParams,
    export: Path,
    dataset: Dataset,
    exported: nn.Module,
    *,
    files: dict[str, Any],
    costs: tuple[Cost, Cost],
    caution: str,
    source: Path | None = None,
) -> Metrics:
    """Write ``bundle`` and its tar; both stay empty where none is wanted, or the network answers otherwise.

    Args:
        params: of the pipeline.
        export: the folder of the exported files, whole but for their manifest.
        dataset: that the stages read.
        exported: the network.
        files: ``parity.json``'s ``files``.
        costs: of the dense network and of this one.
        caution: why accuracies do not compare, where they do not.
        source: where the files of the network lie that knows clean images, if that is another one.

    Raises:
        ParityError: the bundle answers otherwise than PyTorch.
    """
    folder, settings = export / BUNDLE, params.export
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    images_NCHW = dataset.normalise(dataset.split("test").images(settings.parity_images))
    pixels = dataset.task.answer_shape(dataset.image_shape)
    reason = "export.bundle is false"
    if settings.bundle:
        reason = why_none(exported, images_NCHW, (dataset.num_classes, *pixels))
    if reason:
        log.info("no bundle: %s", reason)
        pack(folder, export / TAR)
        return {}
    right = right_by_class(export, dataset, images_NCHW)
    plan = PruningPlan.from_json((export / "plan.json").read_text())
    licence = settings.licence or UNLICENSED

    def card(parity: LogitParity) -> str:
        how = f"Held against PyTorch, each reading {parity.images} test images in their own and other sizes by itself:"
        most = f"a probability differs by {parity.max_difference:.2g} at most"
        replayed = f"{how} {most}, top-1 agreement {parity.agreement:.2%}."
        facts = CardFacts(
            params.baseline.architecture, costs, plan, files, right, replayed, licence, caution, version("eyas")
        )
        return model_card(facts, dataset.manifest, {one.name for one in folder.iterdir()})

    parity = make_bundle(
        export,
        folder,
        dataset,
        exported,
        in_graph=settings.preprocessing_in_graph,
        licence=licence,
        adaptable=device_adaptation(params, source or export, dataset) if settings.adaptable else None,
        card=card,
    )
    return {
        "bundle_bytes": (export / TAR).stat().st_size,
        "bundle_difference": parity.max_difference,
        "bundle_agreement": parity.agreement,
    }


def device_adaptation(params: PipelineParams, export: Path, dataset: Dataset) -> DeviceAdaptation:
    """What a device needs to judge as ``eyas adapt`` does: the limits, and the classes of the score split's answers.

    Args:
        params: of the pipeline.
        export: the folder with the ``model.onnx`` that answers.
        dataset: that the stages read. Without labels in its score split there is no canary, here and there.
    """
    settings, clean = params.adapt, None
    if dataset.task_of("score").labelled:
        images_NCHW = dataset.normalise(dataset.split("score").images(settings.source_images))
        logits = Runtime.parse("onnx").open(export / "model.onnx").logits(images_NCHW)
        probabilities_NK = logits.softmax(1).flatten(2).mean(2) if logits.ndim > 2 else logits
        clean = torch.bincount(probabilities_NK.argmax(1), minlength=logits.shape[1]).tolist()
    return DeviceAdaptation(Onnx.parse(params.export.chosen["onnx"]), settings.rule.model_dump(), clean)


def why_none(exported: nn.Module, images_NCHW: Tensor, answer: tuple[int, ...]) -> str:
    """Why the network makes no bundle, which gives an ``answer`` of that shape to an image; empty if it does."""
    shape = tuple(outputs_of(exported, images_NCHW[:2])[LOGITS].shape)
    if shape == (min(2, len(images_NCHW)), *answer):
        return ""
    pixels = " and pixel" if answer[1:] else ""
    return (
        f"the network answers with {shape} to two images, a bundle with one probability for each of {answer[0]} "
        f"classes{pixels}"
    )


def right_by_class(export: Path, dataset: Dataset, images_NCHW: Tensor) -> list[tuple[int, int]]:
    """For each class how many of its test images ``model.onnx`` answers rightly, and how many there are.

    Where each pixel has a class: the pixels that answer and label share, and those that either has.
    """
    answers = Runtime.parse("onnx").open(export / "model.onnx").logits(images_NCHW).argmax(1)
    labels = dataset.split("test").labels[: len(answers)]
    if labels.ndim > 1:
        shared_K, either_K = class_overlap(answers, labels.long(), dataset.num_classes).sum(1).tolist()
        return list(zip(shared_K, either_K, strict=True))
    counts = (torch.bincount(chosen, minlength=dataset.num_classes) for chosen in (labels[answers == labels], labels))
    return list(zip(*(count.tolist() for count in counts), strict=True))
