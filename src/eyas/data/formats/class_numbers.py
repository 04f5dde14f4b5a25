"""Classes that have numbers and no names: counted from 0, every number in use."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from eyas.data.limits import DEFAULT_LIMITS, Limits
from eyas.errors import DataError

_IGNORED = 255  # how segmentation marks what to leave out
_SHOWN = 8


def numbered_classes(label_N: NDArray[np.int64], limits: Limits = DEFAULT_LIMITS) -> tuple[str, ...]:
    """The numbers from 0 to the largest label, as class names.

    Raises:
        DataError: a label is too large to be a class.
    """
    largest = int(label_N.max(initial=-1))
    if largest >= limits.classes:
        msg = (
            f"label {largest} is no class number: they are counted from 0, and {limits.classes} classes are allowed "
            "(`classes`)"
        )
        raise DataError(msg)
    return tuple(map(str, range(largest + 1)))


def check_all_in_use(labels: Iterable[int]) -> None:
    """Every number from 0 to the largest label, which was found to be small enough, must occur.

    Raises:
        DataError: some do not; says which labels occur, and what they may mean.
    """
    seen = sorted(set(labels))
    absent = sorted(set(range(seen[-1] + 1)) - set(seen)) if seen else []
    if not absent:
        return
    if seen == list(range(1, len(seen) + 1)):
        hint = "subtract 1, or store the class names as text"
    elif seen[-1] == _IGNORED and len(absent) > 1:
        hint = f"{_IGNORED} often marks images to ignore: remove those, and number the others from 0"
    else:
        hint = "number the classes without gaps, or store their names as text"
    msg = f"labels are {_listed(seen)}, but classes are counted from 0 and none has the label {_listed(absent)}: {hint}"
    raise DataError(msg)


def _listed(numbers: list[int]) -> str:
    """The numbers, as a range where they are one."""
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]} to {numbers[-1]}"
    more = ", ..." if len(numbers) > _SHOWN else ""
    last = f" {numbers[-1]}" if more else ""
    return ", ".join(map(str, numbers[:_SHOWN])) + more + last
