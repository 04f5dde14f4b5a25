r"""What predicts the accuracy after fine-tuning: every predictor on the same candidates, whose outcomes are known.

    python -m benchmarks.prediction --model resnet20 --checkpoint ADAPTED.safetensors --shares 0.25 0.5 \\
        --floors 0.4 0 --candidates 40 --measures priors fused:512 trained:10 tuned:1

needs EYAS_DATA (CIFAR-10 as Parquet, pretrained weights). Every measurement of a candidate is a line of
``results/prediction.jsonl``, with its widths; what is there is not measured again. ``benchmarks.predictors`` makes a
table of what is there.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

import eyas
from benchmarks.candidates import Bench, Recipe, bench_parser, published_score, recalibrated, train, trained_accuracy
from benchmarks.common import RESULTS, append_row, read_rows
from benchmarks.criteria import CRITERIA
from benchmarks.scoring import make_engine, method, timed
from eyas.pruning.criteria import Criterion
from eyas.pruning.plan import PruningPlan
from eyas.sampling.budget import Budget
from eyas.sampling.samplers import Sampler
from eyas.scoring import Rung
from eyas.scoring.engine import Engine
from eyas.scoring.priors import Prior

ROWS = RESULTS / "prediction.jsonl"
SET = ("model", "dense", "share", "floor", "criterion", "draw")
"""What makes a set of candidates."""
TRUTH = Recipe(200, 0.05)
"""The fine-tuning whose accuracy is predicted."""
BATCH = 128
JUDGED = 2048
"""Held-out images that judge a candidate after a short training."""
SCORERS = ("cross_entropy", "dense_probe", "dense_kl")
Numbers = dict[str, float]


@dataclass(frozen=True)
class Candidate:
    """One candidate of a set, and what it takes to measure it."""

    bench: Bench
    engines: dict[str, Engine]
    """By scorer."""
    plan: PruningPlan

    def pruned(self, *, refit: bool = False) -> nn.Module:
        """A network of its own."""
        small = eyas.prune(self.bench.model, self.bench.space, self.plan)
        if refit:
            eyas.refit(self.bench.model, small, self.bench.space, self.plan, self.bench.images.calibration)
        return small

    def judged(self, small: nn.Module, images: int, scorers: tuple[str, ...] = SCORERS) -> Numbers:
        """Its scores in one fused pass each over held-out images, as a race has them; top-1 of the first."""
        small, numbers = small.to(memory_format=torch.channels_last), {}
        for kind in scorers:
            wait, spent = timed(partial(self.engines[kind].evaluate, small, Rung(images=images), BATCH))
            measured = wait()
            numbers |= {kind: measured.score, f"{kind}_seconds": spent}
            numbers.setdefault("top1", measured.accuracy)
        return numbers


def tuned(candidate: Candidate, order: int, *, refit: bool = False) -> Numbers:
    """The outcome: accuracy on all test images after fine-tuning, in one order of the images."""
    small = recalibrated(candidate.bench, candidate.pruned(refit=refit))
    return {"accuracy": trained_accuracy(candidate.bench, small, TRUTH, order)}


def trained(candidate: Candidate, steps: int, *, refit: bool = False) -> Numbers:
    """After a few steps of training, cosine to zero, on the same batches for all."""
    small = recalibrated(candidate.bench, candidate.pruned(refit=refit))
    train(candidate.bench, small, Recipe(steps, TRUTH.rate))
    return candidate.judged(small, JUDGED, ("cross_entropy",))


def priors(candidate: Candidate, _: int) -> Numbers:
    """What the widths alone say."""
    widths = np.array([list(candidate.plan.widths.values())])
    return {kind: float(Prior.parse(kind)(candidate.bench.space, widths)[0]) for kind in Prior.members()}


def refitted(candidate: Candidate, images: int) -> Numbers:
    """After the refit, and how far the answers and all refitted layers are from the dense network's."""
    bench, small = candidate.bench, candidate.pruned()
    refit = partial(eyas.refit, bench.model, small, bench.space, candidate.plan, bench.images.calibration)
    outcome, spent = timed(refit)
    layers = {f"layers_{n}": -sum(pair[n == "after"] for pair in outcome.layers.values()) for n in ("before", "after")}
    answers = {"answers_before": -outcome.error_before, "answers_after": -outcome.error_after}
    return {**candidate.judged(small, images), **layers, **answers, "refit_seconds": spent}


MEASURES: dict[str, Callable[[Candidate, int], Numbers]] = {
    "priors": priors,
    "fused": lambda candidate, images: candidate.judged(candidate.pruned(), images),
    "refitted": refitted,
    "trained": trained,
    "refitted_trained": lambda candidate, steps: trained(candidate, steps, refit=True),
    "published": lambda candidate, _: {"top1": published_score(candidate.bench, candidate.plan)},
    "tuned": tuned,
    "refitted_tuned": lambda candidate, order: tuned(candidate, order, refit=True),
}
"""What ``--measures`` may name, as ``name:number``."""


def measure(bench: Bench, args: argparse.Namespace) -> None:
    """Everything that is asked for and not there yet."""
    key = (*SET, "candidate", "measure")
    finished = {tuple(row[name] for name in key) for row in read_rows(ROWS)}
    planner = bench.space.planner(Criterion.parse(CRITERIA[args.criterion]), data=bench.images.calibration)
    images = make_engine(bench).images
    engines = {kind: Engine(bench.model, bench.space, images, method(kind)) for kind in SCORERS}
    for share in args.shares:
        for floor in args.floors:
            draw = drawn(bench, share, floor, args)
            for name in args.measures:
                kind, _, number = name.partition(":")
                for index, widths in enumerate(draw[: args.first]):
                    values = (args.model, args.dense, share, floor, args.criterion, args.draw, index, name)
                    if values not in finished:
                        candidate = Candidate(bench, engines, planner(widths))
                        numbers, seconds = timed(partial(MEASURES[kind], candidate, int(number or 0)))
                        cost = bench.space.cost(widths)
                        size = {"widths": widths.tolist(), "macs": cost.macs, "params": cost.params}
                        append_row(ROWS, {**dict(zip(key, values, strict=True)), **numbers, "seconds": seconds, **size})


def drawn(bench: Bench, share: float, floor: float, args: argparse.Namespace) -> Any:
    """The widths of a set of candidates, uniform widths first, ``(n, G)``."""
    sampler = Sampler.parse({"kind": "budget", "floor": floor})
    return sampler.ask(bench.space, Budget.of(bench.space, "macs", share), args.candidates, seed=args.draw)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = bench_parser(__doc__, report=False)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.25, 0.5], help="of the dense MACs")
    parser.add_argument("--floors", type=float, nargs="+", default=[0.4, 0.0], help="of the sampler")
    parser.add_argument("--criterion", default="weight_activation:std", help="a name of benchmarks.criteria")
    parser.add_argument("--candidates", type=int, default=40, help="that are drawn")
    parser.add_argument("--first", type=int, help="measure only so many of them")
    parser.add_argument("--draw", type=int, default=0, help="seed of the candidates")
    parser.add_argument("--measures", nargs="+", default=["tuned:1"], help=f"of {[*MEASURES]}, as name:number")
    args = parser.parse_args()
    args.dense = "adapted" if args.checkpoint else "public"
    return args


def main() -> None:
    """Measure, or go on measuring."""
    args = parse()
    torch.set_num_threads(1)
    measure(Bench.from_arguments(args), args)


if __name__ == "__main__":
    main()
