"""New batch-norm statistics from images of this device: ``python adapt.py photos``, without labels and training.

Shows how far the images are from what the network knows, asks the rule that needs no labels, and writes the network's
statistics mixed with theirs; then ``python predict.py --statistics statistics.safetensors cat.png``. Needs
onnxruntime, numpy and Pillow alone.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from adapted_classifier import AdaptedClassifier, Arrays, accepted, open_session, read_tensors, write_tensors
from classifier import Classifier
from device_images import batches_of, different_images, held_out
from label_free_rule import lines, read_rule, reasons, summarised

HERE = Path(__file__).resolve().parent
OWN = HERE / "bn_statistics.safetensors"


def collect(classifier: Classifier, files: list[Path], threads: int = 0) -> Arrays:
    """Mean and variance of each layer over all images of these files: batches merged (Chan et al. 1979)."""
    if len(files) < 2:
        raise ValueError(f"{len(files)} images could be read: statistics need two at least, better some hundred")
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, threads
    session = onnxruntime.InferenceSession(HERE / "collect.onnx", options, ["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs() if output.name.startswith("batch/")]
    layers = [name.removeprefix("batch/").removesuffix(".mean") for name in names[::2]]
    count, merged = 0, dict[str, tuple[Any, Any]]()
    for batch in batches_of(classifier, files):
        values = [value.astype(np.float64) for value in session.run(names, {"images": batch})]
        share = len(batch) / (count + len(batch))
        for layer, mean, variance in zip(layers, values[::2], values[1::2], strict=True):
            old_mean, old_variance = merged.get(layer, (mean, variance))
            delta = mean - old_mean
            spread = share * (1 - share) * delta**2
            merged[layer] = old_mean + share * delta, old_variance + share * (variance - old_variance) + spread
        count += len(batch)
    named = {f"{layer}.mean": mean for layer, (mean, _) in merged.items()}
    return named | {f"{layer}.var": variance for layer, (_, variance) in merged.items()}


def drift(source: Arrays, field: Arrays) -> Iterator[tuple[str, float, float]]:
    """By layer: symmetric Kullback-Leibler divergence of Gaussians, and shift of the mean in standard deviations."""
    for layer in (name.removesuffix(".mean") for name in field if name.endswith(".mean")):
        own, other = (tensors[f"{layer}.var"] + source[f"{layer}.eps"] for tensors in (source, field))
        off = source[f"{layer}.mean"].astype(np.float64) - field[f"{layer}.mean"]
        divergence = (own / other + other / own - 2 + off**2 * (1 / own + 1 / other)).mean() / 2
        yield layer, float(divergence), float((abs(off) / np.sqrt(own)).mean())


def mix(source: Arrays, field: Arrays, weight: float) -> Arrays:
    """The network's own statistics with ``weight``, those of the images with the rest; float32."""
    return {name: (weight * source[name] + (1 - weight) * value).astype(np.float32) for name, value in field.items()}


def answers(classifier: Classifier, files: list[Path], sessions: list[Any]) -> list[Any]:
    """Probabilities of each image by each session, (N, K); where pixels have classes, their mean over an image."""
    rows: list[list[Any]] = [[] for _ in sessions]
    for batch in batches_of(classifier, files):
        for session, row in zip(sessions, rows, strict=True):
            logits = session.run(["logits"], {"images": batch})[0]
            powers = np.exp(logits - logits.max(1, keepdims=True))
            shares = powers / powers.sum(1, keepdims=True)
            row.append(shares.reshape(*shares.shape[:2], -1).mean(2))
    return [np.concatenate(row) for row in rows]


def share(text: str) -> float:
    """A number from 0 to 1."""
    if not 0 <= float(text) <= 1:
        raise ValueError(text)
    return float(text)


def main(asked: argparse.Namespace) -> None:
    """Collect, show, ask the label-free rule and whether the golden images keep their classes, write."""
    source, classifier, rule = read_tensors(OWN), Classifier(HERE), read_rule(HERE)
    different, copies = different_images(classifier, asked.images)
    if copies:
        print(f"{copies} images are copies of others: of {len(different) + copies} each different one counts once")
    followed, judges = held_out(different, rule)
    field = collect(classifier, followed)
    seen = field if judges == followed else collect(classifier, judges)
    rows = list(drift(source, field))
    width = max(len(layer) for layer, *_ in rows)
    print(f"{len(followed)} images against what the network knows, by layer:")
    print(f"{'':{width}}  divergence  shift (deviations)")
    for layer, divergence, shift in rows:
        print(f"{layer:{width}}  {divergence:10.3f}  {shift:10.3f}")
    statistics = mix(source, field, asked.source_weight)
    held = source, {**source, **statistics}
    distances = [float(np.mean([divergence for _, divergence, _ in drift(one, seen)])) for one in held]
    sessions = [open_session(HERE / "adaptable.onnx", 0, one) for one in (accepted(OWN, source), statistics)]
    before, after = answers(classifier, judges, sessions)
    told = {"images": np.array(len(different)), **summarised(before, after, (distances[0], distances[1]), rule)}
    judged = reasons(told, before.shape[1], rule, asked.few_images)
    print("", *lines(judged), "", sep="\n")
    if against := [name for name, holds, _ in judged if not holds]:
        raise ValueError(f"{', '.join(against)}: nothing is written, the network keeps the statistics that it has")
    partial = asked.to.with_name(f".{asked.to.name}.partial")
    try:
        write_tensors({**statistics, **told}, partial)
        changed = AdaptedClassifier(HERE, partial).check()
        partial.replace(asked.to)
    finally:
        partial.unlink(missing_ok=True)
    print(f"{asked.to}: {asked.source_weight:g} of the network's own, {1 - asked.source_weight:g} of these images;")
    print(f"{changed:.0%} of the golden images get another class. Whether it helps here only labelled images can tell.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", type=Path, help="files, or folders of them")
    parser.add_argument("--source-weight", type=share, default=0.5, help="of the network's own statistics [0.5]")
    parser.add_argument("--to", type=Path, default=Path("statistics.safetensors"), metavar="FILE", help="what to write")
    parser.add_argument("--few-images", action="store_true", help="go on with fewer than 64, two at least")
    try:
        main(parser.parse_args())
    except Exception as error:  # a file of the bundle, or an image, is missing or damaged
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
