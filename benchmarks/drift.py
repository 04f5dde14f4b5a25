"""Drift and the revert rule, measured: false alarms, power, and what the rule keeps of the gain and spares of the harm.

    python -m benchmarks.drift --baseline artifacts/baseline --fetch artifacts/fetch --part alarms power rule [--report]
    python -m benchmarks.drift --weights resnet20 WEIGHTS.th --fetch artifacts/fetch --part rule
    python -m benchmarks.drift --weights resnet56 WEIGHTS.th --fetch artifacts/fetch --swapped --part validation labels

CIFAR-10 test images: the first half is the reference and the canary, the second the field; the other way round where
they are ``--swapped``. Every measurement is a line of ``results/drift.jsonl``; what is there is not measured again.
``--report`` writes the tables of what is there. On one idle core alarms take two minutes, power two, the rule some ten.
The limits of the rule were set on the adapted ResNet-20, ResNet-20 as it was published and, swapped, ResNet-56 as it
was published; the validation has other streams of classes, and is for networks and images together that set none.
"""

import argparse
import itertools
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import mannwhitneyu
from torch import Tensor, nn

import eyas
import models
from benchmarks.common import RESULTS, append_row, read_rows
from benchmarks.corruptions import CORRUPTIONS, corrupt
from benchmarks.drift_tables import CANARY, LABELS, SEVERITIES, report
from eyas.adaptation.drift import DriftReference
from eyas.adaptation.drift.detect_drift import DEFAULT_DETECTOR, compare
from eyas.adaptation.drift.layer_moments import held_moments
from eyas.adaptation.drift.observation import Observation, observe
from eyas.adaptation.revert_rule import judge
from eyas.data import Dataset, open_dataset
from eyas.networks.checkpoint import load_checkpoint
from eyas.networks.saved_network import load_network

ROWS = RESULTS / "drift.jsonl"
KEY = ("part", "network", "reference", "what", "severity", "stream", "adapter", "images", "block", "labels",
       "detector")  # fmt: skip
HALF, ADAPTED, JUDGED, ANSWERED = 5000, 256, 128, 400
WINDOWS, BLOCK, SIZES = 1000, 100, (64, 128, 256)
ADAPTERS: dict[str, Any] = {"ada_bn": "ada_bn", "alpha_bn": "alpha_bn"}
STREAMS = {
    "rule": {"one class": (3,), "two classes": (1, 8), "five classes": (0, 2, 4, 6, 8)},
    "validation": {"one class": (7,), "two classes": (2, 5), "five classes": (1, 3, 5, 7, 9)},
}
STREAMED = (("clean", 0), ("gaussian_noise", 3), ("defocus_blur", 5), ("contrast", 3), ("jpeg_compression", 3))


@dataclass
class Setting:
    """The network, its images as bytes, and the clean ones as it read them."""

    network: str
    model: nn.Module
    dataset: Dataset
    swapped: bool = False
    """The halves change places: the field's images are then others than those that the limits were set on."""
    detector: str = DEFAULT_DETECTOR
    """Of alarms and power."""

    @property
    def named(self) -> dict[str, str]:
        """Part of the key of rows; those of the default do not say it."""
        return {} if self.detector == DEFAULT_DETECTOR else {"detector": self.detector}

    @cached_property
    def pixels(self) -> Tensor:
        """All test images, unsigned bytes."""
        return self.dataset.split("test").images()

    @cached_property
    def labels(self) -> Tensor:
        """Theirs."""
        return self.dataset.split("test").labels

    def images(self, what: str, severity: int, chosen: Tensor) -> Tensor:
        """Normalised images of one condition."""
        pixels = self.pixels[chosen]
        if what != "clean":
            names = list(CORRUPTIONS) if what == "mixed" else [what]
            arrays = np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())
            for number, name in enumerate(names):
                arrays[number :: len(names)] = corrupt(arrays[number :: len(names)], name, severity)
            pixels = torch.from_numpy(arrays).permute(0, 3, 1, 2)
        return self.dataset.normalise(pixels.contiguous())

    @property
    def known(self) -> Tensor:
        """Places of the reference and the canary."""
        return torch.arange(HALF) + HALF * self.swapped

    @property
    def field(self) -> Tensor:
        """Places of the field's images."""
        return torch.arange(HALF) + HALF * (not self.swapped)

    @cached_property
    def reference(self) -> DriftReference:
        """Of test images, which no training has seen."""
        return DriftReference.of(self.model, self.images("clean", 0, self.known), self.labels[self.known])

    @cached_property
    def training_reference(self) -> DriftReference:
        """Of images that the network was trained on: what not to do."""
        split = self.dataset.split("train")
        return DriftReference.of(self.model, self.dataset.normalise(split.images(HALF)), split.labels[:HALF])

    @cached_property
    def canary(self) -> tuple[Tensor, Tensor]:
        """Clean images and their labels."""
        return self.images("clean", 0, self.known[:CANARY]), self.labels[self.known[:CANARY]]

    @cached_property
    def clean(self) -> Observation:
        """The field's images as they are."""
        return observe(self.model, self.images("clean", 0, self.field), held_moments(self.model))


def main() -> None:
    """Measure what is asked for and not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("baseline", "fetch"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--weights", nargs=2, metavar=("NAME", "FILE"), help="as published, instead of a baseline")
    parser.add_argument("--pruned", type=Path, help="a folder that eyas.save wrote, instead of a baseline")
    parser.add_argument("--swapped", action="store_true", help="the first half of the images is the field")
    parser.add_argument("--detector", default=DEFAULT_DETECTOR, help="of the parts alarms and power")
    parser.add_argument("--part", nargs="*", choices=PARTS, default=[])
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.part:
        network, model = network_of(arguments)
        model = model.eval().to(memory_format=torch.channels_last)
        setting = Setting(network, model, open_dataset(arguments.fetch), arguments.swapped, arguments.detector)
        finished = {key_of(row) for row in read_rows(ROWS)}
        for part in arguments.part:
            for row in PARTS[part](setting, lambda **key: key_of(key) in finished):
                append_row(ROWS, row)
    if arguments.report:
        report(read_rows(ROWS))


def network_of(arguments: argparse.Namespace) -> tuple[str, nn.Module]:
    """What is asked for, and its name in rows and tables."""
    if arguments.weights:
        name, file = arguments.weights
        model = models.build(name, 10)
        load_checkpoint(model, Path(file))
        return f"{name}, as published", model
    if arguments.pruned:
        return arguments.pruned.name, eyas.load(arguments.pruned)
    return "resnet20, adapted", load_network(arguments.baseline).model


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """What makes a measurement."""
    return tuple(row.get(name) for name in KEY)


Known = Callable[..., bool]


def alarms(setting: Setting, known: Known) -> Iterator[dict[str, Any]]:
    """Windows of clean images, drawn anew each time."""
    for name, size in (*(("test", size) for size in SIZES), ("train", 128)):
        reference = setting.reference if name == "test" else setting.training_reference
        for block in range(WINDOWS // BLOCK):
            key = {"part": "alarms", "network": setting.network, "reference": name, "images": size, "block": block}
            key |= setting.named
            if known(**key):
                continue
            told, random = [], np.random.default_rng([size, block])
            for _ in range(BLOCK):
                seen = chosen(setting.clean, random.choice(HALF, size, replace=False))
                told.append(compare(seen, reference, detector=setting.detector).changes)
            yield {**key, "windows": BLOCK, "alarms": sum(map(bool, told)), "told": list(filter(None, told))}


def power(setting: Setting, known: Known) -> Iterator[dict[str, Any]]:
    """Windows of corrupted images, five of 128 and ten of 64."""
    for what, severity in (*itertools.product(CORRUPTIONS, SEVERITIES), ("mixed", 3), ("clean", 0)):
        keys = [
            {"part": "power", "network": setting.network, "what": what, "severity": severity, "images": size}
            | setting.named
            for size in (64, 128)
        ]
        if all(known(**key) for key in keys):
            continue
        places = setting.field[:640]
        whole = observe(setting.model, setting.images(what, severity, places), setting.reference.layers)
        for key in keys:
            size = key["images"]
            seen = [chosen(whole, np.arange(start, start + size)) for start in range(0, 640, size)]
            reports = [compare(one, setting.reference, detector=setting.detector) for one in seen]
            words = Counter(word for one in reports for word in one.changes[:1])
            yield {
                **key,
                "windows": len(reports),
                "drifted": sum(one.drift for one in reports),
                "words": dict(words.most_common()),
                "all_words": dict(Counter(word for one in reports for word in one.changes).most_common()),
                "adapt": sum(one.adapt for one in reports),
                "auroc": auroc(setting, whole),
            }


def auroc(setting: Setting, seen: Observation) -> float:
    """How often a clean image's code is more similar to the bundles than that of one of the images that were seen."""
    codes = setting.reference.codes
    clean, here = (codes.similarity(one.features.numpy()) for one in (setting.clean, seen))
    return float(mannwhitneyu(clean, here).statistic / (len(clean) * len(here)))


def chosen(seen: Observation, places: np.ndarray[Any, np.dtype[np.int64]]) -> Observation:
    """Some of the images that were seen; the layers' statistics stay those of all."""
    numbers = {name: values[places] for name, values in seen.numbers.items()}
    features = None if seen.features is None else seen.features[places]
    return replace(seen, numbers=numbers, probabilities=seen.probabilities[places], features=features)


def rule(setting: Setting, known: Known, part: str = "rule") -> Iterator[dict[str, Any]]:
    """Adapters on some images, judged on others, answered on more; also when the field is clean again."""
    for what, severity, stream in conditions(STREAMS[part]):
        of_network = {"part": part, "network": setting.network, "what": what, "severity": severity, "stream": stream}
        names = [name for name in ADAPTERS if not known(**of_network, adapter=name)]
        if not names:
            continue
        places = field_places(setting, STREAMS[part].get(stream))
        clean = cut(setting.images("clean", 0, places)) if severity == max(SEVERITIES) else None
        parts, labels = cut(setting.images(what, severity, places)), cut(setting.labels[places])
        before = accuracy(setting.model, parts[2], labels[2])
        before_clean = accuracy(setting.model, clean[2], labels[2]) if clean else 0.0
        seen = observe(setting.model, parts[1], setting.reference.layers)
        for name in names:
            follow = partial(eyas.adapt, setting.model, adapter=ADAPTERS[name])
            network = follow(parts[0])
            verdict = judge(setting.model, network, parts[1], setting.canary, follow=follow)
            row = {
                "keep": verdict.keep,
                "adapt": compare(seen, setting.reference).adapt,
                "failed": [one.name for one in verdict.reasons if not one.holds],
                "reasons": {one.name: one.text for one in verdict.reasons},
                "before": before,
                "after": accuracy(network, parts[2], labels[2]),
            }
            if clean:
                row["clean_again"] = {
                    "keep": judge(setting.model, network, clean[1], standing=True).keep,
                    "before": before_clean,
                    "after": accuracy(network, clean[2], labels[2]),
                }
            yield {**of_network, "adapter": name, **row}


def conditions(streams: Collection[str]) -> Iterator[tuple[str, int, str]]:
    """What happens to the images, how severely, and in which stream they come."""
    kinds = [name for start in range(3) for name in list(CORRUPTIONS)[start::3]]  # soon some of each kind
    yield from ((what, severity, stream) for what, severity in STREAMED for stream in streams)
    yield from (("clean", 0, "shuffled"), ("mixed", 3, "shuffled"))
    yield from ((what, severity, "shuffled") for severity in SEVERITIES[::-1] for what in kinds)


def field_places(setting: Setting, classes: tuple[int, ...] | None) -> Tensor:
    """Places of the images that are adapted to, judged on and answered; of some classes alone where these are given."""
    places = setting.field
    if classes:
        places = places[torch.isin(setting.labels[places], torch.tensor(classes))]
    return places[: ADAPTED + JUDGED + ANSWERED]


def labels(setting: Setting, known: Known) -> Iterator[dict[str, Any]]:
    """The rule with labels of the first of the images that it judges by, ``ada_bn``; some, more, and none."""
    streams = STREAMS["validation" if setting.swapped else "rule"]
    for what, severity, stream in conditions(streams):
        of_network = {"part": "labels", "network": setting.network, "what": what, "severity": severity,
                      "stream": stream, "adapter": "ada_bn"}  # fmt: skip
        counts = [count for count in LABELS if not known(**of_network, labels=count)]
        if not counts:
            continue
        places = field_places(setting, streams.get(stream))
        parts, answers = cut(setting.images(what, severity, places)), cut(setting.labels[places])
        follow = partial(eyas.adapt, setting.model, adapter="ada_bn")
        network = follow(parts[0])
        adapt = compare(observe(setting.model, parts[1], setting.reference.layers), setting.reference).adapt
        accuracies = {
            name: accuracy(model, parts[2], answers[2])
            for name, model in (("before", setting.model), ("after", network))
        }
        for count in counts:
            some = torch.where(torch.arange(JUDGED) < count, answers[1], -1)
            verdict = judge(setting.model, network, parts[1], setting.canary, labels=some, follow=follow)
            told = {one.name: one.text for one in verdict.reasons}.get("labels")
            yield {**of_network, "labels": count, "keep": verdict.keep, "adapt": adapt, "told": told, **accuracies}


def validation(setting: Setting, known: Known) -> Iterator[dict[str, Any]]:
    """The rule once more, for another network and other images."""
    return rule(setting, known, "validation")


def cut(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What is adapted to, judged on, and answered."""
    return values[:ADAPTED], values[ADAPTED : ADAPTED + JUDGED], values[ADAPTED + JUDGED :]


@torch.inference_mode()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Top-1."""
    answers = torch.cat([model(batch).argmax(1) for batch in images.split(64)])
    return float((answers == labels).double().mean())


PARTS = {"alarms": alarms, "power": power, "rule": rule, "validation": validation, "labels": labels}


if __name__ == "__main__":
    sys.exit(main())
