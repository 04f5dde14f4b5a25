"""Whole networks at given widths, timed here as a table's own networks were.

Shapes: n candidates, G channel groups in the order of ``space.groups``.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eyas.deploy.latency.eyas_profile import PASSES, time_together
from eyas.deploy.latency.latency_table import LatencyTable
from eyas.deploy.latency.layer_runtimes import layer_runtime
from eyas.deploy.latency.profile_plan import write_network
from eyas.pruning.space import SearchSpace


def time_networks(space: SearchSpace, widths_nG: NDArray[np.int64], table: LatencyTable) -> NDArray[np.float64]:
    """Milliseconds of each, ``(n,)``: exported, and run in turns in the table's runtime, threads and batch.

    Weights do not matter for time: those of the dense network are sliced.

    Raises:
        ParameterError, MissingExtraError: the runtime is not here, or the network takes more than images.
    """
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / f"{number}.onnx" for number in range(len(widths_nG))]
        for path, widths in zip(paths, widths_nG.tolist(), strict=True):
            write_network(space, dict(zip(space.widths, widths, strict=True)), path)
        return time_files(paths, table)


def time_files(paths: Sequence[Path], table: LatencyTable) -> NDArray[np.float64]:
    """Milliseconds of each ONNX file, ``(n,)``, run in turns in the table's runtime, threads and batch.

    Raises:
        ParameterError, MissingExtraError: the runtime is not here.
    """
    open_model = layer_runtime(table.runtime).open_model
    passes = [
        time_together([open_model(str(path), table.threads, table.batch) for path in paths]) for _ in range(PASSES)
    ]
    fastest: NDArray[np.float64] = np.array(passes).min(0)
    return fastest
