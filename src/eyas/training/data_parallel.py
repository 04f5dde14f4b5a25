"""Several processes that train one network: each takes its share of every batch, and their gradients are summed.

They are those of ``torch.distributed``, whoever started them (the stages do by Lightning Fabric; torchrun, a cluster).
N images, C channels, H x W pixels, K classes.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from eyas.data.tasks import IGNORED
from eyas.errors import EyasError, ParameterError, one_line

if TYPE_CHECKING:
    from eyas.training.optimiser_step import WeightedLabels

Result = TypeVar("Result")


@dataclass(frozen=True)
class Processes:
    """This process among those that train together; every method does nothing where it is alone."""

    rank: int = 0
    number: int = 1

    @classmethod
    def running(cls) -> "Processes":
        """Those of ``torch.distributed``; this one alone where none were started."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this one judges, writes and tells."""
        return self.rank == 0

    def share(self, images_NCHW: Tensor, answers: "WeightedLabels") -> "tuple[Tensor, WeightedLabels]":
        """The rows of a batch that are this process's own; the means over the shares sum to that over the batch.

        A label weighs as much as the share has of what it is a mean over: images, or labelled pixels.
        """
        if self.number == 1:
            return images_NCHW, answers
        start, stop = (len(images_NCHW) * rank // self.number for rank in (self.rank, self.rank + 1))
        own = [(labels[start:stop], weight * _share(labels, start, stop)) for labels, weight in answers]
        return images_NCHW[start:stop], own

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one device by their sums over the processes, to the same bits in each."""
        if self.number == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _lost_told():
            dist.all_reduce(flat)
        for tensor, part in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def sum_gradients(self, model: nn.Module) -> None:
        """After the backward pass of each share: the gradients of the whole batch."""
        self.sum([parameter.grad for parameter in model.parameters() if parameter.grad is not None])

    def from_first(self, compute: Callable[[], Result]) -> Result:
        """What the first process computes; the others wait for it."""
        if self.number == 1:
            return compute()
        box = [compute() if self.first else None]
        with _lost_told():
            dist.broadcast_object_list(box, src=0)
        return cast("Result", box[0])

    def after_first(self, read: Callable[[], Result]) -> Result:
        """What each process reads, the others when the first has: it may put a broken file aside."""
        if self.first:
            result = read()
            self.from_first(lambda: None)
            return result
        self.from_first(lambda: None)
        return read()

    def begin_alike(self, model: nn.Module, *numbers: int) -> None:
        """Give every process the tensors of the first.

        Args:
            model: in the process's own memory.
            numbers: what must be equal beside, as the number of images.

        Raises:
            ParameterError: the processes were given different things.
        """
        if self.number == 1:
            return
        tensors = model.state_dict()
        own = repr([*numbers, *((name, tuple(tensor.shape)) for name, tensor in tensors.items())])
        digest = hashlib.sha256(own.encode()).hexdigest()
        differs = torch.tensor(float(digest != self.from_first(lambda: digest)), device=_device_of(model))
        self.sum([differs])
        if differs:
            raise ParameterError("the processes train other networks, or on other images: give each the same arguments")
        with _lost_told():
            for tensor in tensors.values():
                dense = tensor.contiguous()
                dist.broadcast(dense, src=0)
                tensor.copy_(dense)


def _share(labels: Tensor, start: int, stop: int) -> float:
    """Of what a loss is a mean over, in a part of a batch."""
    if labels.ndim == 1:
        return (stop - start) / len(labels)
    labelled = labels != IGNORED
    return float(labelled[start:stop].sum() / labelled.sum().clamp(min=1))


def _device_of(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


@contextmanager
def _lost_told() -> Iterator[None]:
    """A process that was killed, or failed, is what ends the others' exchange."""
    try:
        yield
    except RuntimeError as error:
        msg = (
            f"another process of this training has ended ({one_line(error)}): the log has what it said, unless it was "
            "killed; run again, and the training goes on after its last whole epoch"
        )
        raise EyasError(msg) from error
