"""What classes are called: that every name is one, and which number stands for which."""

import logging
from collections import Counter
from collections.abc import Sequence

from eyas.errors import DataError

_LOG = logging.getLogger(__name__)


def check_names(classes: Sequence[str], source: str) -> None:
    """Every class has a name, and one of its own; ``source`` says whose they are.

    Raises:
        DataError: a name is empty, or there twice.
    """
    if not all(name.strip() for name in classes):
        msg = f"{source} has labels or class names that are empty: name these classes, or remove their images"
        raise DataError(msg)
    name, count = Counter(classes).most_common(1)[0]
    if count > 1:
        msg = f"{source} lists the class name {name!r} {count} times: give each class a name of its own"
        raise DataError(msg)


def warn_of_lookalikes(classes: Sequence[str]) -> None:
    """Say which names differ in nothing but case and blanks: often one class that was written in two ways."""
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(" ".join(name.casefold().split()), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            _LOG.warning(
                "%s differ in case or blanks alone, and are classes of their own", " and ".join(map(repr, names))
            )


def called_by_numbers(classes: Sequence[str]) -> bool:
    """Whether the names are the numbers from 0, in whatever order."""
    return sorted(int(name) if name.isdecimal() else -1 for name in classes) == list(range(len(classes)))


def class_of_number(classes: Sequence[str]) -> list[int]:
    """For each number that a source without names may hold, its class's position in ``classes``.

    Where the classes are called by the numbers from 0, it is the one of that name (sorted as text, 10 comes before 2);
    else the numbers count the classes.
    """
    every = list(range(len(classes)))
    return sorted(every, key=lambda position: int(classes[position])) if called_by_numbers(classes) else every


def require_numbers(classes: Sequence[str], source: str, *, in_own_order: bool) -> None:
    """Refuse to guess which numbers of ``source`` stand for which of the other partition's named classes.

    Args:
        classes: the names.
        source: which partition numbers its classes.
        in_own_order: whoever named the classes also put them in this order; else they are sorted.

    Raises:
        DataError: the names are not the numbers, and in no order but the alphabet's; or they are in another order.
    """
    shown = ", ".join(classes[:8])
    ordered = class_of_number(classes) == list(range(len(classes)))
    if not (ordered if in_own_order else called_by_numbers(classes)):
        msg = f"{source} numbers its classes and the other partition names them ({shown}): name them alike in both"
        raise DataError(msg)
    if not called_by_numbers(classes):
        _LOG.warning("%s numbers its classes: 0, 1, ... are taken for %s", source, shown)
