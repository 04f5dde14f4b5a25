"""What networks answered on the test images, kept for whoever looks closer: a row per image, a column per network.

N images, K classes. Where each pixel has an answer, a row holds how far every class overlaps instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from eyas.training.evaluation import Evaluation
from eyas.training.labelled_images import LabelledImages

ANSWERS = "answers.parquet"
_LABEL, _INTERSECTION, _UNION = "label", "_intersection", "_union"
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class RecordedAnswers:
    """Answers to the same images, in the order of the test split; by the network's name (dense, pruned, uniform)."""

    labels: Numbers = field(default_factory=lambda: np.empty(0, np.int64))
    """True classes, ``(N,)``; empty where each pixel has one."""
    answers: dict[str, Numbers] = field(default_factory=dict)
    """Classes, each ``(N,)``; empty where each pixel has one."""
    overlaps: dict[str, Numbers] = field(default_factory=dict)
    """Where each pixel has an answer: pixels in intersection and union of every class, each ``(2, N, K)``."""


def write_answers(path: Path, split: LabelledImages, tests: Mapping[str, Evaluation]) -> None:
    """Keep what networks answered.

    Args:
        path: of the Parquet file.
        split: the images.
        tests: by the network's name: its evaluation on them.
    """
    columns: dict[str, pa.Array] = {}
    for name, test in tests.items():
        if test.overlap.numel():
            parts = zip((_INTERSECTION, _UNION), test.overlap.tolist(), strict=True)
            columns |= {f"{name}{part}": pa.array(rows, pa.list_(pa.int32())) for part, rows in parts}
        else:
            columns |= {_LABEL: pa.array(split.labels.cpu().numpy(), pa.int32())}
            columns |= {name: pa.array(test.answers.numpy(), pa.int32())}
    pq.write_table(pa.table(columns), path)


def read_answers(path: Path) -> RecordedAnswers:
    """What :func:`write_answers` kept."""
    table = pq.read_table(path)
    if _LABEL in table.column_names:
        columns = {name: np.asarray(table[name], np.int64) for name in table.column_names}
        return RecordedAnswers(columns.pop(_LABEL), columns)
    names = [name.removesuffix(_UNION) for name in table.column_names if name.endswith(_UNION)]
    return RecordedAnswers(
        overlaps={
            name: np.array([table[f"{name}{part}"].to_pylist() for part in (_INTERSECTION, _UNION)], np.int64)
            for name in names
        }
    )
