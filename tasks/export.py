"""Stage ``export``: files for the device, and proof that they compute the same."""

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eyas.config import ExportParams, PipelineParams
from eyas.data import Dataset, open_dataset
from eyas.data.comparability import read_comparability
from eyas.data.index import read_index
from eyas.data.manifest import INDEX
from eyas.data.tasks import Task
from eyas.deploy.artifact_gate import DENSE_AGREEMENT, ArtifactLimits, compare_artifact
from eyas.deploy.bn_statistics import write_statistics
from eyas.deploy.bundle.contents import BUNDLE
from eyas.deploy.calibration_check import require_like_training
from eyas.deploy.compressed_files import compressed_sizes
from eyas.deploy.exporters import Exporter
from eyas.deploy.first_divergence import first_divergence
from eyas.deploy.logit_parity import compare_logits
from eyas.deploy.named_outputs import flattened, outputs_of
from eyas.deploy.runtimes import LOGITS, Runtime
from eyas.deploy.sensitivity import HeldOut
from eyas.networks.architecture_record import ARCHITECTURE, PLAN, WEIGHTS
from eyas.networks.saved_network import Network
from eyas.progress import Progress
from eyas.pruning.mask_parity import check_parity
from eyas.pruning.plan import PruningPlan
from eyas.storage.digests import file_sha256
from tasks.dense_answers import with_dense_answers
from tasks.dense_network import load_dense, load_pruned
from tasks.export_bundle import write_bundle
from tasks.recorded_cost import require_winner
from tasks.search_space import read_space
from tasks.stage import Metrics, main, write_json

SLICING_LIMIT = 1e-9
"""Relative difference between the sliced and the masked dense network that sums in float64 may have."""
FIELDS = {
    **{name: f"export.{name}" for name in ("exporters", "max_difference", "max_relative_difference", "min_agreement")},
    **{name: f"export.{name}" for name in ("max_accuracy_drop", "max_calibration_distance")},
    **{name: f"export.{name}" for name in ("adaptable", "bundle", "preprocessing_in_graph")},
    "calibration_fraction": "fetch.calibration_fraction",
    "output": "baseline.output",
    "table": "sample.latency_profile",
}
"""The parameter behind each argument that the library's messages name."""
FORMATS = "formats"
"""Folder of what is written beside float32 ONNX; may stay empty."""
MEASURES = (*(member.measure for member in Task.members().values() if member.labelled), DENSE_AGREEMENT)
"""What is told of a file's answers, as far as there are labels for it."""
FILES = "files.json"
"""What the gate measured of each artifact, by its name."""
CALIBRATION_IMAGES, HELD_OUT_IMAGES = 256, 1024
"""What formats with few bits take the ranges of activations from, and choose layers by; never test images."""
FLOAT_TOLERANCE, QUANTISED_TOLERANCE = 1e-3, 0.25
"""Difference of a layer's output that is no divergence yet, as a share of its largest value."""
Written = dict[str, tuple[Exporter, Path]]


def export(params: PipelineParams, artifacts: Path, progress: Progress) -> Metrics:
    """Write the pruned and the dense network for their runtimes, compare, list.

    Raises:
        ParityError: slicing or a written file computes something else than it should.
        DataError: the plan is not the winner's, or its row costs something else than score wrote.
    """
    folder, settings = artifacts / "export", params.export
    network = load_dense(params, artifacts)
    dataset = with_dense_answers(open_dataset(artifacts / "fetch"), network)
    test = dataset.split("test")
    images_NCHW = dataset.normalise(test.images(settings.parity_images))
    labels_N = test.first_labels(len(images_NCHW))
    raw = load_pruned(artifacts / "finetune", network)
    dense, pruned = (flattened(model, images_NCHW, network.output) for model in (network.model, raw))

    progress(0, 4, "mask parity of the winner")
    slicing = check_slicing(network, artifacts, images_NCHW[:8])
    progress(1, 4, "writing files")
    written = write_files(settings, pruned, dataset, folder, dense=dense)
    progress(2, 4, "comparing them with PyTorch")
    name_image = partial(describe_image, artifacts / "fetch")
    labelled = dataset.task_of("test").labelled
    judged = (images_NCHW, labels_N)
    checked = check_files(settings, written, (dense, pruned), judged, labelled=labelled, name_image=name_image)
    parity = {"slicing": slicing, "files": parity_by_file(written, checked)}
    write_json(folder / "parity.json", parity)
    write_json(folder / FILES, checked)
    weights = copy_weights(artifacts / "finetune", folder, raw, len(dataset.split("train")))
    progress(3, 4, "the bundle")
    space, plan = read_space(artifacts, network), PruningPlan.from_json((folder / PLAN).read_text())
    costs, caution = (space.cost(), space.cost(plan.widths)), read_comparability(artifacts / "baseline").reason
    bundled = write_bundle(params, folder, dataset, pruned, files=parity["files"], costs=costs, caution=caution)
    listed = [*artifact_files(written), *weights, folder / "parity.json", folder / FILES]
    listed += (path for path in (folder / BUNDLE).rglob("*") if path.is_file())
    write_json(folder / "manifest.json", manifest(folder, listed, dataset))
    packed = compressed_sizes(raw.state_dict(), {name: written[name][1] for name in ("dense", "model")})
    progress(4, 4, "done")
    return {**metrics(parity, churn=churn(dense, pruned, images_NCHW)), **packed, **bundled}


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
    settings: ExportParams,
    pruned: nn.Module,
    calibration: Dataset | tuple[Tensor, HeldOut],
    folder: Path,
    *,
    dense: nn.Module | None = None,
) -> Written:
    """Every format of the pruned network, and ``dense`` in float32 ONNX to compare with, by name.

    ``calibration`` is a data set, or what :func:`calibration_images` would have taken of one.

    Raises:
        DataError: a format needs calibration images, and there are none, or they are unlike the training data.
    """
    shutil.rmtree(folder / FORMATS, ignore_errors=True)
    (folder / FORMATS).mkdir(parents=True)
    exporters = settings.chosen
    onnx = exporters.pop("onnx")
    calibrates = any(exporter.calibrates for exporter in exporters.values())
    of_training = isinstance(calibration, Dataset)
    ranges_NCHW, held_out = (
        calibration_images(calibration, wanted=calibrates) if isinstance(calibration, Dataset) else calibration
    )
    if calibrates and of_training:
        require_like_training(pruned, ranges_NCHW, settings.max_calibration_distance)
    written: Written = {} if dense is None else {"dense": (onnx, onnx(dense, ranges_NCHW, folder / "dense.onnx"))}
    written["model"] = (onnx, onnx(pruned, ranges_NCHW, folder / "model.onnx"))
    for kind, exporter in exporters.items():
        path = folder / FORMATS / f"model{exporter.suffix}"
        written[kind] = (exporter, exporter.write(pruned, ranges_NCHW, held_out, path))
    return written


def calibration_images(dataset: Dataset, *, wanted: bool) -> tuple[Tensor, HeldOut]:
    """Images to take ranges from, and others to judge by: half each where there are few; only one if none is wanted."""
    split = dataset.split("calibration")
    images_NCHW = dataset.normalise(split.images(CALIBRATION_IMAGES + HELD_OUT_IMAGES if wanted else 1))
    count = min(CALIBRATION_IMAGES, (len(images_NCHW) + 1) // 2)
    return images_NCHW[:count], HeldOut(images_NCHW[count:], split.first_labels(len(images_NCHW))[count:])


def check_files(
    settings: ExportParams,
    written: Written,
    networks: tuple[nn.Module, nn.Module],
    judged: tuple[Tensor, Tensor],
    *,
    labelled: bool = True,
    name_image: Callable[[int], str] = str,
) -> dict[str, dict[str, Any]]:
    """Each file against PyTorch on the same images, all outputs, and its own accuracy there; by the artifact's name.

    ``judged`` are images and labels; not ``labelled``, the labels are the dense network's answers.

    Raises:
        ParityError: a file breaks its limits; names the worst image, and the first layer that differs if it is known.
    """
    results, (images_NCHW, labels_N) = {}, judged
    expected = {network: outputs_of(network, images_NCHW) for network in networks}
    for name, (exporter, path) in written.items():
        network = networks[0] if name == "dense" else networks[1]
        compare = partial(compare_artifact, expected[network], labels=labels_N, labelled=labelled)
        parity = compare(exporter.outputs(path, images_NCHW))
        tolerance = QUANTISED_TOLERANCE if exporter.calibrates else FLOAT_TOLERANCE

        def explain(worst: int, network: nn.Module = network, path: Path = path, tolerance: float = tolerance) -> str:
            where = first_divergence(network, path, images_NCHW[worst : worst + 1], tolerance)
            return f"The worst is {name_image(worst)}; {where}"

        parity.require(path.name, limits_of(settings, exporter), explain)
        others = {
            word: compare(other.open(path).outputs(images_NCHW)).as_dict()
            for word, other in Runtime.parse(exporter.runtime).alternatives().items()
        }
        files = exporter.files(path)
        results[name] = parity.as_dict() | {
            "alternatives": others,
            "bytes": sum(file.stat().st_size for file in files),
            "files": [file.name for file in files],
            "kept_in_float": read_kept(exporter.report(path)),
            "runtime": exporter.runtime,
        }
    return results


def limits_of(settings: ExportParams, exporter: Exporter) -> ArtifactLimits:
    """What files of a format may differ by."""
    limit, share = exporter.limits(settings.max_difference, settings.min_agreement)
    relative = None if limit is None else settings.max_relative_difference
    return ArtifactLimits(limit, relative, share, settings.max_accuracy_drop)


def read_kept(report: Path) -> list[str]:
    """The layers that a format kept in float."""
    kept: list[str] = json.loads(report.read_text())["kept"] if report.exists() else []
    return kept


def describe_image(folder: Path, position: int) -> str:
    """Which test image stands at a position: its file, row and digest."""
    row = [row for row in read_index(folder / INDEX) if row.split == "test"][position]
    place = row.file if row.row < 0 else f"{row.file} row {row.row}"
    return f"test image {position} ({place}, sha256 {row.sha256[:12]})"


def parity_by_file(written: Written, checked: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The comparisons by file name."""
    names = ("images", "max_difference", "relative_difference", "agreement", "bytes", *MEASURES)
    results = {}
    for name, (_, path) in written.items():
        results[path.name] = {key: checked[name][key] for key in names if key in checked[name]}
        if checked[name]["outputs"]:
            results[path.name]["outputs"] = checked[name]["outputs"]
    return results


def artifact_files(written: Written) -> list[Path]:
    """What the exporters wrote: files for the runtimes, and what is told of their layers."""
    return [
        path
        for exporter, first in written.values()
        for path in (*exporter.files(first), exporter.report(first))
        if path.exists()
    ]


def copy_weights(source: Path, folder: Path, pruned: nn.Module, images: int) -> list[Path]:
    """What rebuilds the network in PyTorch, and its batch-norm statistics."""
    copies = [Path(shutil.copyfile(source / name, folder / name)) for name in (WEIGHTS, PLAN, ARCHITECTURE)]
    return [*copies, write_statistics(pruned, images, folder / "bn_statistics.safetensors")]


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
        **({"task": dataset.task.kind} if dataset.task.answer_shape(dataset.image_shape) else {}),
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
    numbers |= {f"{name}_{part}": result[part] for name, result in files.items() for part in MEASURES if part in result}
    numbers.pop(f"dense_{DENSE_AGREEMENT}", None)  # with itself
    pruned = parity["files"]["model.onnx"]
    numbers |= {name: pruned[name] for name in ("max_difference", "relative_difference", "agreement", "images")}
    return numbers | {"slicing_difference": parity["slicing"]["relative_difference"], "churn": churn}


if __name__ == "__main__":
    main("export", export, FIELDS)
