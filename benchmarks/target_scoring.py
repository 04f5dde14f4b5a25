r"""Does scoring candidates on the field's images find one that is better there?

    python -m benchmarks.target_scoring --checkpoint ADAPTED.safetensors [--candidates 20] [--report]

needs EYAS_DATA (CIFAR-10 as Parquet, pretrained weights). Candidates at half of the MACs, all fine-tuned alike on clean
images; each then follows ``FOLLOWED`` corrupted images (AdaBN), and answers others. What the same candidates scored
before fine-tuning on clean images with labels, on the field's without labels (against the dense network that followed
them too) and on the field's with labels, is held against those answers. Every condition is a line of
``results/target_scoring.jsonl``; what is there is not measured again. Half an hour on one core, most of it fine-tuning.
"""

import argparse
import statistics
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

import eyas
from benchmarks.candidates import Bench, Recipe, accuracy, bench_parser, cifar10, recalibrated, train
from benchmarks.common import RESULTS, append_row, mean_and_error, publish, read_rows, table
from benchmarks.corruptions import CORRUPTIONS, corrupt
from eyas.scoring import Rung

ROWS = RESULTS / "target_scoring.jsonl"
FOLLOWED, SCORED, ANSWERED = 512, 1024, 2000
SEVERITY, SHARE = 5, 0.5
RUNG = Rung(images=SCORED, mode="fused")
RECIPE = Recipe(steps=200, rate=0.05)
SCORES = {"clean": "clean images, labels", "field": "field's images, no labels", "labelled": "field's images, labels"}


def measure(args: argparse.Namespace) -> None:
    """Every condition that is not there yet."""
    finished = {row["what"] for row in read_rows(ROWS) if row["candidates"] == args.candidates}
    conditions = [what for what in ("clean", *CORRUPTIONS) if what not in finished]
    if not conditions:
        return
    bench = Bench.from_arguments(args, SHARE, args.candidates)
    tuned = [finetuned(bench, number) for number in range(args.candidates)]
    clean = scores(bench, bench.model, bench.images.scoring[:SCORED], bench.images.labels)
    dataset = cifar10(args.work)
    split = dataset.split("test")
    pixels, labels = split.images(FOLLOWED + SCORED + ANSWERED), split.labels
    for what in conditions:
        arrays = np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())
        changed = arrays if what == "clean" else corrupt(arrays, what, SEVERITY)
        images = dataset.normalise(torch.from_numpy(np.ascontiguousarray(changed)).permute(0, 3, 1, 2).contiguous())
        followed, scored, answered = images.split([FOLLOWED, SCORED, ANSWERED])
        dense = eyas.adapt(bench.model, followed, "ada_bn")
        of_scored = labels[FOLLOWED : FOLLOWED + SCORED]
        row: dict[str, Any] = {
            "clean": clean,
            "field": scores(bench, dense, scored, None),
            "labelled": scores(bench, dense, scored, of_scored),
            "accuracy": [
                accuracy(eyas.adapt(network, followed, "ada_bn"), answered, labels[FOLLOWED + SCORED :][:ANSWERED])
                for network in tuned
            ],
        }
        append_row(ROWS, {"what": what, "candidates": args.candidates, "model": args.model, **row})


def finetuned(bench: Bench, number: int) -> nn.Module:
    """A candidate after the recipe, on clean images."""
    small = recalibrated(bench, eyas.prune(bench.model, bench.space, bench.plans[number]))
    train(bench, small, RECIPE)
    return small.eval()


def scores(bench: Bench, dense: nn.Module, images: Tensor, labels: Tensor | None) -> list[float]:
    """Of every candidate, with statistics of the images that judge."""
    labels = None if labels is None else labels[: len(images)]
    scored = eyas.score(dense, bench.space, bench.plans, None, images, labels, rungs=[RUNG])
    return [round(float(value), 5) for value in scored.score]


def report(rows: list[dict[str, Any]]) -> None:
    """Rank correlation with the accuracy in the field, and what the first of each ranking has, against the mean."""
    lines, of_all = [], {name: ([], []) for name in SCORES}
    for row in rows:
        values = 100 * np.asarray(row["accuracy"])
        cells: list[object] = [row["what"], f"{values.mean():.1f}", f"{values.max() - values.mean():+.1f}"]
        for name, (ranks, gains) in of_all.items():
            rank = float(spearmanr(row[name], values).statistic)
            gain = float(values[int(np.argmax(row[name]))] - values.mean())
            cells += [f"{rank:.2f}", f"{gain:+.1f}"]
            if row["what"] != "clean":
                ranks.append(rank)
                gains.append(gain / 100)
        lines.append(cells)
    means: list[object] = ["mean of the corruptions", "", ""]
    for ranks, gains in of_all.values():
        means += [f"{statistics.fmean(ranks):.2f}", mean_and_error(gains)]
    header = ["condition", "mean accuracy", "best"]
    for words in SCORES.values():
        header += [f"{words}: rank correlation", "its first"]
    notes = [
        f"{rows[0]['candidates']} candidates of {rows[0]['model']} at {SHARE:.0%} of the MACs, {RECIPE}; severity "
        f"{SEVERITY}; {FOLLOWED} images followed, {SCORED} scored, {ANSWERED} answered, all different",
        "best and first: the best candidate, and the one that ranks first, over the mean of all, in points",
    ]
    publish("target_scoring", "Scoring candidates on the field's images", notes, table(header, [*lines, means]))


def main() -> None:
    """The command line."""
    parser = bench_parser(__doc__)
    parser.add_argument("--candidates", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.report:
        measure(args)
    report(read_rows(ROWS))


if __name__ == "__main__":
    main()
