"""The files of an adapted network: as ``export`` writes them, with what the version that it came from knows of both."""

import json
import shutil
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from eyas.config import PipelineParams
from eyas.data import Dataset
from eyas.deploy.bn_statistics import write_statistics
from eyas.deploy.bundle.contents import BUNDLE
from eyas.deploy.exported_model import ExportedModel
from eyas.deploy.named_outputs import flattened, outputs_of
from eyas.deploy.runtimes import LOGITS
from eyas.deploy.sensitivity import HeldOut
from eyas.errors import DataError
from eyas.networks.architecture_record import ARCHITECTURE, PLAN, WEIGHTS, read_record
from eyas.networks.named_tensors import state
from eyas.pruning.cost import Cost
from eyas.pruning.plan import PruningPlan
from eyas.pruning.space_json import cost_of, unsealed
from eyas.storage.digests import file_sha256
from tasks.export import (
    CALIBRATION_IMAGES,
    FILES,
    HELD_OUT_IMAGES,
    artifact_files,
    check_files,
    manifest,
    parity_by_file,
    write_files,
)
from tasks.export_bundle import write_bundle
from tasks.field_images import FieldImages
from tasks.recorded_gates import SPACE_FILE
from tasks.stage import Metrics, write_json

DENSE = "dense.onnx"


def export_adapted(
    params: PipelineParams,
    parent: ExportedModel,
    adapted: nn.Module,
    field: FieldImages,
    *,
    dataset: Dataset,
    folder: Path,
    caution: str,
) -> Metrics:
    """Write what ``export`` would have written, hold it against PyTorch on images of the field, and list it.

    Args:
        params: of the profile.
        parent: the files of the version that was adapted.
        adapted: a network of the same architecture, of other numbers.
        field: the images that it follows; ranges of formats with few bits come from them, too.
        dataset: whose classes, preprocessing and test images the bundle has.
        folder: an empty one.
        caution: why accuracies do not compare, where they do not.

    Raises:
        DataError: the network has other tensors than the version's.
        ParityError: a file computes something else than PyTorch.
    """
    settings, source = params.export, parent.folder
    images_NCHW = dataset.normalise(field.pixels[: settings.parity_images])
    network = flattened(adapted, images_NCHW, read_record(source).output)
    written = write_files(settings, network, calibration_of(network, dataset.normalise(field.pixels)), folder)
    shutil.copyfile(source / DENSE, folder / DENSE)
    labelled = field.labels is not None
    labels = field.labels if field.labels is not None else torch.from_numpy(parent.answers(field.pixels, DENSE))
    judged = images_NCHW, labels[: len(images_NCHW)]
    both = network, network
    checked = check_files(settings, written, both, judged, labelled=labelled, name_image="image {} of the field".format)
    before = _read(source / "parity.json")
    parity = before | {"files": {DENSE: before["files"][DENSE], **parity_by_file(written, checked)}}
    write_json(folder / "parity.json", parity)
    write_json(folder / FILES, {"dense": _read(source / FILES)["dense"], **checked})
    statistics = write_statistics(adapted, len(field), folder / "bn_statistics.safetensors")
    weights = [*write_weights(source, adapted, folder), statistics]
    space, plan = (source / SPACE_FILE).read_bytes(), PruningPlan.from_json((folder / PLAN).read_bytes())
    costs = Cost(**unsealed(space)["dense"]), cost_of(space, plan)
    files = parity["files"]
    bundled = write_bundle(params, folder, dataset, network, files=files, costs=costs, caution=caution, source=source)
    listed = [*artifact_files(written), folder / DENSE, *weights, folder / "parity.json", folder / FILES]
    listed += (path for path in (folder / BUNDLE).rglob("*") if path.is_file())
    data_set = _read(source / "manifest.json")["dataset"]  # on whose test images the dense network was recorded
    write_json(folder / "manifest.json", manifest(folder, listed, dataset) | {"dataset": data_set})
    file = files["model.onnx"]
    return {"model_bytes": file["bytes"], "max_difference": file["max_difference"], **bundled}


def calibration_of(network: nn.Module, images_NCHW: Tensor) -> tuple[Tensor, HeldOut]:
    """Images of the field to take ranges from, and others to judge formats by: the network's own answers are right."""
    count = min(CALIBRATION_IMAGES, (len(images_NCHW) + 1) // 2)
    held_out_NCHW = images_NCHW[count : count + HELD_OUT_IMAGES]
    answers_N = outputs_of(network, held_out_NCHW)[LOGITS].argmax(1) if len(held_out_NCHW) else torch.empty(0)
    return images_NCHW[:count], HeldOut(held_out_NCHW, answers_N)


def write_weights(parent: Path, adapted: nn.Module, folder: Path) -> list[Path]:
    """The network as :func:`eyas.load` reads it: the parent's plan and architecture, other numbers.

    Raises:
        DataError: it has other tensors than the parent.
    """
    weights = safetensors.torch.save(state(adapted))
    new, old = safetensors.torch.load(weights), safetensors.torch.load_file(parent / WEIGHTS)
    shapes = [{name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()} for tensors in (new, old)]
    if shapes[0] != shapes[1]:
        other = min(name for name in shapes[0].keys() | shapes[1].keys() if shapes[0].get(name) != shapes[1].get(name))
        msg = f"the adapted network has another architecture ({other} differs): take an `adapter` that keeps it"
        raise DataError(msg)
    (folder / WEIGHTS).write_bytes(weights)
    shutil.copyfile(parent / PLAN, folder / PLAN)
    record = read_record(parent).model_copy(update={"weights": file_sha256(folder / WEIGHTS), "answers": None})
    (folder / ARCHITECTURE).write_text(record.to_json())
    return [folder / WEIGHTS, folder / PLAN, folder / ARCHITECTURE]


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content
