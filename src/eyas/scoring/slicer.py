"""Candidates sliced one after another into the same module tree, from one set of index maps.

``eyas.prune`` makes a network of its own and costs mostly the building of it; scoring needs each network only until the
next one, so the tree is built once and only its tensors and integer attributes are exchanged.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from eyas.surgery import share_structure

if TYPE_CHECKING:
    from eyas.plan import PruningPlan
    from eyas.space import SearchSpace


@dataclass
class Entry:
    """A dense tensor, its first name, and every place of the tree that holds it."""

    name: str
    dense: Tensor
    is_buffer: bool
    places: list[tuple[dict[str, Any], str]] = field(default_factory=list)


class Slicer:
    """Makes candidates of one dense network, each valid until the next is made.

    What is not sliced is shared with the dense network, but for buffers, which a calibrator writes to.
    """

    def __init__(self, model: nn.Module, space: "SearchSpace") -> None:
        space.check_model(model)
        self.space = space
        self.shell = share_structure(model)
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self._held = list(entries_of(self.shell).values())

    @torch.no_grad()
    def __call__(self, plan: "PruningPlan") -> nn.Module:
        """The tree cut down to ``plan``; equal to ``eyas.prune(model, space, plan)``."""
        slices = self.space.slices(plan)
        index = self._to_device([kept for dims in slices.values() for kept in dims.values()])
        for entry in self._held:
            tensor = entry.dense.detach()
            for dim, kept in sorted(slices.get(entry.name, {}).items()):
                tensor = tensor.index_select(dim, index[id(kept)])
            self._place(entry, tensor)
        for (module, name), value in self.space.attributes(plan).items():
            setattr(self.shell.get_submodule(module), name, value)
        return self.shell

    def _place(self, entry: Entry, tensor: Tensor) -> None:
        """Put a tensor where the dense one stood, in the memory layout of the dense one."""
        if tensor.ndim == 4 and entry.dense.is_contiguous(memory_format=torch.channels_last):
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        if entry.is_buffer and tensor.data_ptr() == entry.dense.data_ptr():
            tensor = tensor.clone()
        for table, key in entry.places:
            table[key] = tensor  # a plain tensor, also for parameters: nothing is trained here

    def _to_device(self, kept: "list[np.ndarray[tuple[int], np.dtype[np.int64]]]") -> dict[int, Tensor]:
        """Every distinct index map as a tensor, by its identity; one transfer for all."""
        distinct = {id(array): array for array in kept}
        if not distinct:
            return {}
        joined = torch.from_numpy(np.concatenate(list(distinct.values())))
        if self.device.type == "cuda":
            joined = joined.pin_memory().to(self.device, non_blocking=True)
        pieces = torch.split_with_sizes(joined, [len(array) for array in distinct.values()])
        return dict(zip(distinct, pieces, strict=True))


def entries_of(model: nn.Module) -> dict[int, Entry]:
    """All tensors of a module tree by identity, under the first name that they have."""
    names: dict[int, str] = {}
    for members in (model.named_parameters(), model.named_buffers()):
        for name, tensor in members:
            names.setdefault(id(tensor), name)
    entries: dict[int, Entry] = {}
    for module in model.modules():
        tables: list[dict[str, Any]] = [module._parameters, module._buffers]
        for table in tables:
            for key, held in table.items():
                if held is not None:
                    entry = entries.setdefault(id(held), Entry(names[id(held)], held, table is module._buffers))
                    entry.places.append((table, key))
    return entries
