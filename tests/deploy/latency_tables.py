"""Tables of latencies that were made up instead of measured, so that what a model makes of them is known."""

from collections.abc import Callable
from typing import Any

from eyas.deploy.latency import LatencyModel, LatencyTable
from eyas.deploy.latency.eyas_profile import header
from eyas.deploy.latency.latency_table import NetworkTime
from eyas.deploy.latency.priced_layers import network_key, priced_layers
from eyas.deploy.latency.profile_plan import plan_entries, spread_widths
from eyas.pruning.space import SearchSpace

Milliseconds = Callable[[str, int, int], float]
"""Of a layer, by its name, input width and output width."""


def bilinear(_: str, inputs: int, outputs: int) -> float:
    return 0.01 + 1e-4 * inputs * outputs


def table_of(space: SearchSpace, milliseconds: Milliseconds = bilinear, **fields: Any) -> LatencyTable:
    """The table that a device of these times would give, where a network takes as long as its layers."""
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
    table = LatencyTable.model_validate(content)
    return table if "networks" in fields else table.model_copy(update={"networks": whole_networks(space, table)})


def whole_networks(space: SearchSpace, table: LatencyTable) -> list[NetworkTime]:
    """Networks that take as long as the sum of their layers."""
    rows, key = spread_widths(space, 4, seed=0), network_key(space, priced_layers(space))
    names = [group.name for group in space.groups]
    return [
        NetworkTime(space=key, widths=dict(zip(names, row.tolist(), strict=True)), milliseconds=float(milliseconds))
        for row, milliseconds in zip(rows, LatencyModel(space, table).sums(rows), strict=True)
    ]
