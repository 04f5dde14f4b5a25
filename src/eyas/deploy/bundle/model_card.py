"""The model card: ``README.md`` of a bundle, for those who get the network without its history."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import PurePath
from typing import Any

from eyas.data.manifest import Manifest
from eyas.deploy.artifact_gate import DENSE_AGREEMENT, MEAN_IOU, SHARES, judged_share
from eyas.pruning.cost import Cost
from eyas.pruning.plan import PruningPlan

LISTED = 100
"""Classes up to which each has its line; of more, the least accurate ones."""
USE = """\
    pip install onnxruntime numpy pillow
    python predict.py cat.png        # {answer}
    python predict.py --check        # replays the golden pairs: does this machine compute what it should?
    python predict.py --camera DIR   # answers the images in a folder, and those that come into it

A program of your own: `Classifier(folder)` in `classifier.py`, or the files of `preprocessing.json`."""
ANSWER = "the likeliest classes with their probabilities"
MASK = "each class's share of the pixels, and a mask: masks/cat.png.png"
FILES = {
    "model.onnx": "normalised images `(N, C, H, W)` to logits `(N, K{pixels})`, in float32",
    "formats": "the same in other formats",
    "end_to_end.onnx": "uint8 images `(N, H, W, C)` of any size to probabilities `(N, K{pixels})`",
    "preprocessing.json": "what comes before `model.onnx`, as data",
    "labels.json": "names by class number",
    "golden": "test images and {golden} that PyTorch gives for them",
    "bn_statistics.safetensors": "what every batch-norm layer holds, for calibrating again on the device's data",
    "adapt.py": "calibrates again: `python adapt.py DIR`, then `python predict.py --statistics FILE cat.png`",
    "adapt_rule.json": "what `adapt.py` judges by: limits, and how often clean images are of each class",
}
"""What may be in a bundle beside programs and parts of these, by name; ``manifest.json`` always is."""
DENSE = "dense.onnx"
"""Measured beside the others, and in no bundle."""


@dataclass(frozen=True)
class CardFacts:
    """What the card tells beside the data set's manifest."""

    architecture: str
    """Of the dense network, as ``params.yaml`` names it."""
    costs: tuple[Cost, Cost]
    """Of one image, in the dense network and in this one."""
    plan: PruningPlan
    """Which channels were kept."""
    files: Mapping[str, Mapping[str, Any]]
    """By exported file: ``accuracy`` (or what else :func:`eyas.deploy.artifact_gate.judged_share` knows), ``images``
    and ``bytes``."""
    right: Sequence[tuple[int, int]]
    """By class: how many of its test images are answered rightly, and how many there are; where each pixel has a class,
    pixels that answer and label share, and those that either has."""
    replayed: str
    """How the bundle compares with PyTorch, in words."""
    licence: str
    """Of the network."""
    caution: str
    """Why accuracies do not compare, where they do not."""
    version: str
    """Of eyas."""

    @property
    def measure(self) -> str:
        """What was measured of the files, in words."""
        return judged_share(next(iter(self.files.values())))[0]

    @property
    def masks(self) -> bool:
        """Whether each pixel has a class."""
        return self.measure == SHARES[MEAN_IOU]

    @property
    def labelled(self) -> bool:
        """Whether the test images have labels."""
        return self.measure != SHARES[DENSE_AGREEMENT]


def model_card(facts: CardFacts, data: Manifest, present: Collection[str]) -> str:
    """The text of ``README.md``.

    Args:
        facts: what is told of the network.
        data: of the data set.
        present: names of what lies in the bundle; nothing is said of other files.
    """
    name = facts.architecture.rpartition(":")[2]
    dense, pruned = facts.costs
    classes = ", ".join(data.classes[:12]) + (", ..." if len(data.classes) > 12 else "")
    sections = {
        f"{name}, pruned to {pruned.macs / dense.macs:.1%} of its multiply-adds": (
            f"Tells which of {len(data.classes)} classes {'each pixel of ' * facts.masks}an image shows: {classes}."
        ),
        "Use": USE.format(answer=MASK if facts.masks else ANSWER),
        facts.measure[0].upper() + facts.measure[1:]: _accuracy(facts, data),
        "Data": _data(data),
        "Limits": "\n".join(f"- {line}" for line in _limits(facts, data)),
        "How it was made": _making(facts),
        "Files": _files(facts, present),
        "Licence": facts.licence,
    }
    text = "\n\n".join(f"## {title}\n\n{content}" for title, content in sections.items())
    return f"{text.removeprefix('#')}\n"


def _accuracy(facts: CardFacts, data: Manifest) -> str:
    """Of each file, and of each class."""
    names = {file: f"`{file}`" for file in facts.files} | {DENSE: "the network before pruning"}
    rows = [(names[file], _judged(facts, result), f"{result['bytes']:,}") for file, result in facts.files.items()]
    notes = [f"Not comparable: {facts.caution}"] if facts.caution else []
    if not facts.labelled:
        notes += ["The classes below are those that the dense network takes the images for."]
    by_class = list(zip(data.classes, facts.right, strict=True))
    title = "By class, `model.onnx`:"
    counted = "pixels labelled or answered" if facts.masks else "test images"
    if len(by_class) > LISTED:
        by_class = sorted(by_class, key=lambda entry: entry[1][0] / max(entry[1][1], 1))[:LISTED]
        title = f"The {LISTED} classes of least {facts.measure}, `model.onnx`:"
    classes = [(name, f"{right / of:.1%}" if of else "-", str(of)) for name, (right, of) in by_class]
    count = next(iter(facts.files.values()))["images"]
    return "\n\n".join(
        [
            f"On {count} test images{'' if facts.masks else ', with one standard error'}:",
            table(("file", facts.measure, "bytes"), rows),
            *notes,
            title,
            table(("class", "IoU" if facts.masks else facts.measure, counted), classes),
        ]
    )


def _judged(facts: CardFacts, result: Mapping[str, Any]) -> str:
    """What was measured of a file; mean IoU is no share of images, and has no error as simple as theirs."""
    value = judged_share(result)[1]
    return f"{value:.2%}" if facts.masks else share(value, result["images"])


def share(value: float, count: int) -> str:
    """A share of ``count`` with its standard error."""
    return f"{value:.2%} +- {sqrt(value * (1 - value) / count):.2%}"


def _data(data: Manifest) -> str:
    """Where it came from: an address as it is, of a place on the machine that made this its name alone."""
    parts = [f"{part}: {public(address)}" for part, address in data.source.items()]
    images = data.images or {split: sum(counts.values()) for split, counts in data.splits.items()}
    rows = [(split, str(count)) for split, count in images.items()]
    return "\n\n".join([f"Source: {'; '.join(parts)}. Digest: `{data.digest}`.", table(("split", "images"), rows)])


def public(address: str) -> str:
    """An address without the folders of the machine that read it."""
    return address if "://" in address or address.startswith("builtin:") else PurePath(address).name


def _limits(facts: CardFacts, data: Manifest) -> Iterable[str]:
    kind = {1: "grey", 3: "RGB", 4: "RGBA"}[data.image.channels]
    what = "a pixel" if facts.masks else "an image"
    yield f"It names one of its classes whatever {what} shows, and its probabilities are not calibrated."
    yield f"The {facts.measure} holds for images like these; other cameras, light or places were not measured."
    if not facts.labelled:
        yield "How often it is right is not known: no test image has a label."
    yield (
        f"It sees {data.image.size} x {data.image.size} {kind} pixels; smaller images are enlarged, which adds nothing."
        f"{' Transparency is dropped.' * (kind != 'RGBA')} Grey of 16 bits is scaled to 8 as it was for training."
    )
    yield facts.replayed


def _making(facts: CardFacts) -> str:
    """Architecture, cost and widths."""
    dense, pruned = facts.costs
    costs = [
        (name.replace("_", " "), f"{getattr(dense, name):,}", f"{getattr(pruned, name):,}")
        for name in ("macs", "params", "activation_bytes")
    ]
    channels = [(f"`{name}`", str(facts.plan.channels[name]), str(kept)) for name, kept in facts.plan.widths.items()]
    return "\n\n".join(
        [
            f"By eyas {facts.version}: `{facts.architecture}`, the dense network, was pruned. One image costs:",
            table(("", "dense", "pruned"), costs),
            "Channels by group:",
            table(("group", "dense", "kept"), channels),
        ]
    )


def _files(facts: CardFacts, present: Collection[str]) -> str:
    """What each file of the bundle is."""
    words = {"pixels": ", H, W" * facts.masks, "golden": "masks" if facts.masks else "the probabilities"}
    folders = {"formats", "golden"}
    rows = [
        (f"`{name}{'/' * (name in folders)}`", text.format(**words)) for name, text in FILES.items() if name in present
    ]
    rows.append(("`manifest.json`", "sha256 of every file, which the command verify of eyas holds them against"))
    return table(("file", ""), rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
