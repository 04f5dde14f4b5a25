r"""Adapters in the field: what each gains over no adaptation, on corrupted images and streams, dense and pruned.

    python -m benchmarks.adaptation --checkpoint ADAPTED.safetensors [--pruned FOLDER] [--adapters osuda conv_lora]

needs EYAS_DATA (CIFAR-10 as Parquet, pretrained weights) and SciPy. Every measurement is a line of
``results/adaptation.jsonl``; what is there is not measured again. ``--report`` writes the tables of what is there.

Of 2,000 test images one half is answered by the adapted network, N of the other half have adapted it, with their labels
where the adapter needs these. A stream is 1,000 images that are answered while they are learnt from, without labels.
The adapters of the default take some 25 CPU minutes per network; each of the others a minute or two with
``--severities 5 --images 512``.
"""

import argparse
import ctypes
import itertools
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

import eyas
import models
from benchmarks.adaptation_tables import BATCH, EXPORTED, HALF, KEY, SINGLES, STREAM_SEVERITY, report
from benchmarks.candidates import WEIGHTS, accuracy, bench_parser, cifar10
from benchmarks.common import RESULTS, append_row, read_rows
from benchmarks.corruptions import CORRUPTIONS, corrupt
from eyas.adaptation.adapters import Adaptation, Adapter
from eyas.calibration.recalibrate import even_batches
from eyas.data import Dataset
from eyas.deploy.exporters import Exporter
from eyas.networks.checkpoint import load_checkpoint

ROWS = RESULTS / "adaptation.jsonl"
ALPHA = "alpha_bn"
ADAPTERS: dict[str, Any] = {
    **{kind: kind for kind in Adapter.members() if kind not in {ALPHA, "tent"}},
    f"{ALPHA}:by_size": ALPHA,
    **{f"{ALPHA}:{weight}": {"kind": ALPHA, "source_weight": weight} for weight in (0.5, "chosen")},
    "eco_tta:own_statistics": {"kind": "eco_tta", "source_weight": 1},
    **{f"tent:{loss}": {"kind": "tent", "loss": loss} for loss in ("entropy", "class_confusion")},
}
"""What ``--adapters`` may name."""
DEFAULT = ("none", "ada_bn", f"{ALPHA}:by_size", "tent:class_confusion", "unmix_tns")
SORTED = ("clean", "gaussian_noise", "fog", "jpeg_compression")


class Field:
    """Test images as bytes, and corrupted ones as the network reads them; the last condition is kept."""

    def __init__(self, dataset: Dataset) -> None:
        split, self.dataset = dataset.split("test"), dataset
        self.bytes = split.images(2 * HALF).permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = split.labels[: 2 * HALF]
        self.source = dataset.normalise(dataset.split("train").images(512))
        self.kept: tuple[tuple[str, int], Tensor] | None = None
        self.prepared: dict[str, tuple[Adaptation, dict[str, Tensor]]] = {}

    def images(self, what: str, severity: int) -> Tensor:
        """All images under one corruption, normalised."""
        if self.kept is None or self.kept[0] != (what, severity):
            changed = self.bytes if what == "clean" else self.changed(what, severity)
            tensor = torch.from_numpy(np.ascontiguousarray(changed)).permute(0, 3, 1, 2)
            self.kept = (what, severity), self.dataset.normalise(tensor.contiguous())
        return self.kept[1]

    def changed(self, what: str, severity: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Corrupted bytes; ``mixed`` are all corruptions in turn."""
        if what != "mixed":
            return corrupt(self.bytes, what, severity)
        changed = self.bytes.copy()
        for number, name in enumerate(CORRUPTIONS):
            changed[number :: len(CORRUPTIONS)] = corrupt(self.bytes[number :: len(CORRUPTIONS)], name, severity)
        return changed

    def stream(self, what: str, stream: str) -> tuple[Tensor, Tensor]:
        """The judged half of the images, and their labels: sorted by class where the stream is."""
        images, labels = self.images(what, STREAM_SEVERITY)[:HALF], self.labels[:HALF]
        order = labels.argsort(stable=True) if stream == "sorted" else torch.arange(HALF)
        return images[order], labels[order]


def observe(adaptation: Adaptation, images: Tensor, size: int = BATCH) -> Tensor:
    """Logits of all images as the adaptation goes over them."""
    batches = images.split(1) if size == 1 else even_batches(images, size)
    return torch.cat([adaptation.observe(batch) for batch in batches])


def follow(adaptation: Adaptation, images: Tensor, labels: Tensor) -> None:
    """Learn from images, and from their labels where the adapter needs them."""
    if not adaptation.adapter.needs_labels:
        observe(adaptation, images)
        return
    for batch, of_batch in zip(even_batches(images, BATCH), even_batches(labels, BATCH), strict=True):
        adaptation.observe(batch, of_batch)


def prepare(name: str, model: nn.Module, field: Field) -> Adaptation:
    """An adapter by its name here, at its start; what was prepared once is taken back there."""
    if name not in field.prepared:
        adapter = Adapter.parse(ADAPTERS[name])
        adaptation = adapter.prepare(model, source=field.source if adapter.needs_source else None)
        field.prepared[name] = adaptation, adaptation.snapshot()
    adaptation, start = field.prepared[name]
    adaptation.restore(start)
    return adaptation


def held_out(name: str, model: nn.Module, field: Field, key: dict[str, Any]) -> float:
    """Accuracy on one half after following images of the other; where nothing is kept fixed, while it goes on."""
    images = field.images(key["what"], key["severity"])
    adaptation = prepare(name, model, field)
    if key["images"]:
        others = slice(HALF, HALF + key["images"])
        follow(adaptation, images[others], field.labels[others])
    if adaptation.adapter.foldable:
        return accuracy(adaptation.finalise(), images[:HALF], field.labels[:HALF])
    answers = observe(adaptation, images[:HALF]).argmax(1)
    return float((answers == field.labels[:HALF]).double().mean())


def along(name: str, model: nn.Module, field: Field, key: dict[str, Any]) -> float:
    """Accuracy of the answers that a stream gets while it is learnt from."""
    images, labels = field.stream(key["what"], key["stream"])
    if key["images"] == 1:
        order = torch.arange(0, HALF, HALF // SINGLES)  # every so many, all classes
        images, labels = images[order], labels[order]
    answers = observe(prepare(name, model, field), images, key["images"]).argmax(1)
    return float((answers == labels).double().mean())


def exported(name: str, model: nn.Module, field: Field, key: dict[str, Any]) -> dict[str, float]:
    """Accuracy of the adapted network by PyTorch and by its ONNX file, folded, and how far the logits are apart."""
    images, labels = field.images(key["what"], key["severity"]), field.labels
    others = slice(HALF, HALF + key["images"])
    adaptation = prepare(name, model, field)
    follow(adaptation, images[others], labels[others])
    network = adaptation.finalise().eval()
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        file = Exporter.parse("onnx")(network, images[:1], Path(folder) / "adapted.onnx")
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        batches = images[:HALF].contiguous().split(BATCH)
        after = torch.cat(
            [torch.from_numpy(session.run(None, {session.get_inputs()[0].name: one.numpy()})[0]) for one in batches]
        )
        before = torch.cat([network(batch) for batch in batches])
    right = [float((logits.argmax(1) == labels[:HALF]).double().mean()) for logits in (after, before)]
    return {"accuracy": right[0], "by_pytorch": right[1], "apart": float((after - before).abs().max())}


def cost(name: str, model: nn.Module, field: Field) -> dict[str, float]:
    """Seconds and peak MiB per image, batches of 64, in a process of its own."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_cost, args=(name, model, field, sender))
    child.start()
    sender.close()  # so that a child that fails ends the wait
    seconds, mebibytes = receiver.recv()
    child.join()
    return {"seconds_per_image": seconds, "mebibytes_per_image": mebibytes}


def _cost(name: str, model: nn.Module, field: Field, sender: Connection) -> None:
    images, labels = field.images("clean", 0)[: 4 * BATCH], field.labels[: 4 * BATCH]
    adaptation = prepare(name, model, field)
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before goes back, and is counted when it is taken again
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins again at what is held now
    before, start = _status("VmRSS"), time.process_time()
    follow(adaptation, images, labels)
    sender.send(((time.process_time() - start) / len(images), (_status("VmHWM") - before) / 1024 / BATCH))


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def keys(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What is asked of each adapter, one condition after the other."""
    names = ("what", "severity", "images", "stream")
    conditions = [("clean", 0), *itertools.product(args.corruptions, args.severities)]
    for (what, severity), images in itertools.product(conditions, args.images):
        yield dict(zip(names, (what, severity, images, ""), strict=True))
    if not args.streams:
        return
    for what in ("mixed", *SORTED):
        streams = ("shuffled",) if what == "mixed" else ("shuffled", "sorted")
        for stream in streams:
            yield dict(zip(names, (what, STREAM_SEVERITY, BATCH, stream), strict=True))
    yield dict(zip(names, ("clean", STREAM_SEVERITY, 1, "sorted"), strict=True))
    yield dict(zip(names, ("cost", 0, BATCH, "cost"), strict=True))
    for what in SORTED:
        yield dict(
            zip(names, (what, STREAM_SEVERITY if what != "clean" else 0, max(args.images), EXPORTED), strict=True)
        )


def measure(network: str, model: nn.Module, field: Field, args: argparse.Namespace) -> None:
    """Everything that is asked for and not there yet."""
    finished = {tuple(row[name] for name in KEY) for row in read_rows(ROWS)}
    for condition, name in itertools.product(list(keys(args)), args.adapters):
        key = {"network": network, "adapter": name, **condition}
        if name == "none" and not key["stream"]:
            key["images"] = 0  # none are learnt from
        if tuple(key[part] for part in KEY) in finished or not measurable(name, key):
            continue
        finished.add(tuple(key[part] for part in KEY))
        if key["stream"] == "cost":
            append_row(ROWS, {**key, **cost(name, model, field)})
        elif key["stream"] == EXPORTED:
            append_row(ROWS, {**key, **exported(name, model, field, key)})
        else:
            start = time.process_time()
            right = (along if key["stream"] else held_out)(name, model, field, key)
            append_row(ROWS, {**key, "accuracy": right, "seconds": time.process_time() - start})


def measurable(name: str, key: dict[str, Any]) -> bool:
    """Whether an adapter can be asked this: a stream has no labels, and may come in batches that are too small."""
    adapter = Adapter.parse(ADAPTERS[name])
    if key["stream"] == EXPORTED:
        return adapter.foldable
    if key["stream"] in {"", "cost"}:
        return True
    return not adapter.needs_labels and key["images"] >= adapter.min_batch


def main() -> None:
    """The command line."""
    parser = bench_parser(__doc__)
    parser.add_argument("--pruned", type=Path, help="a folder that eyas.save wrote, instead of the dense one")
    parser.add_argument("--name", help="of the network in rows and tables; without it dense, or the folder's name")
    parser.add_argument("--adapters", nargs="+", default=DEFAULT, choices=[*ADAPTERS])
    parser.add_argument("--corruptions", nargs="+", default=[*CORRUPTIONS], choices=[*CORRUPTIONS])
    parser.add_argument("--severities", type=int, nargs="+", default=[1, 3, 5])
    parser.add_argument("--images", type=int, nargs="+", default=[64, 512], help="that are followed")
    parser.add_argument(
        "--streams", action=argparse.BooleanOptionalAction, default=True, help="and what they cost, and the files"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.report:
        return report(read_rows(ROWS))
    args.work.mkdir(parents=True, exist_ok=True)
    if args.pruned:
        model = eyas.load(args.pruned)
    else:
        model = models.build(args.model, 10)
        load_checkpoint(model, args.checkpoint or Path(os.environ["EYAS_DATA"]) / "weights" / WEIGHTS[args.model])
    network = args.name or (args.pruned.name if args.pruned else "dense")
    return measure(network, model.eval(), Field(cifar10(args.work)), args)


if __name__ == "__main__":
    main()
