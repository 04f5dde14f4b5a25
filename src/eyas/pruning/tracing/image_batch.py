"""How many images the example inputs hold, and of which shape: the cost is per image, and there may be no batch."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from eyas.errors import TraceError, one_line
from eyas.pruning.space_json import Example
from eyas.pruning.surgery import scratch_copy
from eyas.pruning.tracing.layer_outputs import LAYERS


def image_batch(model: nn.Module, example: Example) -> tuple[int, tuple[int, ...]]:
    """Number of images in the example inputs, and the shape of one.

    The images are the input with the most dimensions, of several the first. Its first dimension counts them, unless the
    first layer that it reaches takes a single image: ``(C, H, W)`` is one.

    Raises:
        TraceError: the network fails on them.
    """
    tensors = [item for item in pytree.tree_leaves(example) if isinstance(item, Tensor)]
    images = max(tensors, key=lambda tensor: tensor.ndim, default=None)
    if images is None or images.ndim == 0:
        return 1, ()
    size, shape = int(images.shape[0]), tuple(images.shape)
    try:
        with _FirstLayer() as layer:
            _run(model, example)
    except Exception as error:
        why = f"{type(error).__name__}: {one_line(error)}"
        msg = f"{type(model).__name__} fails on `example_inputs` ({why}): give inputs of its device, dtype and shape"
        raise TraceError(msg) from error
    if layer.entries is None or (layer.entries and layer.entries % max(size, 1) == 0):
        return size, shape[1:]
    return (1, shape) if layer.entries == 0 or not _takes_one(model, example, size) else (size, shape[1:])


class _FirstLayer(TorchFunctionMode):
    """Entries of the batch that the first convolution or linear layer takes; 0 where it takes one without a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: int | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in LAYERS and self.entries is None:
            entering, weight = [item for item in (*args, *(kwargs or {}).values()) if isinstance(item, Tensor)][:2]
            self.entries = int(entering.shape[0]) if entering.ndim >= weight.ndim else 0
        return func(*args, **(kwargs or {}))


def _takes_one(model: nn.Module, example: Example, size: int) -> bool:
    """Whether the network runs on the first entry alone of what may be a batch of ``size``."""
    first = pytree.tree_map(
        lambda item: item[:1] if isinstance(item, Tensor) and item.shape[:1] == (size,) else item, example
    )
    try:
        _run(model, first)
    except Exception:  # whatever the user's code raises on a part of what is no batch
        return False
    return True


def _run(model: nn.Module, example: Example) -> None:
    args, kwargs = example
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        scratch_copy(model).eval()(*args, **kwargs)
