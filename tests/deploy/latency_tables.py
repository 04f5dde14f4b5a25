"""Tables of latencies that were made up instead of measured, so that what a model makes of them is known."""

from collections.abc import Callable
from typing import Any

from eyas.deploy.latency import LatencyTable
from eyas.deploy.latency.eyas_profile import header
from eyas.deploy.latency.profile_plan import plan_entries
from eyas.pruning.space import SearchSpace

Milliseconds = Callable[[str, int, int], float]
"""Of a layer, by its name, input width and output width."""


def bilinear(_: str, inputs: int, outputs: int) -> float:
    return 0.01 + 1e-4 * inputs * outputs


def table_of(space: SearchSpace, milliseconds: Milliseconds = bilinear, **fields: Any) -> LatencyTable:
    """The table that a device of these times would give."""
    entries = [
        {
            "layer": entry["layer"],
            "in": entry["in"],
            "out": entry["out"],
            "milliseconds": [[milliseconds(entry["layer"], i, o) for o in entry["out"]] for i in entry["in"]],
        }
        for entry in plan_entries(space)
    ]
    content = header("onnx", "onnxruntime 1.0", 1, 1) | {"entries": entries, "networks": []} | fields
    return LatencyTable.model_validate(content)
