"""Measure a latency table for a search space on this machine; what was measured before is not measured again."""

import hashlib
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from eyas.deploy.latency.eyas_profile import MeasuredTimes, header, measure
from eyas.deploy.latency.latency_model import LatencyModel
from eyas.deploy.latency.latency_table import LatencyTable
from eyas.deploy.latency.layer_runtimes import layer_runtime
from eyas.deploy.latency.profile_plan import NETWORKS, write_plan
from eyas.progress import Progress, silent
from eyas.pruning.space import SearchSpace


def profile(
    space: SearchSpace,
    *,
    runtime: str = "onnx",
    threads: int = 1,
    batch: int = 1,
    cache: Path | None = None,
    networks: int = NETWORKS,
    progress: Progress = silent,
) -> LatencyTable:
    """Measure every layer of a search space over its widths, and a few whole networks.

    Args:
        space: the search space.
        runtime: in which runtime.
        threads: of the runtime.
        batch: images per run.
        cache: folder that keeps what was measured on this device, for other networks and a run that was cut off.
        networks: how many whole networks the line is laid through.
        progress: told of every block.

    Raises:
        ParameterError: layers cannot be measured in this runtime.
        MissingExtraError: the runtime, or onnx, is not installed.
    """
    asked = layer_runtime(runtime)
    how = header(runtime, asked.version(), threads, batch)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        plan = write_plan(space, folder, networks=networks)
        kept = folder if cache is None else cache
        kept.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(json.dumps(how, sort_keys=True).encode()).hexdigest()[:12]
        measured = measure(
            plan, folder, MeasuredTimes(kept / f"{digest}.jsonl"), asked.open_model,
            threads=threads, batch=batch, progress=lambda done, total: progress(done, total, "layers measured"),
        )  # fmt: skip
    table = LatencyTable.model_validate({**how, **measured})
    fit = LatencyModel(space, table).fit
    return table.model_copy(update={"fit": asdict(fit) if fit else None})
