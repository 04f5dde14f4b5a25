"""From united ids to channel groups: which units are interchangeable, and where their entries lie."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from eyas.pruning.groups import FIXED
from eyas.pruning.tracing.state import Slot, Trace
from eyas.pruning.tracing.union_find import Ids


@dataclass(frozen=True)
class RawGroup:
    """Interchangeable units: each appears equally often in the same parameter dimensions."""

    roots: Ids
    """One representative per unit, in the order of their channels."""
    slots: tuple[Slot, ...]
    """Parameter dimensions that hold the units, in order of execution."""
    reason: str = ""
    """Why it is frozen; empty if it is not."""
    fewest_units: int = 1
    """How many of them must be left."""

    @property
    def leader(self) -> Slot:
        """The first parameter dimension that makes these channels."""
        return next(slot for slot in self.slots if slot.role == "out")


def layer_of(slot: Slot) -> str:
    """Path of the module that holds a parameter; a bare parameter stands for itself."""
    module, _, leaf = slot.parameter.rpartition(".")
    return module if slot.role and module else slot.parameter if not slot.role else module or leaf


def layers_of(slots: Iterable[Slot]) -> tuple[str, ...]:
    """Modules whose output channels the slots hold, in order of execution."""
    return tuple(dict.fromkeys(layer_of(slot) for slot in slots if slot.role != "in"))


def assemble(trace: Trace, reasons: dict[int, str]) -> list[RawGroup]:
    """All groups of the network, prunable and frozen, in order of execution."""
    slots = sorted((s for held in trace.slots.values() for s in held if len(s.ids) > 1), key=_order)
    arrays = [trace.channels.canonical(slot.ids) for slot in slots]
    makers = [index for index, slot in enumerate(slots) if slot.role == "out"]
    terms = [trace.channels.canonical(ids) for term in (*trace.macs, *trace.activations) for ids in term.factors]
    signatures = _signatures(
        [*arrays, *_distinct(terms)], np.unique(np.concatenate([[FIXED], *map(arrays.__getitem__, makers)]))
    )
    members: dict[tuple[str, bytes], list[int]] = {}
    for index in makers:
        for root in dict.fromkeys(arrays[index].tolist()):
            key = (reasons.get(root, ""), signatures[root].tobytes())
            members.setdefault(key, []).append(root)
    squeezed = np.concatenate([[FIXED], *(trace.channels.canonical(ids) for ids in trace.squeezed)])
    groups = []
    for (reason, _), roots in members.items():
        held = [slots[k] for k in signatures[roots[0]][:, 0].tolist() if k < len(slots)]
        unique = np.array(list(dict.fromkeys(roots)))
        fewest = 2 if len(unique) > 2 and np.isin(unique, squeezed).any() else 1
        groups.append(RawGroup(unique, tuple(sorted(held, key=_order)), reason, fewest))
    return groups


def _order(slot: Slot) -> tuple[bool, int]:
    """Order of execution; what was never given a role comes last."""
    return slot.order < 0, slot.order


def _distinct(arrays: Iterable[Ids]) -> list[Ids]:
    """Arrays without repetition."""
    return list({array.tobytes(): array for array in arrays}.values())


def _signatures(arrays: list[Ids], wanted: Ids) -> dict[int, Ids]:
    """For each wanted root the rows (array, entries of the root in it), shape ``(arrays it is in, 2)``."""
    rows = []
    for index, array in enumerate(arrays):
        roots, counts = np.unique(array[array >= 0], return_counts=True)
        rows.append(np.stack([roots, np.full_like(roots, index), counts], axis=1))
    table = np.concatenate(rows) if rows else np.empty((0, 3), dtype=np.int64)
    table = table[np.isin(table[:, 0], wanted)]
    table = table[np.lexsort((table[:, 1], table[:, 0]))]
    roots, starts = np.unique(table[:, 0], return_index=True)
    per_root = np.split(table[:, 1:], starts[1:]) if len(roots) else []
    return {int(root): np.ascontiguousarray(rows) for root, rows in zip(roots, per_root, strict=True)}
