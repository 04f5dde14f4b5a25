"""Making a bundle of what ``export`` wrote: preprocessing, golden pairs, the proof that it answers, the card."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from eyas.data import Dataset, pixels
from eyas.deploy.bundle.adaptable_network import write_adaptable
from eyas.deploy.bundle.adapted_classifier import AdaptedClassifier
from eyas.deploy.bundle.classifier import Classifier
from eyas.deploy.bundle.contents import ADAPTING, MASKING, MODULES, pack, write_list
from eyas.deploy.bundle.golden_pairs import GoldenPairs, golden_pairs
from eyas.deploy.bundle.label_free_rule import write_rule
from eyas.deploy.bundle.preprocessing import END_TO_END, NETWORK, PREPROCESSING, preprocessing_of
from eyas.deploy.bundle.preprocessing_graph import write_end_to_end
from eyas.deploy.exporters.onnx import Onnx
from eyas.deploy.logit_parity import LogitParity

STATISTICS = "bn_statistics.safetensors"
COPIED = (NETWORK, "formats", STATISTICS)
LICENCE = """\
The network, that is all files but those that end in .py: {network}

Files that end in .py: licensed under the Apache License, Version 2.0; you may obtain a copy of it at
http://www.apache.org/licenses/LICENSE-2.0
"""


@dataclass(frozen=True)
class DeviceAdaptation:
    """How a device may replace the batch-norm statistics of a bundle."""

    exporter: Onnx
    """Writes the network once more, with statistics that can be replaced."""
    limits: Mapping[str, float]
    """Of the revert rule, by the names of ``adapt.rule``."""
    clean_classes: Sequence[int] | None = None
    """How often the network answers clean images with each class; None where that is not known."""


def make_bundle(
    export: Path,
    folder: Path,
    dataset: Dataset,
    network: nn.Module,
    *,
    in_graph: bool,
    licence: str,
    adaptable: DeviceAdaptation | None = None,
    card: Callable[[LogitParity], str],
) -> LogitParity:
    """Write a bundle into an empty folder and say how far it is from PyTorch.

    Args:
        export: the folder of the exported files.
        folder: where the bundle goes; its tar lies beside it.
        dataset: what the network was made for.
        network: the exported one; its ``logits`` are ``(N, K)``, or ``(N, K, H, W)`` where each pixel has a class.
        in_graph: whether ``predict.py`` runs a file that holds the preprocessing itself, where that can be.
        licence: of the network.
        adaptable: lets the device replace statistics; None leaves that out.
        card: makes ``README.md`` of how the bundle compares.

    Raises:
        ParityError: the bundle answers otherwise than PyTorch.
        ExportError: it shall be adaptable, and the network cannot be.
    """
    for name in COPIED:
        source = export / name
        if source.is_file():
            shutil.copyfile(source, folder / name)
        elif any(source.iterdir()):  # DVC keeps no empty folders
            shutil.copytree(source, folder / name, copy_function=shutil.copyfile)
    record = preprocessing_of(dataset, in_graph=in_graph)
    if record.in_graph:
        write_end_to_end(folder / NETWORK, record, folder / END_TO_END)
    (folder / PREPROCESSING).write_text(record.model_dump_json(indent=1) + "\n", "utf-8")
    labels = json.dumps(dataset.class_names, indent=1, ensure_ascii=False)
    (folder / "labels.json").write_text(labels + "\n", "utf-8")
    (folder / "LICENSE").write_text(LICENCE.format(network=licence), "utf-8")
    pairs = golden_pairs(dataset, network)
    pairs.write(folder)
    for program in _programs(masks=pairs.probabilities.ndim > 2):
        shutil.copyfile(program, folder / program.name)
    classifier = Classifier(folder, threads=1)
    parity = pairs.compare(classifier)
    classifier.check()
    if adaptable:
        _add_adaptable(network, dataset, adaptable, folder, pairs)
    (folder / "README.md").write_text(card(parity), "utf-8")
    write_list(folder)
    pack(folder, folder.with_name(f"{folder.name}.tar.gz"))
    return parity


def _programs(*, masks: bool) -> list[Path]:
    """What runs on the device."""
    names = ("predict", *MODULES, *(MASKING if masks else ()))
    return [Path(pixels.__file__) if name == "pixels" else Path(__file__).with_name(f"{name}.py") for name in names]


def _add_adaptable(
    network: nn.Module, dataset: Dataset, adaptation: DeviceAdaptation, folder: Path, pairs: GoldenPairs
) -> None:
    """Files and programs that let the device adapt; with the network's own statistics they answer as PyTorch."""
    write_adaptable(network, dataset.normalise(dataset.split("test").images(1)), adaptation.exporter, folder)
    write_rule(folder, adaptation.limits, adaptation.clean_classes)
    for name, module in ADAPTING.items():
        shutil.copyfile(Path(__file__).with_name(f"{module}.py"), folder / f"{name}.py")
    pairs.compare(AdaptedClassifier(folder, folder / STATISTICS, threads=1))
