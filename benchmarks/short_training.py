r"""What a few training steps say of the accuracy after fine-tuning: rungs of steps on candidates with known outcomes.

    python -m benchmarks.short_training --checkpoint ADAPTED.safetensors --rungs '{"steps": 10}' '{"steps": 40}'

needs EYAS_DATA (CIFAR-10 as Parquet, pretrained weights). The candidates are those of ``benchmarks.prediction``, whose
outcomes (``tuned:1`` in ``results/prediction.jsonl``) ``--report`` compares with. Every measurement is a line of
``results/short_training.jsonl``; what is there is not measured again.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.candidates import Bench
from benchmarks.common import RESULTS, append_row, publish, read_rows, table
from benchmarks.scoring import interval
from eyas.calibration import Calibrator
from eyas.pruning.criteria import Criterion
from eyas.sampling.budget import Budget
from eyas.sampling.samplers import Sampler
from eyas.scoring import Rung
from eyas.scoring.dense_outputs import dense_outputs
from eyas.scoring.engine import Engine, ScoringMethod
from eyas.scoring.scorers import Scorer

ROWS = RESULTS / "short_training.jsonl"
OUTCOMES = RESULTS / "prediction.jsonl"
SET = {"model": "resnet20", "dense": "adapted", "floor": 0.4, "criterion": "weight_activation:std", "draw": 0}
DRAWN, TRAINING_IMAGES, CALIBRATION_IMAGES, BATCH = 40, 5120, 1024, 128


def measure(args: argparse.Namespace) -> None:
    """Every rung on every candidate that is not there yet."""
    bench = Bench.prepare("resnet20", 0.5, 1, seed=0, work=args.work, checkpoint=args.checkpoint)
    criterion = Criterion.parse({"kind": "weight_activation", "activation": "std"})
    planner = bench.space.planner(criterion, data=bench.images.calibration)
    sampler = Sampler.parse({"kind": "budget", "floor": SET["floor"]})
    draw = sampler.ask(bench.space, Budget.of(bench.space, "macs", args.share), DRAWN, seed=0)
    images, labels = (part[:TRAINING_IMAGES] for part in bench.train)
    method = ScoringMethod(Calibrator.parse("pooled"), Scorer.parse("cross_entropy"))
    sets = replace(bench.images, training=images, training_labels=labels)
    engine = Engine(bench.model, bench.space, sets, method)
    dense = dense_outputs(engine, BATCH, engine.images.training)
    engine.images = replace(engine.images, training_dense=dense)
    finished = {(row["share"], row["rung"], row["candidate"]) for row in read_rows(ROWS)}
    for text in args.rungs:
        rung = Rung.model_validate({"calibration_images": CALIBRATION_IMAGES, **json.loads(text)})
        for candidate in range(args.candidates):
            if (args.share, text, candidate) in finished:
                continue
            plan, start = planner(draw[candidate]), time.process_time()
            measured = engine.measure(plan, rung, BATCH)
            row = {"accuracy": measured.accuracy, "cross_entropy": measured.cross_entropy}
            key = {**SET, "share": args.share, "rung": text, "candidate": candidate}
            append_row(ROWS, {**key, **row, "seconds": time.process_time() - start, "widths": draw[candidate].tolist()})


def report(args: argparse.Namespace) -> None:
    """Kendall's tau with the outcomes, 95 % bootstrap interval over candidates; what the best one comes to."""
    wanted = {**SET, "share": args.share}
    outcomes = {row["candidate"]: row for row in _of(wanted, OUTCOMES) if row["measure"] == "tuned:1"}
    lines = []
    for text in dict.fromkeys(row["rung"] for row in _of(wanted, ROWS)):
        rows = [row for row in _of(wanted, ROWS) if row["rung"] == text and row["candidate"] in outcomes]
        assert all(row["widths"] == outcomes[row["candidate"]]["widths"] for row in rows)
        truth = np.array([outcomes[row["candidate"]]["accuracy"] for row in rows])
        cells: list[object] = [text, len(rows), float(np.mean([row["seconds"] for row in rows]))]
        for sign, name in ((1, "accuracy"), (-1, "cross_entropy")):
            values = sign * np.array([row[name] for row in rows])
            cells += [interval(values, truth), f"{truth[values.argmax()]:.2%} of {truth.max():.2%}"]
        lines.append(cells)
    header = ("rung", "candidates", "CPU s", "tau, top-1", "its best", "tau, cross-entropy", "its best")
    notes = [f"{wanted}, the first of {DRAWN} drawn; outcome: 200 steps of fine-tuning, test images (prediction.jsonl)"]
    publish("short-training", "Rungs of training steps against fine-tuning", notes, table(header, lines))


def _of(wanted: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    return [row for row in read_rows(path) if wanted.items() <= row.items()]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="the dense network, adapted to this data by the baseline stage")
    parser.add_argument("--share", type=float, default=0.25, help="of the dense MACs")
    parser.add_argument("--rungs", nargs="+", default=['{"steps": 10}', '{"steps": 40}'], help="JSON of rungs")
    parser.add_argument("--candidates", type=int, default=24, help="the first so many")
    parser.add_argument("--work", type=Path, default=Path(".eyas/bench"))
    parser.add_argument("--report", action="store_true", help="measure nothing: write the table of what is there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.report:
        report(args)
    else:
        args.work.mkdir(parents=True, exist_ok=True)
        measure(args)


if __name__ == "__main__":
    main()
