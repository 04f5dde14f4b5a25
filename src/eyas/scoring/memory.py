"""Devices whose memory ends: how it is recognised, what a smaller batch saves, and what to say where none does."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from eyas.errors import EyasError

Result = TypeVar("Result")


class OutOfMemoryDuringScoringError(Exception):
    """The device cannot hold a batch; the race starts again at half the batch size."""


def halve_batch_until_it_fits(work: Callable[[int], Result], batch_size: int) -> Result:
    """``work(batch_size)``, again at half the size for as long as memory does not suffice.

    For the dense network, which is larger than every candidate: a race must not fail on it at its end.

    Raises:
        EyasError: it does not suffice for a batch of 2 or 3 images either.
    """
    while True:
        if batch_size < 4:
            with explain_out_of_memory(f"the dense network's answers in batches of {batch_size} images"):
                return work(batch_size)
        try:
            return work(batch_size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            batch_size //= 2


@contextmanager
def explain_out_of_memory(what: str) -> Iterator[None]:
    """Where memory does not suffice for what a smaller batch would not help either.

    Raises:
        EyasError: it does not; says what to do.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        msg = (
            f"the device's memory does not hold {what} ({error}): give fewer images (`scoring_images`, "
            "`calibration_images`), fewer workers per GPU, or a device with more memory"
        )
        raise EyasError(msg) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch could not allocate, on whichever device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and ("can't allocate memory" in words or "out of memory" in words)
