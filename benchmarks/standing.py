r"""Taking an adaptation back later: by which reasons, on images of all classes and of few, and what that is worth.

    python -m benchmarks.standing --run FOLDER                      # a finished run on digits, the default's
    python -m benchmarks.standing --weights resnet20 WEIGHTS.th --fetch artifacts/fetch

A network follows a change of its images, by ``alpha_bn`` and by ``ada_bn``; then come others: changed alike, clean
again, or changed otherwise; of all classes and of few. Every stream is a line of ``results/standing.jsonl`` with all
reasons of the rule; what is there is not measured again. ``--report`` writes the table of what is there: one line per
choice of reasons. Some five minutes of an idle core for digits, ten for a ResNet-20.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import eyas
import models
from benchmarks.common import RESULTS, append_row, publish, read_rows, table
from benchmarks.corruptions import corrupt
from eyas.adaptation.drift.observation import observe
from eyas.adaptation.revert_rule import judge
from eyas.config import load_params
from eyas.data import Dataset, open_dataset
from eyas.networks.checkpoint import load_checkpoint
from eyas.networks.saved_network import load_network
from tasks.dense_network import load_dense

ROWS = RESULTS / "standing.jsonl"
KEY = ("network", "followed", "adapter", "now", "classes")
ADAPTERS = ("alpha_bn", "ada_bn")
FOLLOWED, JUDGED = 400, 128
STREAMS = (
    (),
    (0,),
    (3,),
    (7,),
    (1, 8),
    (2, 5),
    (4, 9),
    (0, 2, 4),
    (1, 3, 6, 7),
    (0, 2, 4, 6, 8),
    (0, 1, 3, 4, 5, 7, 9),
)
"""Classes of each; nothing: all."""
PHOTOGRAPHS = ("gaussian_noise", "defocus_blur", "contrast", "jpeg_compression", "elastic_transform", "fog")
"""Changes of photographs, at severity 5."""
Floats = np.ndarray[Any, np.dtype[np.float32]]


def _noisy(pixels: Floats) -> Floats:
    return pixels + np.random.default_rng(0).normal(0, 40, pixels.shape).astype(np.float32)


def _blurred(pixels: Floats) -> Floats:
    return sum(np.roll(pixels, (i, j), (2, 3)) for i in (-1, 0, 1) for j in (-1, 0, 1)) / 9  # type: ignore[return-value]


DIGITS: dict[str, Callable[[Floats], Floats]] = {
    "pixels times 0.4": lambda pixels: pixels * 0.4,
    "noise": _noisy,
    "blur": _blurred,
    "less contrast": lambda pixels: (pixels - pixels.mean((1, 2, 3), keepdims=True)) * 0.3 + 100,
    "brighter": lambda pixels: pixels * 0.5 + 127,
}
"""Changes of digits, of pixels from 0 to 255."""


@dataclass
class Field:
    """A network, the images that it follows, others that come later, and the canary; pixels are bytes."""

    network: str
    model: nn.Module
    dataset: Dataset
    changes: tuple[str, ...]
    followed: Tensor
    later: tuple[Tensor, Tensor]
    canary: tuple[Tensor, Tensor]

    @classmethod
    def of_run(cls, folder: Path) -> "Field":
        """Digits: the training images are the field's, too, for want of others; the canary is the score split."""
        dataset, artifacts = open_dataset(folder / "artifacts/fetch"), folder / "artifacts"
        train, score = dataset.split("train"), dataset.split("score")
        rest = [dataset.split(name) for name in ("calibration", "test")]
        later = torch.cat([train.images()[FOLLOWED:], *(part.images() for part in rest)])
        labels = torch.cat([train.labels[FOLLOWED:], *(part.labels for part in rest)])
        model = load_dense(load_params(folder / "params.yaml"), artifacts).model
        canary = dataset.normalise(score.images()), score.labels
        return cls("digits", model, dataset, tuple(DIGITS), train.images()[:FOLLOWED], (later, labels), canary)

    @classmethod
    def of_photographs(cls, network: str, model: nn.Module, dataset: Dataset) -> "Field":
        """CIFAR-10: halves of the test images."""
        split = dataset.split("test")
        images, labels = split.images(), split.labels
        half = len(labels) // 2
        later = images[half + FOLLOWED :], labels[half + FOLLOWED :]
        canary = dataset.normalise(images[:512]), labels[:512]
        return cls(network, model, dataset, PHOTOGRAPHS, images[half : half + FOLLOWED], later, canary)

    def changed(self, images: Tensor, change: str) -> Tensor:
        """Normalised images under a change, ``clean`` under none."""
        if change in DIGITS:
            pixels = np.clip(np.rint(DIGITS[change](images.numpy().astype(np.float32))), 0, 255)
            images = torch.from_numpy(pixels.astype(np.uint8))
        elif change != "clean":
            arrays = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())
            images = torch.from_numpy(corrupt(arrays, change, 5)).permute(0, 3, 1, 2).contiguous()
        return self.dataset.normalise(images)

    def stream(self, classes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """The first later images of some classes, bytes, and their labels."""
        images, labels = self.later
        places = torch.isin(labels, torch.tensor(classes)).nonzero()[:, 0] if classes else torch.arange(len(labels))
        return images[places[:JUDGED]], labels[places[:JUDGED]]


def measure(field: Field, followed: list[str]) -> None:
    """Every stream after every change that was followed; all, or those named."""
    finished = {tuple(row[name] for name in KEY) for row in read_rows(ROWS)}
    for change in followed or field.changes:
        for adapter in ADAPTERS:
            network = eyas.adapt(field.model, field.changed(field.followed, change), adapter)
            for now in (change, "clean", *(other for other in field.changes if other != change)):
                for classes in STREAMS:
                    words = ", ".join(map(str, classes)) or "all"
                    key = dict(zip(KEY, (field.network, change, adapter, now, words), strict=True))
                    if tuple(key.values()) not in finished:
                        append_row(ROWS, {**key, **later(field, network, now, classes)})


def later(field: Field, network: nn.Module, now: str, classes: tuple[int, ...]) -> dict[str, Any]:
    """Which reasons hold of one stream, what they go by, and how many answers are right with and without."""
    images, labels = field.stream(classes)
    shown = field.changed(images, now)
    verdict = judge(field.model, network, shown, field.canary)
    seen = [observe(model, shown, {}) for model in (field.model, network)]
    usual = observe(field.model, field.canary[0], {}).counts.double()
    rises = (seen[1].numbers["entropy"] - seen[0].numbers["entropy"]) / math.log(len(usual))
    distances = [float((one.counts / one.counts.sum() - usual / usual.sum()).abs().sum() / 2) for one in seen]
    return {
        "images": len(labels),
        "failed": [reason.name for reason in verdict.reasons if not reason.holds],
        "rise": round(float(rises.mean()), 4),
        "distances": [round(distance, 4) for distance in distances],
        "parent": float((seen[0].predicted == labels).double().mean()),
        "adapted": float((seen[1].predicted == labels).double().mean()),
    }


RULES: dict[str, Callable[[dict[str, Any]], bool]] = {
    "never": lambda row: False,
    "statistics": lambda row: "statistics" in row["failed"],
    "entropy": lambda row: "entropy" in row["failed"],
    "statistics, or entropy where the parent's classes are as usual": lambda row: (
        "statistics" in row["failed"] or ("entropy" in row["failed"] and row["distances"][0] <= 0.15)
    ),
    "statistics, or entropy where both's are": lambda row: (
        "statistics" in row["failed"] or ("entropy" in row["failed"] and max(row["distances"]) <= 0.15)
    ),
    "all reasons, the canary too": lambda row: bool(row["failed"]),
}
"""When a row's adaptation is taken back; the canary decides none of these: it is the same for all streams."""


def report(rows: list[dict[str, Any]]) -> None:
    """Per network, what comes, and its classes: what each choice of reasons leaves."""
    parts = []
    for network in dict.fromkeys(row["network"] for row in rows):
        lines = []
        for now, classes in ((n, c) for n in ("as followed", "clean again", "another change") for c in ("all", "few")):
            own = [row for row in rows if (row["network"], happened(row), breadth(row)) == (network, now, classes)]
            for name, taken in RULES.items() if own else ():
                lines.append([now, classes, len(own), name, *outcome(own, taken)])
        header = ["images now", "classes", "streams", "reasons", "taken back", "parent", "adapted", "best by labels",
                  "left by these", "wrongly taken back, worst", "wrongly kept, worst"]  # fmt: skip
        parts.append(f"**{network}**\n\n{table(header, lines)}")
    notes = [
        f"{FOLLOWED} images followed, up to {JUDGED} others judged, answered; mean accuracies in percent; each n = 1",
        "wrongly: by more than a point, and the most points lost so",
    ]
    publish("standing", "Taking an adaptation back later", notes, "\n\n".join(parts))


def happened(row: dict[str, Any]) -> str:
    """What comes later, in words."""
    return {row["followed"]: "as followed", "clean": "clean again"}.get(row["now"], "another change")


def breadth(row: dict[str, Any]) -> str:
    """Of all classes, or of few."""
    return "all" if row["classes"] == "all" else "few"


def outcome(rows: list[dict[str, Any]], taken: Callable[[dict[str, Any]], bool]) -> list[str]:
    """Taken back, accuracies, and errors in both directions."""
    back = [taken(row) for row in rows]
    left = [row["parent"] if gone else row["adapted"] for row, gone in zip(rows, back, strict=True)]
    best = [max(row["parent"], row["adapted"]) for row in rows]
    cells = [str(sum(back))]
    columns = ([row["parent"] for row in rows], [row["adapted"] for row in rows], best, left)
    cells += [f"{100 * float(np.mean(values)):.1f}" for values in columns]
    for wrongly in (True, False):
        losses = [100 * (b - now) for b, now, gone in zip(best, left, back, strict=True) if gone is wrongly]
        wrong = [loss for loss in losses if loss > 1]
        cells.append(f"{len(wrong)}{f', {max(wrong):.0f}' if wrong else ''}")
    return cells


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a finished run's folder")
    parser.add_argument("--weights", nargs=2, metavar=("NAME", "FILE"), help="as published")
    parser.add_argument("--baseline", type=Path, help="a folder of the baseline stage")
    parser.add_argument("--pruned", type=Path, help="a folder that eyas.save wrote")
    parser.add_argument("--fetch", type=Path, help="CIFAR-10, of the fetch stage")
    parser.add_argument("--followed", nargs="+", default=[], choices=[*DIGITS, *PHOTOGRAPHS], help="only these")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.report:
        report(read_rows(ROWS))
    elif args.run:
        measure(Field.of_run(args.run), args.followed)
    else:
        measure(Field.of_photographs(*photographs(args), open_dataset(args.fetch)), args.followed)


def photographs(args: argparse.Namespace) -> tuple[str, nn.Module]:
    """The network that is asked for, and its name in rows."""
    if args.weights:
        model = models.build(args.weights[0], 10)
        load_checkpoint(model, Path(args.weights[1]))
        return f"{args.weights[0]}, as published", model.eval()
    if args.pruned:
        return args.pruned.name, eyas.load(args.pruned).eval()
    return "resnet20, adapted", load_network(args.baseline).model.eval()


if __name__ == "__main__":
    main()
