"""What a search space holds, as plain data and as a text table (``eyas inspect``)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from eyas.pruning.cost import Cost
from eyas.pruning.space import SearchSpace

_LEAST_LAYERS = 20
"""Characters of layers beside a group, however narrow the table shall be."""


@dataclass(frozen=True)
class GroupRow:
    """One prunable group."""

    name: str
    channels: int
    step: int
    """Between two legal widths, ``round_to`` included; the dense width is legal whatever it is."""
    legal_widths: int
    """How many widths it may take."""
    macs_share: float
    """Share of the dense MACs that goes when this group alone is as narrow as it may be."""
    layers: tuple[str, ...]


@dataclass(frozen=True)
class BlockRow:
    """One residual block that may be left out."""

    name: str
    macs_share: float
    """Share of the dense MACs that goes with it."""
    groups: tuple[str, ...]
    """Groups that are 0 wide then."""


def group_rows(space: SearchSpace) -> list[GroupRow]:
    """All prunable groups in order of execution."""
    dense = space.cost().macs or 1
    rows = []
    for group in space.groups:
        legal = space.legal_widths(group)
        share = 1 - space.cost({group.name: int(legal[0])}).macs / dense
        step = space.legal.multiple(group)
        rows.append(GroupRow(group.name, group.channels, step, len(legal), share, group.layers))
    return rows


def smallest(space: SearchSpace) -> Cost:
    """Cost with every group at its smallest legal width and no block that may go: nothing cheaper can be reached."""
    widths = np.array([int(space.legal_widths(group)[0]) for group in space.groups], dtype=np.int64)
    widths[space.legal.block_table.members.any(0)] = 0
    return space.cost(widths)


def block_rows(space: SearchSpace) -> list[BlockRow]:
    """The residual blocks that may be left out, in order of execution."""
    dense = space.cost()
    rows = []
    for block in space.blocks:
        names = tuple(space.groups[number].name for number in block.groups)
        left = space.cost(dict.fromkeys(names, 0))
        rows.append(BlockRow(block.name, 1 - left.macs / (dense.macs or 1), names))
    return rows


def report(space: SearchSpace) -> dict[str, Any]:
    """Groups, frozen groups with reasons, dense cost and reachable range, as JSON values."""
    dense, least = asdict(space.cost()), asdict(smallest(space))
    return {
        "groups": [asdict(row) for row in group_rows(space)],
        **({"blocks": [asdict(row) for row in block_rows(space)]} if space.blocks else {}),
        "frozen": [asdict(group) for group in space.frozen],
        "dense": dense,
        "smallest": least,
        "reachable": {name: [least[name] / dense[name] if dense[name] else 1.0, 1.0] for name in dense},
    }


def render(space: SearchSpace, width: int = 100) -> str:
    """The same as text: a table of groups, the frozen ones with reasons, and the costs."""
    head = ("group", "channels", "step", "MACs", "layers")
    rows = group_rows(space)
    numbers = [(row.name, str(row.channels), str(row.step), f"{row.macs_share:.1%}") for row in rows]
    beside = sum(2 + max(map(len, column)) for column in zip(head[:-1], *numbers, strict=True))
    room = max(width - beside, _LEAST_LAYERS)
    body = [(*cells, _short(row.layers, room)) for cells, row in zip(numbers, rows, strict=True)]
    lines = [*_table([head, *body]), ""]
    if space.blocks:
        lines.append("residual blocks that may be left out whole:")
        lines += [f"  {row.name} ({row.macs_share:.1%} of the MACs)" for row in block_rows(space)]
        lines.append("")
    if space.frozen:
        lines.append("frozen:")
        for frozen in space.frozen:
            lines.append(f"  {frozen.name} ({_short(frozen.layers, width // 2)})")
            lines.append(f"    {frozen.reason}")
        lines.append("")
    dense, least = asdict(space.cost()), asdict(smallest(space))
    for name, value in dense.items():
        share = least[name] / value if value else 1.0
        lines.append(f"{name:16} {value:>16,} dense, reachable down to {least[name]:,} ({share:.1%})")
    return "\n".join(lines) + "\n"


def _short(layers: Sequence[str], width: int) -> str:
    """As many layers as fit, at least one, then how many more there are."""
    whole = ", ".join(layers)
    if len(whole) <= width or len(layers) == 1:
        return whole
    texts = [f"{', '.join(layers[:shown])} and {len(layers) - shown} more" for shown in range(1, len(layers))]
    return max((text for text in texts if len(text) <= width), key=len, default=texts[0])


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns aligned, numbers to the right, a rule under the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [c.rjust(w) if 0 < i < 4 else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]
