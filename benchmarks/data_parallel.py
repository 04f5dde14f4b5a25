"""One training by one process or by several: loss and accuracy by epoch, and seconds.

    python -m benchmarks.data_parallel --artifacts ARTIFACTS --processes 1
    python -m benchmarks.data_parallel --artifacts ARTIFACTS --processes 2

needs ``fetch`` and ``baseline`` of a run, and lightning-fabric. The dense network is trained on, on CPUs by one thread
each, batches of 128, shifts and mirror images. ``--nudge 1e-7`` changes its first weights by that share: what rounding
alone does. Prints a line of JSON.
"""

import argparse
import json
import time
from pathlib import Path

import torch

from benchmarks.common import hardware
from eyas.config import RuntimeParams
from eyas.data import open_dataset
from eyas.networks.saved_network import load_network
from eyas.training import TensorSplit, train
from eyas.training.recipes.sgd import SGD
from tasks.training_processes import start_processes


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=Path, required=True)
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--nudge", type=float, default=0.0)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()
    processes = start_processes(RuntimeParams(device="cpu", processes=args.processes))
    torch.set_num_threads(1)
    data = open_dataset(args.artifacts / "fetch")
    splits = [
        TensorSplit(data.normalise(data.split(name).images(images)), data.split(name).labels[:images])
        for name, images in (("train", args.images), ("score", 512))
    ]
    model = load_network(args.artifacts / "baseline").model
    with torch.no_grad():
        next(model.parameters()).mul_(1 + args.nudge)
    start = time.perf_counter()
    result = train(model, *splits, recipe=SGD(batch_size=128, learning_rate=0.01), epochs=args.epochs)
    seconds = time.perf_counter() - start
    if processes.first:
        losses = [record.train_loss for record in result.history]
        accuracies = [record.score_accuracy for record in result.history]
        row = {
            "processes": processes.number,
            "nudge": args.nudge,
            "images": args.images,
            "seconds": round(seconds, 1),
            "losses": losses,
        }
        print(json.dumps({**row, "accuracies": accuracies, "hardware": hardware()}))


if __name__ == "__main__":
    main()
