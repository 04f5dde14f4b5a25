"""Candidates sliced one after another into the same module tree, from one set of index maps.

``eyas.prune`` makes a network of its own and costs mostly the building of it; scoring needs each network only until the
next one, so the tree is built once and only its tensors and integer attributes are exchanged.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eyas.calibration.update_bn_stats import copy_without_waiting
from eyas.pruning.dropped_layers import Branch
from eyas.pruning.surgery import share_structure

if TYPE_CHECKING:
    from eyas.pruning.plan import PruningPlan
    from eyas.pruning.space import SearchSpace


@dataclass
class SlicedTensor:
    """A dense tensor, its first name, and every place of the tree that holds it."""

    name: str
    dense: Tensor
    is_buffer: bool
    is_channels_last: bool
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
        units: dict[int, NDArray[np.int64]] = {id(array): array for array in space.layout.slots.values()}
        number = {key: position for position, key in enumerate(units)}
        self._units = list(units.values())
        dims: dict[str, list[tuple[int, int]]] = {}
        for (name, dim), array in space.layout.slots.items():
            dims.setdefault(name, []).append((dim, number[id(array)]))
        self._held = [(entry, sorted(dims.get(entry.name, ()))) for entry in tensor_entries(self.shell).values()]
        self._counted = [
            (self.shell.get_submodule(module), name, array, divisor)
            for (module, name), (array, divisor) in space.layout.attributes.items()
        ]
        self._branches = {block.name: Branch(self.shell, block.layers, block.tensors) for block in space.blocks}
        self._taken_out: list[Branch] = []

    @torch.no_grad()
    def __call__(self, plan: "PruningPlan") -> nn.Module:
        """The tree cut down to ``plan``; equal to ``eyas.prune(model, space, plan)``."""
        mask = self.space.mask(plan)
        for branch in self._taken_out:
            branch.put_back()
        index = self._to_device([np.flatnonzero(mask[units]) for units in self._units])
        for entry, dims in self._held:
            tensor = entry.dense.detach()
            for dim, number in dims:
                kept = index[number]
                if len(kept) < tensor.shape[dim]:
                    tensor = tensor.index_select(dim, kept)
            self._create_actor(entry, tensor)
        for module, name, units, divisor in self._counted:
            setattr(module, name, int(np.count_nonzero(mask[units])) // divisor)
        self._taken_out = [self._branches[block.name] for block in self.space.dropped(plan)]
        for branch in self._taken_out:
            branch.take_out()
        return self.shell

    def _create_actor(self, entry: SlicedTensor, tensor: Tensor) -> None:
        """Put a tensor where the dense one stood, in the memory layout of the dense one."""
        if entry.is_channels_last:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        if entry.is_buffer and tensor.data_ptr() == entry.dense.data_ptr():
            tensor = tensor.clone()
        for table, key in entry.places:
            table[key] = tensor  # a plain tensor, also for parameters: nothing is trained here

    def _to_device(self, kept: list[NDArray[np.int64]]) -> tuple[Tensor, ...]:
        """Index maps as tensors; one transfer for all."""
        if not kept:
            return ()
        joined = copy_without_waiting(torch.from_numpy(np.concatenate(kept)), self.device)
        pieces: tuple[Tensor, ...] = torch.split_with_sizes(joined, [len(array) for array in kept])
        return pieces


def tensor_entries(model: nn.Module) -> dict[int, SlicedTensor]:
    """All tensors of a module tree by identity, under the first name that they have."""
    names: dict[int, str] = {}
    for members in (model.named_parameters(), model.named_buffers()):
        for name, tensor in members:
            names.setdefault(id(tensor), name)
    entries: dict[int, SlicedTensor] = {}
    for module in model.modules():
        tables: list[dict[str, Any]] = [module._parameters, module._buffers]
        for table in tables:
            for key, held in table.items():
                if held is not None:
                    last = held.ndim == 4 and held.is_contiguous(memory_format=torch.channels_last)
                    entry = SlicedTensor(names[id(held)], held, table is module._buffers, last)
                    entries.setdefault(id(held), entry).places.append((table, key))
    return entries
