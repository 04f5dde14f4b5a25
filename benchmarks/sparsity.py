r"""What zeros cost in accuracy and bring in bytes: every pattern and sparsifier after the same fine-tuning, on digits.

    python -m benchmarks.sparsity --seeds 0 1 2 3 4
    python -m benchmarks.sparsity --report

ResNet-8 (width 16), 900 of scikit-learn's digits to train, 250 to choose the epoch, 647 to test. For each seed a dense
network is trained (30 epochs), pruned to 0.7 of every width (half its MACs), made sparse and fine-tuned (20 epochs, the
default recipe at 0.05). ``channels`` has fewer channels instead, for as many weights as the zeros leave. Bytes and
milliseconds are those of the float32 ONNX file. Every measurement is a line of ``results/sparsity.jsonl``; what is
there is not measured again.
"""

import argparse
import copy
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import onnxruntime
import torch
from sklearn.datasets import load_digits
from torch import nn

import eyas
import models
from benchmarks.common import RESULTS, append_row, mean_and_error, publish, read_rows, table
from eyas.deploy.compressed_files import gzip_bytes
from eyas.deploy.exporters import Exporter
from eyas.pruning.nonzero_cost import nonzero_cost
from eyas.pruning.pruned_space import pruned_space
from eyas.pruning.space import SearchSpace
from eyas.pruning.sparsify import prepare_sparsity
from eyas.pruning.sparsity import Sparsity
from eyas.training import SparseTraining, TensorSplit, evaluate, train
from eyas.training.dense_teacher import DenseTeacher
from eyas.training.recipes.sgd import SGD
from eyas.training.sparsifiers import Sparsifier

ROWS = RESULTS / "sparsity.jsonl"
KEY = ("pattern", "sparsifier", "zeros", "seed")
DENSE, FINETUNED = SGD(batch_size=32, learning_rate=0.1), SGD(batch_size=32, learning_rate=0.05)
PATTERNS: dict[str, Any] = {
    "unstructured": lambda zeros: {"kind": "unstructured", "zeros": zeros},
    "unstructured, by layer": lambda zeros: {"kind": "unstructured", "zeros": zeros, "scope": "layer"},
    "unstructured, erk": lambda zeros: {"kind": "unstructured", "zeros": zeros, "scope": "erk"},
    "n_m": lambda zeros: {"kind": "n_m", "n": round(4 * (1 - zeros)), "m": 4},
    "one_by_n": lambda zeros: {"kind": "one_by_n", "n": 4, "zeros": zeros},
    "one_by_n, not sorted": lambda zeros: {"kind": "one_by_n", "n": 4, "zeros": zeros, "rearrange": False},
}
CASES = [
    ("none", "at_once", 0.0),
    *((pattern, "at_once", zeros) for zeros in (0.5, 0.75) for pattern in ("channels", *PATTERNS)),
    *((pattern, "granet", zeros) for zeros in (0.5, 0.75) for pattern in ("unstructured", "one_by_n")),
    *((pattern, "soft_shrinkage", zeros) for zeros in (0.5, 0.75) for pattern in ("unstructured", "n_m", "one_by_n")),
    *((pattern, "at_once", 0.9) for pattern in ("channels", "unstructured", "unstructured, erk", "one_by_n")),
    *(("unstructured", sparsifier, 0.9) for sparsifier in ("granet", "soft_shrinkage")),
    ("unstructured, erk", "granet", 0.9),
]


@cache
def splits() -> tuple[TensorSplit, TensorSplit, TensorSplit]:
    """Train, score and test images, normalised; the same for every seed."""
    data = load_digits()
    images = (torch.tensor(data.images, dtype=torch.float32)[:, None] / 16 - 0.3053) / 0.3764
    labels, order = torch.tensor(data.target), torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    parts = order[:900], order[900:1150], order[1150:]
    return tuple(TensorSplit(images[part], labels[part]) for part in parts)  # type: ignore[return-value]


@cache
def dense(seed: int) -> tuple[nn.Module, SearchSpace]:
    """The trained dense network and its search space."""
    torch.manual_seed(seed)
    model = models.build("resnet8", 10, width=16, in_channels=1)
    train(model, *splits()[:2], recipe=DENSE, epochs=30, seed=seed)
    return model, eyas.trace(model, (splits()[0].images[:2],))


def widths_at(space: SearchSpace, params: int | None = None) -> dict[str, int]:
    """Half of the MACs in multiples of 4 (as near as they come), or the widest uniform widths of so few parameters."""
    if params is None:
        return {group.name: 4 * round(0.7 * group.channels / 4) for group in space.groups}
    shares = ({g.name: max(1, round(share / 1000 * g.channels)) for g in space.groups} for share in range(30, 1001))
    return max((w for w in shares if space.cost(w).params <= params), key=lambda w: space.cost(w).params)


def measure(pattern: str, sparsifier: str, zeros: float, seed: int) -> dict[str, Any]:
    """One training, and its file."""
    model, space = dense(seed)
    widths = widths_at(space)
    if pattern == "channels":
        widths = widths_at(space, round((1 - zeros) * space.cost(widths).params))
    plan = space.plan(widths)
    small = eyas.prune(model, space, plan)
    sparse = None
    if pattern in PATTERNS:
        sparse = SparseTraining(Sparsity.parse(PATTERNS[pattern](zeros)), Sparsifier.parse(sparsifier))
        prepare_sparsity(small, sparse.sparsity, pruned_space(space, plan, small))
    train_split, score, test = splits()
    eyas.recalibrate(small, train_split.images)
    teacher = DenseTeacher(copy.deepcopy(model), space, plan)
    options = {"recipe": FINETUNED.for_trained(32), "epochs": 20, "seed": seed, "teacher": teacher}
    train(small, train_split, score, sparse=sparse, **options)
    cost = nonzero_cost(small, test.images[:1])
    return {
        "accuracy": evaluate(small, test).accuracy, "dense": evaluate(model, test).accuracy,
        **cost.as_metrics(), **_file(small),
    }  # fmt: skip


def _file(small: nn.Module) -> dict[str, float]:
    images = splits()[2].images[:1]
    with tempfile.TemporaryDirectory() as folder:
        path = Exporter.parse("onnx")(small.eval(), images, Path(folder) / "model.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        times = []
        for _ in range(600):
            start = perf_counter()
            session.run(None, {"images": images.numpy()})
            times.append(1e3 * (perf_counter() - start))
        return {"bytes": path.stat().st_size, "gzip_bytes": gzip_bytes(path), "milliseconds": median(times[100:])}


def report() -> None:
    """The table of what is there."""
    rows = read_rows(ROWS)
    body = table(
        ("pattern", "sparsifier", "zeros asked", "n", "test accuracy, %", "non-zero weights", "their MACs",
         "file, kB", "gzipped, kB", "ORT, ms"),
        _lines(rows),
    )  # fmt: skip
    accuracies = [row["dense"] for row in rows if row["pattern"] == "none"]
    notes = [f"dense: {100 * sum(accuracies) / len(accuracies):.2f} % over {len(accuracies)} seeds", __doc__ or ""]
    publish("sparsity", "Zeros behind the plan: accuracy, bytes, time", notes[:1], body)


def _lines(rows: list[dict[str, Any]]) -> Iterator[tuple[object, ...]]:
    for case in CASES:
        same = [row for row in rows if (row["pattern"], row["sparsifier"], row["zeros"]) == case]
        if same:
            middle = {
                name: median(row[name] for row in same)
                for name in ("nonzero_weights", "nonzero_macs", "bytes", "gzip_bytes", "milliseconds")
            }
            yield (
                *case, len(same), mean_and_error([row["accuracy"] for row in same]),
                f"{middle['nonzero_weights']:,.0f}", f"{middle['nonzero_macs']:,.0f}",
                *(f"{middle[name] / 1e3:.0f}" for name in ("bytes", "gzip_bytes")), f"{middle['milliseconds']:.3f}",
            )  # fmt: skip


def main() -> None:
    """Measure what is missing, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--report", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.report:
        report()
        return
    finished = {tuple(row[name] for name in KEY) for row in read_rows(ROWS)}
    for seed in args.seeds:
        for case in CASES:
            if (*case, seed) not in finished:
                append_row(ROWS, {**dict(zip(KEY, (*case, seed), strict=True)), **measure(*case, seed)})


if __name__ == "__main__":
    main()
