"""``model.pt2``: a network as a program of ``torch.export``, which runs without the code that built it."""

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from eyas.errors import BadInputError
from eyas.pruning.output_paths import answering_plainly
from eyas.pruning.surgery import scratch_copy

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace


def save_program(small: nn.Module, path: Path, space: "SearchSpace") -> None:
    """Write an exported program; the batch size stays free where the network allows it.

    Raises:
        BadInputError: ``torch.export`` cannot capture the network.
    """
    args, kwargs = pytree.tree_map(_two_images, space.example)
    shared = answering_plainly(scratch_copy(small).cpu().eval())
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        try:
            named = inspect.signature(shared.forward).bind(*args, **kwargs).arguments
            free = pytree.tree_map(_free_batch, dict(named))
            program = torch.export.export(shared, args, kwargs, dynamic_shapes=free, strict=False)
        except Exception:  # a network may hard-wire its batch size: the example's own then
            try:
                program = torch.export.export(shared, *space.example, strict=False)
            except Exception as error:
                first = (str(error).strip().splitlines() or [type(error).__name__])[0]
                msg = f"torch.export cannot write {type(small).__name__} as a program: {first}"
                raise BadInputError(msg) from error
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # it holds paths of the machine
        torch.export.save(program, path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what torch says of a failed export to itself: it logs and prints whole graphs."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)


def _free_batch(item: Any) -> Any:
    """The first dimension of a tensor may vary."""
    return {0: torch.export.Dim.AUTO} if isinstance(item, Tensor) and item.ndim else None


def _two_images(item: Any) -> Any:
    """A batch of two of the same: one image would fix the batch size."""
    return item[:1].repeat_interleave(2, 0).cpu() if isinstance(item, Tensor) and item.ndim else item
