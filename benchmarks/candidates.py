"""A real network, its candidates and images, scored as published and fine-tuned alike; arguments that name them.

Needs EYAS_DATA (CIFAR-10 as Parquet, pretrained weights).
"""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import eyas
import models
from eyas.calibration import Calibrator
from eyas.config import FetchParams, PipelineParams, load_params
from eyas.data import Dataset, open_dataset
from eyas.networks.checkpoint import load_checkpoint
from eyas.progress import silent
from eyas.pruning.criteria import Criterion
from eyas.pruning.plan import PruningPlan
from eyas.pruning.space import SearchSpace
from eyas.sampling.budget import Budget
from eyas.sampling.samplers import Sampler
from eyas.scoring import WidthPlans
from eyas.scoring.image_sets import ImageSets, prepare_images
from tasks.dense_network import load_dense
from tasks.fetch import fetch
from tasks.search_space import trace_network

WEIGHTS = {"resnet20": "resnet20-12fca82f.th", "resnet56": "resnet56-4bfd9763.th"}
BATCH = 128
# The whole breadth of the space, thin layers too: what a score has to tell apart.
SAMPLER = {"kind": "budget", "floor": 0}


@dataclass(frozen=True)
class Recipe:
    """The fine-tuning that every candidate gets: SGD with Nesterov momentum, the learning rate's cosine to zero."""

    steps: int
    rate: float

    def __str__(self) -> str:
        return f"{self.steps} steps of {BATCH} images at {self.rate:g}"


@dataclass
class Bench:
    """The dense network, its candidates and all images, normalised."""

    model: nn.Module
    space: SearchSpace
    plans: WidthPlans
    images: ImageSets
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]

    @classmethod
    def of_run(cls, folder: Path) -> "Bench":
        """What the stages of a run left there: its parameter file, data, and dense network; no candidates."""
        params, artifacts = load_params(folder / "params.yaml"), folder / "artifacts"
        dataset, network = open_dataset(artifacts / "fetch"), load_dense(params, artifacts)
        parts = {part: dataset.split(part) for part in ("train", "calibration", "score", "test")}
        data = {part: (dataset.normalise(split.images()), split.labels) for part, split in parts.items()}
        space = trace_network(network, params.sample)
        images = prepare_images(data["calibration"][0], *data["score"], seed=0).to("cpu")
        nobody = WidthPlans(np.empty((0, len(space.groups)), np.int64), space.planner(params.sample.criterion))
        return cls(network.model.eval(), space, nobody, images, data["train"], data["test"])

    @classmethod
    def from_arguments(cls, args: argparse.Namespace, share: float = 0.5, count: int = 1, *, seed: int = 0) -> "Bench":
        """The network that the arguments of :func:`bench_parser` name; its folder is made."""
        args.work.mkdir(parents=True, exist_ok=True)
        return cls.prepare(args.model, share, count, seed=seed, work=args.work, checkpoint=args.checkpoint)

    @classmethod
    def prepare(
        cls,
        name: str,
        share: float,
        count: int,
        *,
        seed: int,
        work: Path,
        checkpoint: Path | None,
        arguments: dict[str, Any] | None = None,
    ) -> "Bench":
        """Fetch CIFAR-10 once into ``work``, load the network, draw ``count`` candidates at ``share`` of its MACs."""
        dataset = cifar10(work)
        parts = {part: dataset.split(part) for part in ("train", "calibration", "score", "test")}
        data = {part: (dataset.normalise(split.images()), split.labels) for part, split in parts.items()}
        model = models.build(name, 10, **(arguments or {}))
        load_checkpoint(model, checkpoint or Path(os.environ["EYAS_DATA"]) / "weights" / WEIGHTS[name])
        space = eyas.trace(model.eval(), (data["test"][0][:1],))
        scoring, labels = (part[:10_000] for part in data["score"])
        images = prepare_images(data["calibration"][0], scoring, labels, seed=0).to("cpu")
        return cls(model, space, draw(space, share, count, seed), images, data["train"], data["test"])


def bench_parser(text: str | None, *, report: bool = True) -> argparse.ArgumentParser:
    """What benchmarks on one network are asked for: which, where files are kept, whether to ``report`` and no more."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet20", help=f"a name in models/; without --checkpoint of {[*WEIGHTS]}")
    parser.add_argument("--checkpoint", type=Path, help="the dense network, adapted to this data by the baseline stage")
    parser.add_argument("--work", type=Path, default=Path(".eyas/bench"))
    if report:
        parser.add_argument("--report", action="store_true", help="measure nothing: write the table of what is there")
    return parser


def cifar10(work: Path) -> Dataset:
    """CIFAR-10 as JPEG, fetched once into ``work``."""
    root = Path(os.environ["EYAS_DATA"]) / "cifar10_jpeg"
    source = FetchParams(
        train=str(root / "train.parquet"),
        test=str(root / "test.parquet"),
        calibration_fraction=0.27,
        score_fraction=0.21,
    )
    if not (work / "fetch/manifest.json").exists():
        fetch(PipelineParams(fetch=source), work, silent)
    return open_dataset(work / "fetch")


def draw(space: SearchSpace, share: float, count: int, seed: int) -> WidthPlans:
    """Candidates at ``share`` of the MACs, uniform widths first."""
    widths = Sampler.parse(SAMPLER).ask(space, Budget.of(space, "macs", share), count, seed=seed)
    return WidthPlans(np.asarray(widths), space.planner(Criterion.parse("l1_norm")))


def published_score(bench: Bench, plan: PruningPlan) -> float:
    """The published score: 102 batches in train mode with momentum 0.1 and no reset, then rounded top-1 on 10,000.

    In the memory layout that ours uses too, which is the faster one.
    """
    small = eyas.prune(bench.model, bench.space, plan).to(memory_format=torch.channels_last)
    batches = bench.images.calibration[: 102 * BATCH].split(BATCH)
    Calibrator.parse("moving_average")(small, batches)
    return round(accuracy(small, bench.images.scoring, bench.images.labels), 3)


@torch.inference_mode()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor | None) -> float:
    """Top-1."""
    assert labels is not None
    pairs = zip(images.split(BATCH), labels.split(BATCH), strict=True)
    right = [(model.eval()(x).argmax(1) == y).sum() for x, y in pairs]
    return float(sum(right)) / len(images)


def finetuned_accuracy(bench: Bench, plan: PruningPlan, recipe: Recipe, order_seed: int = 1) -> float:
    """Accuracy on all test images after the recipe, in bfloat16; starts from recalibrated statistics.

    Another ``order_seed`` is another order of the training images: by how much two results then differ is chance.
    """
    return trained_accuracy(bench, recalibrated(bench, eyas.prune(bench.model, bench.space, plan)), recipe, order_seed)


def recalibrated(bench: Bench, small: nn.Module) -> nn.Module:
    """A pruned network with the statistics of 1,024 calibration images."""
    small = small.to(memory_format=torch.channels_last)
    Calibrator.parse("pooled")(small, bench.images.calibration[:1024].split(BATCH))
    return small


def trained_accuracy(bench: Bench, small: nn.Module, recipe: Recipe, order_seed: int = 1) -> float:
    """Accuracy on all test images of a network that is trained from where it stands, in place."""
    train(bench, small, recipe, order_seed)
    with torch.autocast("cpu", torch.bfloat16):
        return accuracy(small, bench.test[0].contiguous(memory_format=torch.channels_last), bench.test[1])


def train(bench: Bench, small: nn.Module, recipe: Recipe, order_seed: int = 1) -> None:
    """Train a network from where it stands, in place."""
    torch.manual_seed(0)
    optimiser = torch.optim.SGD(small.parameters(), recipe.rate, momentum=0.9, weight_decay=1e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.steps)
    generator, images = torch.Generator().manual_seed(order_seed), len(bench.train[0])
    epochs = -(-recipe.steps * BATCH // images)
    order = torch.cat([torch.randperm(images, generator=generator) for _ in range(epochs)])
    small.train()
    for rows in order[: recipe.steps * BATCH].split(BATCH):
        images = bench.train[0][rows].contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            logits = small(images)
        functional.cross_entropy(logits.float(), bench.train[1][rows]).backward()
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
