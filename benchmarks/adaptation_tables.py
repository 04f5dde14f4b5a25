"""The tables of ``benchmarks.adaptation``."""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.common import publish, table
from benchmarks.corruptions import CORRUPTIONS

KEY = ("network", "adapter", "what", "severity", "images", "stream")
"""What makes a measurement; ``what`` is a corruption, clean or mixed; ``stream`` is empty for held-out images."""
HALF, BATCH, SINGLES = 1000, 64, 250
EXPORTED = "exported"
"""In place of a stream: the file that an adapted network is written to."""
HARM = 0.01
"""A loss of accuracy that counts as harm."""
STREAM_SEVERITY = 3


@dataclass(frozen=True)
class Results:
    """What was measured of one network."""

    rows: list[dict[str, Any]]

    def held_out(self, adapter: str, what: str, severity: int, images: int) -> float | None:
        """Accuracy on held-out images; None where it was not measured."""
        key = (adapter, what, severity, images, "")
        matching = [row["accuracy"] for row in self.rows if tuple(row[name] for name in KEY[1:]) == key]
        return matching[-1] if matching else None

    def gains(self, adapter: str, severity: int, images: int, whats: Sequence[str]) -> list[float]:
        """Over no adaptation, for each corruption that was measured."""
        pairs = [
            (self.held_out(adapter, what, severity, images), self.held_out("none", what, severity, 0)) for what in whats
        ]
        return [after - before for after, before in pairs if after is not None and before is not None]

    def values(self, name: str, *, streams: bool = False) -> list[Any]:
        """The different values of a field, in order of measurement."""
        return list(dict.fromkeys(row[name] for row in self.rows if bool(row["stream"]) == streams))

    @property
    def adapters(self) -> list[str]:
        """All but none."""
        return [name for name in self.values("adapter") if name != "none"]

    @property
    def severities(self) -> list[int]:
        """Of corruptions."""
        return sorted(set(self.values("severity")) - {0})

    @property
    def numbers(self) -> list[int]:
        """Of images that were followed."""
        return sorted(set(self.values("images")) - {0})

    def by_severity(self) -> str:
        """Mean gain over corruptions, and how often there was harm."""
        clean = self.held_out("none", "clean", 0, 0)
        plain = [self.held_out("none", what, severity, 0) for severity in self.severities for what in CORRUPTIONS]
        means = [_percent([value for value in row if value is not None]) for row in batched(plain, len(CORRUPTIONS))]
        lines: list[list[object]] = [["none", "", _percent([] if clean is None else [clean]), *means, ""]]
        for adapter, images in itertools.product(self.adapters, self.numbers):
            by_severity = [self.gains(adapter, severity, images, [*CORRUPTIONS]) for severity in self.severities]
            every = [gain for gains in by_severity for gain in gains]
            cells = [_points(self.gains(adapter, 0, images, ["clean"])), *map(_points, by_severity)]
            lines.append([adapter, images, *cells, f"{sum(gain < -HARM for gain in every)} of {len(every)}"])
        return table(
            ["adapter", "N", "clean", *(f"severity {severity}" for severity in self.severities), "harm"], lines
        )

    def by_corruption(self, severity: int, images: int) -> str:
        """Gain under each corruption."""
        lines = []
        for what in CORRUPTIONS:
            before = self.held_out("none", what, severity, 0)
            if before is None:
                continue
            gains = [_points(self.gains(adapter, severity, images, [what])) for adapter in self.adapters]
            lines.append([what, _percent([before]), *gains])
        return table(["", "none", *self.adapters], lines)

    def streams(self) -> str:
        """Accuracy of the answers that were given on the way."""
        accuracies = {
            (row["adapter"], (row["what"], row["stream"], row["images"])): row["accuracy"]
            for row in self.rows
            if row["stream"] not in {"", "cost", EXPORTED}
        }
        conditions = list(dict.fromkeys(condition for _, condition in accuracies))
        names = [f"{what}, {stream}" + (", one by one" if images == 1 else "") for what, stream, images in conditions]
        lines = []
        for adapter in self.values("adapter", streams=True):
            known = [accuracies.get((adapter, condition)) for condition in conditions]
            if any(value is not None for value in known):
                lines.append([adapter, *(_percent([] if value is None else [value]) for value in known)])
        return table(["adapter", *names], lines)

    def costs(self) -> str:
        """Time and memory of following."""
        costs = [row for row in self.rows if row["stream"] == "cost"]
        lines = [[row["adapter"], 1000 * row["seconds_per_image"], row["mebibytes_per_image"]] for row in costs]
        return table(["adapter", "CPU ms per image", "MiB per image at the peak"], lines)

    def files(self) -> str:
        """Of adapted networks, by PyTorch and as they are exported."""
        rows = [row for row in self.rows if row["stream"] == EXPORTED]
        lines = [
            [row["adapter"], row["what"], _percent([row["by_pytorch"]]), _percent([row["accuracy"]]), row["apart"]]
            for row in rows
        ]
        return table(["adapter", "images", "PyTorch", "ONNX Runtime", "logits apart, at most"], lines)

    def page(self) -> str:
        """All tables."""
        worst, most = self.severities[-1], self.numbers[-1]
        parts = {
            "Accuracy of none, gain of the others:": self.by_severity(),
            f"By corruption, severity {worst}, N = {most}:": self.by_corruption(worst, most),
            "Streams, accuracy:": self.streams(),
            "Cost of following:": self.costs(),
            "Exported, accuracy:": self.files(),
        }
        return "\n\n".join(f"{title}\n\n{body}" for title, body in parts.items())


def _percent(values: list[float]) -> str:
    return f"{100 * statistics.mean(values):.1f}" if values else ""


def _points(gains: list[float]) -> str:
    return f"{100 * statistics.mean(gains):+.1f}" if gains else ""


def batched(values: list[Any], size: int) -> list[list[Any]]:
    """Lists of so many values each."""
    return [values[start : start + size] for start in range(0, len(values), size)]


def report(rows: list[dict[str, Any]]) -> None:
    """Gains by severity and images, by corruption, of streams, and what they cost; a chapter per network."""
    networks = dict.fromkeys(row["network"] for row in rows)
    pages = [f"## {name}\n\n{Results([row for row in rows if row['network'] == name]).page()}" for name in networks]
    notes = [
        f"{HALF} CIFAR-10 test images are answered; N others, of the same corruption, were followed: percent correct",
        "gain: over no adaptation on the same images, in points; its standard error is about 1 for a single "
        "corruption, 0.3 for the mean of fifteen",
        f"harm: of all corruptions and severities, how many lose more than {100 * HARM:g} point",
        f"a stream is answered while it is learnt from, severity {STREAM_SEVERITY}, in batches of {BATCH}; mixed: "
        f"another corruption for each image; sorted: class after class; one by one: {SINGLES} images",
        "corruptions by benchmarks/corruptions.py: published constants, own definitions, frost a drawn texture",
        "memory: resident set at its peak, over that before, by the images of a batch; in a process of its own",
    ]
    publish("adaptation", "Adapters on corrupted images and streams", notes, "\n\n".join(pages))
