"""Trainings by several processes of this machine, for tests: ``python -m tests.training.in_processes JOB.json``.

The job is ``{"processes": 2, "nodes": 1, "out": folder, "trainings": {name: options}}``; each process writes
``<out>/<rank>.json``. Each says its rank and process id in a line before it trains, the first then every report.
"""

import hashlib
import json
import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import torch
from torch import nn
from torch.nn import functional

from eyas.config import RuntimeParams
from eyas.errors import EyasError
from eyas.pruning.sparsity import Sparsity
from eyas.training import SparseTraining, TensorSplit, train
from eyas.training.data_parallel import Processes
from eyas.training.recipes import Recipe
from eyas.training.sparsifiers import Sparsifier
from tasks.training_processes import start_processes


class Norms(nn.Module):
    """Batch-norm after each of three convolutions, once without weights of its own, and over features (N, C).

    Smooth: where a ReLU flips by rounding, curves part by chance.
    """

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8, affine=False)
        self.conv3, self.bn3 = nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16, momentum=0.3)
        self.bn4, self.dropout, self.linear = nn.BatchNorm1d(16), nn.Dropout(dropout), nn.Linear(16, 10)

    def forward(self, x):
        x = functional.avg_pool2d(functional.silu(self.bn1(self.conv1(x))), 2)
        x = functional.silu(self.bn2(self.conv2(x)))
        x = functional.silu(self.bn3(self.conv3(x)))
        return self.linear(self.dropout(self.bn4(x.mean((2, 3)))))


def norms(seed: int, dropout: float = 0.0) -> Norms:
    torch.manual_seed(seed)
    return Norms(dropout)


def training(options, processes=Processes(), progress=lambda *_: None):  # noqa: B008
    """One training, as JSON; options are ``recipe``, ``epochs`` and what is read here besides."""
    torch.set_num_threads(1)
    model = norms(processes.rank if options.get("begins_apart") else 0, options.get("dropout", 0.0))
    images = 300 - (processes.rank if options.get("fewer_images") else 0)
    sparse = options.get("sparse")
    disk = mock.patch("os.fsync", side_effect=lambda _: time.sleep(1)) if options.get("slow_disk") else nullcontext()
    try:
        with disk:
            result = train(
                model,
                noisy_prototypes(images, seed=1),
                noisy_prototypes(200, seed=2),
                recipe=Recipe.parse(options["recipe"]),
                epochs=options.get("epochs", 3),
                teacher=teacher(),
                progress=progress,
                resume_folder=options.get("resume_folder"),
                sparse=SparseTraining(Sparsity.parse(sparse[0]), Sparsifier.parse(sparse[1])) if sparse else None,
            )
    except EyasError as error:
        return {"error": str(error), "status": error.exit_status}
    tensors = model.state_dict().values()
    return {
        "resumed_from": result.resumed_from,
        "losses": [record.train_loss for record in result.history],
        "accuracies": [record.score_accuracy for record in result.history],
        "weights": torch.cat([value.flatten().double() for value in tensors]).tolist(),
        "digest": hashlib.sha256(b"".join(value.numpy().tobytes() for value in tensors)).hexdigest(),
        "files": sorted(path.name for path in Path(options.get("resume_folder", "nowhere")).glob("*")),
    }


def teacher():
    """Of no skill, and with statistics of the images, so that a network can learn what its layers make."""
    model, split = norms(7), noisy_prototypes(100, seed=1)
    with torch.no_grad():
        for _ in range(30):
            model(split.images)
    return model


def noisy_prototypes(images, seed):
    """Images of ten classes: one drawn for each, and noise."""
    prototypes = torch.randn(10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(images) % 10
    noise = torch.randn(images, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return TensorSplit(prototypes[labels] + noise / 2, labels)


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    processes = start_processes(RuntimeParams(device="cpu", processes=job["processes"], nodes=job.get("nodes", 1)))

    def tell(event):
        os.write(1, (json.dumps(event) + "\n").encode())  # in one piece: all write to one pipe

    tell({"rank": processes.rank, "pid": os.getpid()})

    def progress(done, total, text=""):
        tell({"by": processes.rank, "done": done})

    results = {name: training(options, processes, progress) for name, options in job["trainings"].items()}
    (Path(job["out"]) / f"{processes.rank}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
