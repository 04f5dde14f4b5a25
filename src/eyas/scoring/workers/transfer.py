"""What another process needs to score: the network's code without its weights, the weights and images beside it.

The module tree travels with empty tensors, so that its own pickling (between processes of one run, never to a file
that is kept) moves no weights; those and the images go as plain tensors, once, however many workers there are.
"""

import copy
import pickle
import warnings
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eyas.errors import ParameterError
from eyas.pruning.surgery import rebuild
from eyas.scoring.engine import Engine, ScoringMethod
from eyas.scoring.image_sets import ImageSets
from eyas.scoring.slicer import tensor_entries

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace


@dataclass(frozen=True)
class Blueprint:
    """An :class:`Engine` without its tensors."""

    skeleton: nn.Module
    space: "SearchSpace"
    method: ScoringMethod


def pack(
    model: nn.Module, space: "SearchSpace", method: ScoringMethod, images: ImageSets
) -> tuple[Blueprint, dict[str, Tensor]]:
    """The blueprint and every tensor by name, on the CPU.

    Raises:
        ParameterError: the network cannot be sent to another process.
    """
    skeleton = rebuild(model, _without_data)
    bare = copy.copy(space)
    bare.model = skeleton
    blueprint = Blueprint(skeleton, bare, method)
    try:
        pickle.dumps(blueprint)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        msg = (
            f"{type(model).__name__} cannot be sent to worker processes ({error}): define its classes at the top level "
            "of an importable module and remove hooks, or score with one worker"
        )
        raise ParameterError(msg) from error
    tensors = {f"weights/{entry.name}": entry.dense.detach().cpu() for entry in tensor_entries(model).values()}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    laid_out = vars(images.to("cpu"))  # as an engine wants them, so that workers read them where they lie
    return blueprint, tensors | {f"images/{name}": value for name, value in laid_out.items() if value is not None}


def unpack(blueprint: Blueprint, tensors: dict[str, Tensor], device: str) -> Engine:
    """The engine on this process's device."""
    model = blueprint.skeleton
    for entry in tensor_entries(model).values():
        tensor: Tensor = tensors[f"weights/{entry.name}"]
        value = tensor if entry.is_buffer else nn.Parameter(tensor, requires_grad=entry.dense.requires_grad)
        for table, key in entry.places:
            table[key] = value
    images: dict[str, Any] = {field.name: tensors.get(f"images/{field.name}") for field in fields(ImageSets)}
    return Engine(model, blueprint.space, ImageSets(**images), blueprint.method, device=device)


@dataclass(frozen=True)
class TensorBytes:
    """A tensor of any type and layout as bytes, which numpy and a store of numpy arrays can hold."""

    data: NDArray[np.uint8]
    dtype: torch.dtype
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> "TensorBytes":
        """The bytes of a tensor without gaps; nothing is copied."""
        data = tensor.as_strided((tensor.numel(),), (1,)).view(torch.uint8).numpy()
        return cls(data, tensor.dtype, tuple(tensor.shape), tensor.stride())

    def tensor(self) -> Tensor:
        """The tensor again, on the same bytes: for reading only."""
        if not len(self.data):
            return torch.empty(self.size, dtype=self.dtype)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            data = torch.from_numpy(self.data)
        return data.view(self.dtype).as_strided(self.size, self.stride)


def _without_data(tensor: Tensor) -> Tensor:
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
