"""Stage ``export``: files for the device, and proof that they compute the same."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eyas.config import ExportParams, PipelineParams
from eyas.data import Dataset, open_dataset
from eyas.data.tasks import Task
from eyas.deploy.bn_statistics import write_bundle
from eyas.deploy.exporters import Exporter
from eyas.deploy.logit_parity import compare_logits, compare_output
from eyas.deploy.named_outputs import flattened, outputs_of
from eyas.deploy.onnx_runtime import LOGITS
from eyas.networks.architecture_record import ARCHITECTURE, PLAN, WEIGHTS
from eyas.networks.saved_network import Network
from eyas.progress import Progress
from eyas.pruning.mask_parity import check_parity
from eyas.pruning.plan import PruningPlan
from eyas.storage.digests import file_sha256
from tasks.dense_network import load_dense, load_pruned
from tasks.recorded_cost import require_winner
from tasks.search_space import read_space
from tasks.stage import Metrics, main, write_json

SLICING_LIMIT = 1e-9
"""Relative difference between the sliced and the masked dense network that sums in float64 may have."""
FIELDS = {name: f"export.{name}" for name in ("max_difference", "min_agreement", "exporters")} | {
    "output": "baseline.output"
}
"""The parameter behind each argument that the library's messages name."""
FORMATS = "formats"
"""Folder of what is written beside float32 ONNX; may stay empty."""
CALIBRATION_IMAGES = 256
"""What formats with few bits take the ranges of activations from; never test images."""


def export(params: PipelineParams, artifacts: Path, progress: Progress) -> Metrics:
    """Write the pruned and the dense network for their runtimes, compare, list.

    Raises:
        ParityError: slicing or a written file computes something else than it should.
        DataError: the plan is not the winner's, or its row costs something else than score wrote.
    """
    folder, settings = artifacts / "export", params.export
    dataset = open_dataset(artifacts / "fetch")
    test = dataset.split("test")
    images_NCHW = dataset.normalise(test.images(settings.parity_images))
    labels = test.first_labels(len(images_NCHW))
    ranges_NCHW = dataset.normalise(dataset.split("calibration").images(CALIBRATION_IMAGES))
    network = load_dense(params, artifacts)
    raw = load_pruned(artifacts / "finetune", network)
    dense, pruned = (flattened(model, images_NCHW, network.output) for model in (network.model, raw))

    progress(0, 3, "mask parity of the winner")
    slicing = check_slicing(network, artifacts, images_NCHW[:8])
    progress(1, 3, "writing files")
    shutil.rmtree(folder / FORMATS, ignore_errors=True)
    (folder / FORMATS).mkdir(parents=True)
    written = write_files(settings, dense, pruned, ranges_NCHW, folder)
    progress(2, 3, "comparing them with PyTorch")
    parity = {"slicing": slicing, "files": check_files(settings, written, (dense, pruned), images_NCHW, labels)}
    write_json(folder / "parity.json", parity)
    weights = copy_weights(artifacts / "finetune", folder, raw, len(dataset.split("train")))
    listed = [*(path for _, path in written.values()), *weights, folder / "parity.json"]
    write_json(folder / "manifest.json", manifest(folder, listed, dataset))
    progress(3, 3, "done")
    return metrics(parity, churn=churn(dense, pruned, images_NCHW))


def check_slicing(dense: Network, artifacts: Path, images_NCHW: Tensor) -> dict[str, float]:
    """Mask parity of the winner's plan: the sliced network against the masked dense one.

    Raises:
        ParityError: they differ by more than rounding.
        DataError: it is another candidate's plan.
    """
    plan = PruningPlan.from_json((artifacts / "finetune" / "plan.json").read_text())
    space = read_space(artifacts, dense)
    require_winner(artifacts, space, plan)
    # In float64, so that what remains is no rounding.
    parity = check_parity(dense.model, space, plan, (images_NCHW,), dtype=torch.float64).require(SLICING_LIMIT)
    return {"max_difference": parity.max_absolute, "relative_difference": parity.max_relative}


def write_files(
    settings: ExportParams, dense: nn.Module, pruned: nn.Module, ranges_NCHW: Tensor, folder: Path
) -> dict[str, tuple[Exporter, Path]]:
    """Every format of the pruned network, and the dense one in float32 ONNX to compare with, by name."""
    exporters = settings.chosen
    onnx = exporters.pop("onnx")
    written = {"dense": (onnx, onnx(dense, ranges_NCHW, folder / "dense.onnx"))}
    written["model"] = (onnx, onnx(pruned, ranges_NCHW, folder / "model.onnx"))
    for kind, exporter in exporters.items():
        path = folder / FORMATS / f"model{exporter.suffix}"
        written[kind] = (exporter, exporter(pruned, ranges_NCHW, path))
    return written


def check_files(
    settings: ExportParams,
    written: dict[str, tuple[Exporter, Path]],
    networks: tuple[nn.Module, nn.Module],
    images_NCHW: Tensor,
    labels: Tensor,
) -> dict[str, dict[str, Any]]:
    """Each file against PyTorch on the same images, all outputs, and its own accuracy there; by file name.

    Raises:
        ParityError: a file breaks its limits.
    """
    results = {}
    dense, pruned = (outputs_of(network, images_NCHW) for network in networks)
    for name, (exporter, path) in written.items():
        expected, exported = dense if name == "dense" else pruned, exporter.outputs(path, images_NCHW)
        limit, share = exporter.limits(settings.max_difference, settings.min_agreement)
        parity = compare_logits(expected[LOGITS], exported[LOGITS])
        parity.require(path.name, max_difference=limit, min_agreement=share)
        others = {other: compare_output(expected[other], exported[other]) for other in exported if other != LOGITS}
        for other, comparison in others.items():
            comparison.require(other, path.name, max_difference=limit, min_agreement=share)
        tally = Task.of(labels).tally(exported[LOGITS].argmax(1), labels.long(), exported[LOGITS].shape[1])
        results[path.name] = parity.as_dict() | tally.measures() | {"bytes": path.stat().st_size}
        if others:
            results[path.name]["outputs"] = {other: asdict(comparison) for other, comparison in others.items()}
    return results


def copy_weights(source: Path, folder: Path, pruned: nn.Module, images: int) -> list[Path]:
    """What rebuilds the network in PyTorch, and its batch-norm statistics."""
    copies = [Path(shutil.copyfile(source / name, folder / name)) for name in (WEIGHTS, PLAN, ARCHITECTURE)]
    return [*copies, write_bundle(pruned, images, folder / "bn_statistics.safetensors")]


def manifest(folder: Path, listed: Sequence[Path], dataset: Dataset) -> dict[str, Any]:
    """sha256 and size of every file of the stage, and the input the network expects."""
    names = {path.relative_to(folder).as_posix(): path for path in sorted(listed)}
    return {
        "version": 1,
        "files": {name: {"sha256": file_sha256(path), "bytes": path.stat().st_size} for name, path in names.items()},
        "input": {
            "shape": list(dataset.image_shape),
            "resize": dataset.manifest.image.resize,
            "mean": list(dataset.mean),
            "std": list(dataset.std),
        },
        **({} if dataset.task.kind == "classification" else {"task": dataset.task.kind}),
        "classes": list(dataset.class_names),
        "dataset": dataset.digest,
    }


def churn(dense: nn.Module, pruned: nn.Module, images_NCHW: Tensor) -> float:
    """Share of images that the pruned network answers otherwise than the dense one."""
    return 1.0 - compare_logits(*(outputs_of(model, images_NCHW)[LOGITS] for model in (dense, pruned))).agreement


def metrics(parity: dict[str, Any], churn: float) -> Metrics:
    """One flat object of numbers; no times, so that equal runs have equal bytes."""
    files = {name.removesuffix(".onnx").replace(".", "_"): result for name, result in parity["files"].items()}
    numbers: dict[str, float | int] = {f"{name}_bytes": result["bytes"] for name, result in files.items()}
    measures = [member.measure for member in Task.members().values()]
    numbers |= {f"{name}_{part}": result[part] for name, result in files.items() for part in measures if part in result}
    pruned = parity["files"]["model.onnx"]
    numbers |= {name: pruned[name] for name in ("max_difference", "relative_difference", "agreement", "images")}
    return numbers | {"slicing_difference": parity["slicing"]["relative_difference"], "churn": churn}


if __name__ == "__main__":
    main("export", export, FIELDS)
